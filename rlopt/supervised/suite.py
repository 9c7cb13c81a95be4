"""The suite: every optimizer on every task, tuned if it has a rate to tune. Each cell is kept: a run can go on."""

import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tqdm

from celo2.files import write_atomic
from rlopt.supervised import optimizers, tasks, training
from rlopt.supervised.config import SuiteConfig

CELLS = "cells"
SETTINGS = "suite.json"
# Rates that go from the first seed to all seeds, for the mean and for the final loss each.
FINALISTS = 3
Runner = Callable[[Sequence[tuple[float, int]]], training.Curves]


class Cell(NamedTuple):
    """What one optimizer reached on one task.

    rates [K]: tried, with one seed; NaN where there is none to try. tuning_mean, tuning_final [K]: mean and final loss
    of that seed (of all seeds for the reference). mean [S], final [S], smooth [S, T / 10]: of all seeds, each at the
    rate, out of the best `FINALISTS` of the tuning, that is best on average. mean_rate, final_rate: these rates.
    """

    rates: np.ndarray
    tuning_mean: np.ndarray
    tuning_final: np.ndarray
    mean: np.ndarray
    final: np.ndarray
    smooth: np.ndarray
    mean_rate: np.ndarray
    final_rate: np.ndarray


class Contestant(NamedTuple):
    """factory: makes the optimizer. rates: to choose from on each task; NaN where there is none to choose.

    file: part of the name of its cells' files, another one for other weights or other rates.
    """

    factory: optimizers.Factory
    rates: tuple[float, ...]
    file: str


def contestants(config: SuiteConfig) -> dict[str, Contestant]:
    """By name, in the order of the tables: learned rules, then hand-designed optimizers.

    Raises:
      ValueError: for unknown names, or weights of another rule.
      FileNotFoundError: for weights that are not there.
    """
    learned = {}
    for spec in config.rules:
        name, _, file = spec.partition(":")
        learned[spec] = (name, *optimizers.learned(name, Path(file) if file else None))
    rates = config.learning_rates()
    found = {}
    for spec, (name, factory, digest) in learned.items():
        if name in optimizers.SELF_SCHEDULED:
            tried, setting = (float("nan"),), "none"
        elif config.tune_rules:
            tried, setting = optimizers.LEARNING_RATES, "tuned"
        else:
            tried, setting = (rates[spec],), str(rates[spec])
        found[spec] = Contestant(factory, tried, f"{name}-{digest[:8]}-{setting}")
    for name in dict.fromkeys((optimizers.REFERENCE, *config.optimizers)):
        found[name] = Contestant(optimizers.hand_designed(name), optimizers.LEARNING_RATES, name)
    return found


def run(config: SuiteConfig, folder: Path, progress: bool = True) -> dict[tuple[str, str], Cell]:
    """Trains what is not in the folder yet. Returns (task, optimizer) -> `Cell`.

    Raises:
      What `contestants` raises.
      ValueError: for impossible numbers, or a folder with results of other settings.
    """
    config.check()
    entries = contestants(config)
    chosen = {name: tasks.make(name) for name in config.tasks}
    settings = {"steps": config.steps, "seeds": config.seeds, "version": tasks.VERSION, "finalists": FINALISTS}
    path = folder / SETTINGS
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if any(before.get(name) != value for name, value in settings.items()):
            theirs = {name: before.get(name) for name in settings}
            raise ValueError(f"{folder} holds results of {theirs}, not of {settings}; choose another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is neither empty nor of this suite; choose another folder")
    write_atomic(path, json.dumps(dataclasses.asdict(config) | settings, indent=1).encode() + b"\n")
    cells = {}
    bar = tqdm.tqdm(total=len(chosen) * len(entries), unit="cell", disable=not progress)
    with bar:
        for task_name, task in chosen.items():
            for name, entry in entries.items():
                bar.set_postfix_str(f"{task_name}, {name}")
                file = folder / CELLS / f"{task_name}--{entry.file}.npz"
                if file.exists():
                    cell = _read(file)
                else:
                    cell = _run_cell(config, task, name, entry.factory, entry.rates)
                    _write(file, cell)
                cells[task_name, name] = cell
                bar.update()
    return cells


def _run_cell(
    config: SuiteConfig, task: tasks.Task, name: str, factory: optimizers.Factory, rates: Sequence[float]
) -> Cell:
    run_all = training.compile_runs(task, factory, config.steps)
    seeds = range(config.seeds)
    # The reference is what everything else is measured by: all its rates are tried on all seeds.
    tuning_seeds = seeds if name == optimizers.REFERENCE else seeds[:1]
    tuning = run_all([(rate, seed) for rate in _numbers(rates) for seed in tuning_seeds])
    shape = (len(rates), len(tuning_seeds))
    return _choose(
        run_all, config.seeds, rates, tuning.mean.reshape(shape).mean(1), tuning.final.reshape(shape).mean(1)
    )


def _numbers(rates: Sequence[float]) -> list[float]:
    """A rule without a rate still gets a number to ignore."""
    return [0.0 if rate != rate else rate for rate in rates]


def _choose(run_all: Runner, seeds: int, rates: Sequence[float], mean: np.ndarray, final: np.ndarray) -> Cell:
    """The best rates of the tuning (mean, final [K]) run on all seeds: what is best for one may diverge in another."""
    finalists = sorted({int(i) for loss in (mean, final) for i in np.argsort(loss, kind="stable")[:FINALISTS]})
    numbers = _numbers(rates)
    curves = run_all([(numbers[i], seed) for i in finalists for seed in range(seeds)])
    shape = (len(finalists), seeds)
    mean_losses, final_losses = curves.mean.reshape(shape), curves.final.reshape(shape)
    best_mean, best_final = (int(np.argmin(losses.mean(1))) for losses in (mean_losses, final_losses))
    return Cell(
        rates=np.asarray(rates),
        tuning_mean=mean,
        tuning_final=final,
        mean=mean_losses[best_mean],
        final=final_losses[best_final],
        smooth=curves.smooth.reshape(*shape, -1)[best_final],
        mean_rate=np.asarray(rates[finalists[best_mean]]),
        final_rate=np.asarray(rates[finalists[best_final]]),
    )


def _write(path: Path, cell: Cell) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **cell._asdict())
    write_atomic(path, buffer.getvalue())


def _read(path: Path) -> Cell:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Cell(**{name: arrays[name] for name in Cell._fields})
