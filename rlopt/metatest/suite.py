"""The suite: every optimizer on every task, tuned if it has a rate to tune. Each cell is kept: a run can be resumed."""

import io
import json
import math
import shlex
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tqdm

from celo2.files import read_json, size_of, write_atomic
from metatrain import npz
from rlopt import typed
from rlopt.metatest import costs, optimizers, tasks, training
from rlopt.metatest.celo17 import tasks as celo17
from rlopt.metatest.config import EVERY, REFERENCE, SuiteConfig
from rlopt.metatest.optimizers import Contestant
from rlopt.metatest.task import Task
from rlopt.storage import run_lock, sealed
from rlopt.storage.streams import Steady

CELLS, COSTS = "cells", "costs"
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
    test [S, T / 10], final_test [S]: losses on test data at final_rate. seconds: of one training step of one run.
    operations: floating-point ones of such a step, in loss, gradient and update. None in what was made before there
    were any.
    """

    rates: tuple[float | None, ...]
    tuning_mean: np.ndarray
    tuning_final: np.ndarray
    mean: np.ndarray
    final: np.ndarray
    smooth: np.ndarray
    mean_rate: float | None
    final_rate: float | None
    test: np.ndarray | None = None
    final_test: np.ndarray | None = None
    seconds: float | None = None
    operations: float | None = None


# What lies in a file of its own, as it is another one in every run.
_COSTS = ("seconds", "operations")
# Arrays of files since there are test losses: both of them, or none.
_LATER = ("test", "final_test")
_FIELDS = tuple(name for name in Cell._fields if name not in (*_LATER, *_COSTS))


class Outcome(NamedTuple):
    """cells: (task, optimizer) -> `Cell`. tasks: by name, as they were trained."""

    cells: dict[tuple[str, str], Cell]
    tasks: dict[str, Task]


def make_tasks(config: SuiteConfig) -> dict[str, Task]:
    """Tasks of a suite by name, with their data.

    Raises:
      ValueError: for unknown names, or data that cannot be read.
    """
    if config.suite == "celo17":
        return celo17.make(config.chosen, config.data)
    return {name: tasks.make(name) for name in config.chosen}


def run(config: SuiteConfig, folder: Path, progress: bool = True) -> dict[tuple[str, str], Cell]:
    """The cells of `train`."""
    return train(config, folder, progress).cells


def train(config: SuiteConfig, folder: Path, progress: bool = True) -> Outcome:
    """Trains what is not in the folder yet.

    Raises:
      What `optimizers.contestants` raises.
      ValueError: for impossible numbers, a folder with results of other settings, or one that another process holds.
    """
    config.check()
    entries = optimizers.contestants(config)
    chosen = make_tasks(config)
    version = celo17.VERSION if config.suite == "celo17" else tasks.VERSION
    settings = {"steps": config.length, "seeds": config.seeds, "version": version, "finalists": FINALISTS}
    path = folder / SETTINGS
    if path.exists():
        before = read_json(path)
        _check_suite(folder, before.get("suite", "small"), config.suite)
        sealed.check_settings(f"what {folder} holds", {name: before.get(name) for name in settings}, settings)
    elif folder.exists() and not run_lock.is_empty(folder):
        raise ValueError(f"{folder} is neither empty nor of this suite; choose another folder")
    files = {
        (task_name, name): folder / CELLS / f"{_prefix(task_name, task)}--{entry.file}.npz"
        for task_name, task in chosen.items()
        for name, entry in entries.items()
    }
    missing = [cell for cell, file in files.items() if not file.exists()]
    expected = {}
    if missing and config.suite == "celo17":
        if progress:
            print(f"estimating what {len(missing)} cells take", file=sys.stderr, flush=True)
        expected = estimate(config, chosen, entries, missing)
        if progress:
            _announce(config, expected, len(files))
    cells = {}
    bar = tqdm.tqdm(total=len(files), unit="cell", disable=not progress, file=Steady(sys.stderr, patient=False))
    with run_lock.held(folder) as held, bar:
        told = {name: {"rates": list(entry.rates), "form": entry.form} for name, entry in entries.items() if entry.form}
        document = typed.plain(config) | settings | {"learned": told}
        write_atomic(path, json.dumps(document, indent=1).encode() + b"\n")
        for (task_name, name), file in files.items():
            entry = entries[name]
            about = f", about {costs.as_time(expected[task_name, name])}" if (task_name, name) in expected else ""
            bar.set_postfix_str(f"{task_name}, {name}{about}")
            if file.exists():
                cell = _read(file, config, len(entry.rates))
            else:
                cell = _run_cell(config, chosen[task_name], name, entry)
                _write_into(held, file, cell)
            cells[task_name, name] = cell
            bar.update()
    return Outcome(cells, chosen)


def _check_suite(folder: Path, there: Any, here: str) -> None:
    names = ["small" if name == "supervised" else name for name in (there, here)]
    if names[0] != names[1]:
        raise ValueError(f"{folder} holds results of the suite {there}, not of {here}; choose another folder")


def _prefix(name: str, task: Task) -> str:
    return f"{name}-{task.digest}" if task.digest else name


def num_runs(config: SuiteConfig, name: str, entry: Contestant) -> int:
    """At most as many training runs as a cell takes: the tuning, then the finalists on the other seeds."""
    rates = len(entry.rates)
    if name == REFERENCE:
        return rates * config.seeds
    return rates + min(rates, 2 * FINALISTS) * (config.seeds - 1)


def estimate(
    config: SuiteConfig,
    chosen: Mapping[str, Task],
    entries: Mapping[str, Contestant],
    cells: Sequence[tuple[str, str]],
) -> dict[tuple[str, str], float]:
    """A guess of the seconds that cells take, from their operations and the speed of the machine; without compiling."""
    speed = costs.measure_speed()
    gradients = {name: costs.of_task(chosen[name]) for name in dict.fromkeys(task for task, _ in cells)}
    found = {}
    for task, name in cells:
        operations, params = gradients[task]
        update = costs.of_update(entries[name].factory, params)
        step = costs.Costs(operations, update, costs.num_parameters(params))
        found[task, name] = config.length * num_runs(config, name, entries[name]) * speed.seconds(step)
    return found


def _announce(config: SuiteConfig, expected: Mapping[tuple[str, str], float], cells: int) -> None:
    by_task: dict[str, float] = {}
    for (task, _), seconds in expected.items():
        by_task[task] = by_task.get(task, 0.0) + seconds
    longest = sorted(by_task.items(), key=lambda item: -item[1])[:3]
    share = f" (fraction {config.fraction:g} of {config.steps:,})" if config.fraction < 1 else ""
    print(
        f"{len(expected)} of {cells} cells to train, {config.length:,} steps{share} each: very roughly "
        f"{costs.as_time(sum(by_task.values()))} and compilation; longest: "
        + ", ".join(f"{name} {costs.as_time(seconds)}" for name, seconds in longest),
        file=sys.stderr,
        flush=True,
    )


def _run_cell(config: SuiteConfig, task: Task, name: str, entry: Contestant) -> Cell:
    run_all = training.compile_runs(task, entry.factory, config.length)
    # The reference is what everything else is measured by: all its rates are tried on all seeds.
    tuning_seeds = config.seeds if name == REFERENCE else 1
    cell = _choose(run_all, config.seeds, entry.rates, _run_grid(run_all, entry.rates, range(tuning_seeds)))
    gradient, params = costs.of_task(task)
    return cell._replace(seconds=run_all.seconds, operations=gradient + costs.of_update(entry.factory, params))


def _run_grid(run_all: Runner, rates: Sequence[float | None], seeds: Sequence[int]) -> training.Curves:
    """Leaves [K, S, ...]. A rule without a rate still gets a number to ignore."""
    curves = run_all([(0.0 if rate is None else rate, seed) for rate in rates for seed in seeds])
    return _mapped(lambda leaf: leaf.reshape(len(rates), len(seeds), *leaf.shape[1:]), curves)


def _mapped(function: Callable[..., np.ndarray], *curves: training.Curves) -> training.Curves:
    """A function of leaves at the same place, where there are any."""
    mapped: list[Any] = [None if leaves[0] is None else function(*leaves) for leaves in zip(*curves, strict=True)]
    return training.Curves(*mapped)


def _choose(run_all: Runner, seeds: int, rates: Sequence[float | None], tuning: training.Curves) -> Cell:
    """The best rates of the tuning, leaves [K, up to S], on all seeds: what is best for one may diverge in another."""
    mean, final = tuning.mean.mean(1), tuning.final.mean(1)
    finalists = sorted({int(i) for loss in (mean, final) for i in np.argsort(loss, kind="stable")[:FINALISTS]})
    curves = _mapped(lambda leaf: leaf[finalists], tuning)
    untried = range(tuning.mean.shape[1], seeds)
    if untried:
        rest = _run_grid(run_all, [rates[i] for i in finalists], untried)
        curves = _mapped(lambda *leaves: np.concatenate(leaves, axis=1), curves, rest)
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
        test=None if curves.test is None else curves.test[best_final],
        final_test=None if curves.final_test is None else curves.final_test[best_final],
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
        name: np.asarray(value, float) if name in _RATES else value
        for name, value in cell._asdict().items()
        if name in _FIELDS or (name in _LATER and value is not None)
    }
    np.savez(buffer, **arrays)
    # First, so that no cell is without.
    spent = {name: getattr(cell, name) for name in _COSTS}
    write_atomic(_costs_of(path), json.dumps(spent).encode() + b"\n")
    write_atomic(path, buffer.getvalue())


def _costs_of(path: Path) -> Path:
    return path.parents[1] / COSTS / f"{path.stem}.json"


def _read(path: Path, config: SuiteConfig, rates: int) -> Cell:
    """A cell as it was written; ValueError for one of other shapes."""
    seeds, points = (config.seeds,), (config.seeds, config.length // EVERY)
    shapes = dict(zip(_FIELDS, ((rates,), (rates,), (rates,), seeds, seeds, points, (), ()), strict=True))
    if _has_later(path):
        shapes |= dict(zip(_LATER, (points, seeds), strict=True))
    arrays: dict[str, Any] = dict(npz.read(path, tuple(shapes), limit=_CELL_LIMIT))
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(f"{path}: {name} must be floats {shape}, got {array.dtype} {array.shape}; remove the file")
        if not shape:
            arrays[name] = _without_nan(float(array))
    arrays["rates"] = tuple(map(_without_nan, arrays["rates"].tolist()))
    return Cell(**(arrays | _read_costs(_costs_of(path))))


def _read_costs(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.exists() else {}
    spent = {name: found.get(name) for name in _COSTS}
    for name, value in spent.items():
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
            raise ValueError(f"{path}: {name} must be a number of at least 0, got {value!r:.100}; remove the file")
    return spent


def _has_later(path: Path) -> bool:
    """Whether a file has what cells had not at first; what cannot be read is for `npz.read` to refuse."""
    size_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{_LATER[0]}.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def _without_nan(rate: float) -> float | None:
    return None if math.isnan(rate) else rate
