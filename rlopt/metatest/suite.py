"""The suite: every optimizer on every task, tuned if it has a rate to tune. Each cell is kept: a run can be resumed."""

import io
import json
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tqdm

from agents import OptimizerFactory
from celo2.files import read_json, write_atomic
from metatrain import npz
from rlopt import typed
from rlopt.metatest import optimizers, tasks, training
from rlopt.metatest.config import REFERENCE, SuiteConfig
from rlopt.storage import run_lock, sealed
from rlopt.storage.streams import Steady

CELLS = "cells"
SETTINGS = "suite.json"
_CELL_LIMIT = 1 << 30
# Rates that go from the first seed to all seeds, for the mean and for the final loss each.
FINALISTS = 3
_RATES = ("rates", "mean_rate", "final_rate")
Runner = Callable[[Sequence[tuple[float, int]]], training.Curves]


class Cell(NamedTuple):
    """What one optimizer reached on one task.

    rates: K, tried with one seed; None for an optimizer that takes none. tuning_mean, tuning_final [K]: mean and final
    loss of that seed (of all seeds for the reference). mean [S], final [S], smooth [S, T / 10]: of all seeds, each at
    the rate, out of the best `FINALISTS` of the tuning, that is best on average. mean_rate, final_rate: these rates.
    """

    rates: tuple[float | None, ...]
    tuning_mean: np.ndarray
    tuning_final: np.ndarray
    mean: np.ndarray
    final: np.ndarray
    smooth: np.ndarray
    mean_rate: float | None
    final_rate: float | None


def run(config: SuiteConfig, folder: Path, progress: bool = True) -> dict[tuple[str, str], Cell]:
    """Trains what is not in the folder yet. Returns (task, optimizer) -> `Cell`.

    Raises:
      What `optimizers.contestants` raises.
      ValueError: for impossible numbers, a folder with results of other settings, or one that another process holds.
    """
    config.check()
    entries = optimizers.contestants(config)
    chosen = {name: tasks.make(name) for name in config.tasks}
    settings = {"steps": config.steps, "seeds": config.seeds, "version": tasks.VERSION, "finalists": FINALISTS}
    path = folder / SETTINGS
    if path.exists():
        before = read_json(path)
        sealed.check_settings(f"what {folder} holds", {name: before.get(name) for name in settings}, settings)
    elif folder.exists() and not run_lock.is_empty(folder):
        raise ValueError(f"{folder} is neither empty nor of this suite; choose another folder")
    cells = {}
    total = len(chosen) * len(entries)
    bar = tqdm.tqdm(total=total, unit="cell", disable=not progress, file=Steady(sys.stderr, patient=False))
    with run_lock.held(folder) as held, bar:
        told = {name: {"rates": list(entry.rates), "form": entry.form} for name, entry in entries.items() if entry.form}
        document = typed.plain(config) | settings | {"learned": told}
        write_atomic(path, json.dumps(document, indent=1).encode() + b"\n")
        for task_name, task in chosen.items():
            for name, entry in entries.items():
                bar.set_postfix_str(f"{task_name}, {name}")
                file = folder / CELLS / f"{task_name}--{entry.file}.npz"
                if file.exists():
                    cell = _read(file, config, len(entry.rates))
                else:
                    cell = _run_cell(config, task, name, entry.factory, entry.rates)
                    _write_into(held, file, cell)
                cells[task_name, name] = cell
                bar.update()
    return cells


def _run_cell(
    config: SuiteConfig, task: tasks.Task, name: str, factory: OptimizerFactory, rates: Sequence[float | None]
) -> Cell:
    run_all = training.compile_runs(task, factory, config.steps)
    # The reference is what everything else is measured by: all its rates are tried on all seeds.
    tuning_seeds = config.seeds if name == REFERENCE else 1
    return _choose(run_all, config.seeds, rates, _run_grid(run_all, rates, range(tuning_seeds)))


def _run_grid(run_all: Runner, rates: Sequence[float | None], seeds: Sequence[int]) -> training.Curves:
    """Leaves [K, S, ...]. A rule without a rate still gets a number to ignore."""
    curves = run_all([(0.0 if rate is None else rate, seed) for rate in rates for seed in seeds])
    return training.Curves(*(leaf.reshape(len(rates), len(seeds), *leaf.shape[1:]) for leaf in curves))


def _choose(run_all: Runner, seeds: int, rates: Sequence[float | None], tuning: training.Curves) -> Cell:
    """The best rates of the tuning, leaves [K, up to S], on all seeds: what is best for one may diverge in another."""
    mean, final = tuning.mean.mean(1), tuning.final.mean(1)
    finalists = sorted({int(i) for loss in (mean, final) for i in np.argsort(loss, kind="stable")[:FINALISTS]})
    curves = training.Curves(*(leaf[finalists] for leaf in tuning))
    untried = range(tuning.mean.shape[1], seeds)
    if untried:
        rest = _run_grid(run_all, [rates[i] for i in finalists], untried)
        curves = training.Curves(*(np.concatenate(leaves, axis=1) for leaves in zip(curves, rest, strict=True)))
    best_mean, best_final = int(np.argmin(curves.mean.mean(1))), int(np.argmin(curves.final.mean(1)))
    return Cell(
        rates=tuple(rates),
        tuning_mean=mean,
        tuning_final=final,
        mean=curves.mean[best_mean],
        final=curves.final[best_final],
        smooth=curves.smooth[best_final],
        mean_rate=rates[finalists[best_mean]],
        final_rate=rates[finalists[best_final]],
    )


def _write_into(held: run_lock.Held, file: Path, cell: Cell) -> None:
    """Writes a cell; in a folder that has been moved to where that is, and ends the run."""
    try:
        held.check()
        _write(file, cell)
    except run_lock.Gone as gone:
        if gone.place is not None:
            _write(gone.place / file.relative_to(held.folder), cell)
            gone.args = (f"{gone}; the same command with --out {shlex.quote(str(gone.place))} resumes it there",)
        raise


def _write(path: Path, cell: Cell) -> None:
    buffer = io.BytesIO()
    # No rate is NaN in files.
    arrays: dict[str, Any] = {
        name: np.asarray(value, float) if name in _RATES else value for name, value in cell._asdict().items()
    }
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def _read(path: Path, config: SuiteConfig, rates: int) -> Cell:
    """A cell as it was written; ValueError for one of other shapes."""
    arrays = npz.read(path, Cell._fields, limit=_CELL_LIMIT)
    seeds = (config.seeds,)
    shapes = ((rates,), (rates,), (rates,), seeds, seeds, (config.seeds, config.steps // training.EVERY), (), ())
    for name, shape in zip(Cell._fields, shapes, strict=True):
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(f"{path}: {name} must be floats {shape}, got {array.dtype} {array.shape}; remove the file")
    tried = tuple(map(_without_nan, arrays.pop("rates").tolist()))
    mean_rate, final_rate = (_without_nan(float(arrays.pop(name))) for name in _RATES[1:])
    return Cell(tried, **arrays, mean_rate=mean_rate, final_rate=final_rate)


def _without_nan(rate: float) -> float | None:
    return None if math.isnan(rate) else rate
