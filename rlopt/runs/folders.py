"""Populations in their run folders: checked, trained into, resumed. A sweep has one folder per rate or trial."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from rlopt.runs import kept, plots, results
from rlopt.storage import run_lock, sealed
from rlopt.storage.log import Log
from rlopt.tracking import session, subjects
from rlopt.training import checkpoint, history, loop, shown, trials
from rlopt.training.config import TrainConfig
from rlopt.training.shown import Shown

# Trains populations, each in its folder, somewhere else; the first argument is the folder of all (`runs.launcher`).
Launch = Callable[[Path, Mapping[Path, TrainConfig]], None]


WHY_NOT_LONGER = (
    "a run keeps its length, over which its schedules and logging intervals are laid out, and a finished one keeps no "
    "state of its optimizer; "
)


def is_finished(folder: Path, config: TrainConfig) -> bool:
    """Whether a folder holds finished runs of all of a population."""
    return all(results.is_finished(place) for place, _ in places(folder, config))


def check(folder: Path, config: TrainConfig) -> None:
    """Refuses a folder that holds something else than (a part of) a population; ValueError, saying what it holds."""
    if not (folder / results.CONFIG).is_file():
        results.check_free(folder)
        return
    found = results.read_config(folder)
    if (found.rates and config.rates) or (found.trials and config.trials):
        # The rates of a sweep, or its trials, may be others: each has a folder of its own.
        found = dataclasses.replace(found, rates=config.rates, trials=config.trials)
    kind = "sweep" if found.has_cells else "finished run" if results.is_finished(folder) else "unfinished run"
    longer = found.hyper.total_steps != config.hyper.total_steps
    theirs, ours = checkpoint.settings(found), checkpoint.settings(config)
    sealed.check_settings(f"the {kind} in {folder}", theirs, ours, WHY_NOT_LONGER if longer else "")
    if config.has_cells:
        for place, cell in places(folder, config):
            check(place, cell)


def prepare(folder: Path, config: TrainConfig) -> None:
    """Writes what `resume` needs to train a population into its folder.

    What was stopped in the middle there keeps its own rates or trials: its checkpoint is of those.
    """
    check(folder, config)
    if not checkpoint.exists(folder):
        results.write_config(folder, config)


def train(
    folder: Path,
    config: TrainConfig,
    progress: bool | Shown = True,
    draw: bool = True,
    tracker: session.Session | None = None,
    root: Path | None = None,
) -> list[results.Run]:
    """Trains what a folder does not hold yet of a population, one run folder per learning rate or trial.

    draw: learning curves. root: a folder above, for the names of the runs in trackers; default: the folder.

    Raises:
      ValueError: for a folder with something else, or one in use.
      Unfinished: as `loop.train`.
    """
    check(folder, config)
    on_screen = shown.of(progress)
    missing = _missing(folder, config)
    if not missing:
        on_screen.passed(config)
    if config.monitor.halve_at and 0 < len(missing) < len(config.cells) and not checkpoint.exists(folder):
        raise ValueError(
            f"{folder} holds finished rates or trials of a sweep with --halve-at, which are compared with each other: "
            "more of them need a sweep of their own"
        )
    while _missing(folder, config):
        with run_lock.held(folder) as mine:
            missing = _missing(folder, config)  # again: another process may have come to its end
            rest = config.some(missing)
            if config.has_cells and checkpoint.exists(folder):
                # What was stopped in the middle is ended first: its checkpoint is of all its rates or trials.
                begun = results.read_config(folder)
                rest = dataclasses.replace(config, rates=begun.rates, trials=begun.trials)
            if missing:
                _train_into(mine, rest, on_screen, draw, tracker, root or folder)
    remove_checkpoint(folder)
    return [results.read_run(place) for place, _ in places(folder, config)]


def remove_checkpoint(folder: Path) -> None:
    """Deletes what is left of a run that was killed between its summary and its end."""
    # Of a sweep it may be that of other rates than were asked for.
    if checkpoint.exists(folder) and not _missing(folder, results.read_config(folder)):
        with run_lock.held(folder):
            checkpoint.remove(folder)


def _missing(folder: Path, config: TrainConfig) -> list[int]:
    """The numbers of the cells that have not come to their end."""
    return [k for k, (place, _) in enumerate(places(folder, config)) if not results.is_finished(place)]


def _train_into(
    mine: run_lock.Held, config: TrainConfig, progress: Shown, draw: bool, tracker: session.Session | None, root: Path
) -> None:
    """Trains a population, and writes each of its cells into its run folder."""
    folder, all_held = mine.folder, [mine]
    if config.has_cells:
        results.write_config(folder, config)  # before the folders of the rates, which nobody would know what to do with
    with contextlib.ExitStack() as locks:
        for place, _ in places(folder, config) if config.has_cells else ():
            all_held.append(locks.enter_context(run_lock.held(place)))
        _train_locked(all_held, config, progress, draw, tracker, root)


def _check(all_held: Sequence[run_lock.Held]) -> None:
    """Ends a run one of whose folders is not where it was; a checkpoint belongs into the first."""
    for one in all_held:
        try:
            one.check()
        except run_lock.Gone as gone:
            raise run_lock.Gone(str(gone), all_held[0].place) from gone


def _train_locked(
    all_held: Sequence[run_lock.Held],
    config: TrainConfig,
    progress: Shown,
    draw: bool,
    tracker: session.Session | None,
    root: Path,
) -> None:
    folder = all_held[0].folder
    cells = places(folder, config)
    for place, cell in cells:
        results.write_config(place, cell)
        if not checkpoint.exists(folder):
            results.write_rows(place, [])  # it starts anew; else the lines stay until the checkpoint has been read

    def rows_of(k: int, row: dict[str, Any]) -> dict[str, Any]:
        mine = slice(k * config.seeds, (k + 1) * config.seeds)
        return {name: value[mine] if isinstance(value, list) else value for name, value in row.items()}

    log, others = Log(results.append_row), Log(_write_kept)

    def keep(name: str, policies: Any) -> None:
        for k, held in enumerate(all_held[-len(cells) :]):
            mine = slice(k * config.seeds, (k + 1) * config.seeds)
            others.put(held, name, jax.tree.map(lambda x, mine=mine: x[mine], policies), config.monitor.keep_last)
        _write_or_warn(others, folder)
        _check(all_held)

    def append(row: dict[str, Any]) -> None:
        parts = [rows_of(k, row) for k in range(len(cells))]
        for (place, _), part in zip(cells, parts, strict=True):
            log.put(place, part)
        _check(all_held)
        _write_or_warn(log, folder)
        report(parts)

    def rewrite(rows: list[dict[str, Any]]) -> None:
        for k, (place, _) in enumerate(cells):
            results.write_rows(place, [rows_of(k, row) for row in rows])

    followed = [subjects.population(place, root, cell, results.MODEL) for place, cell in cells]
    with session.follow(tracker, followed) as report:
        whole = loop.train(
            config, progress=progress, folder=folder, on_interval=append, on_continue=rewrite, on_kept=keep
        )
        _check(all_held)
        log.write()
        others.write()
        finished = []
        for (place, cell), part in zip(cells, history.split(whole, config), strict=True):
            finished.append(results.write_history(place, cell, part))
            if draw:
                plots.learning_curves(finished[-1:], place / results.PLOTS / "learning_curve.png")
                plots.evaluation_curves(finished[-1:], place / results.PLOTS / "evaluation_curve.png")
        # All at once: killed between two of them, the rest would resume as a smaller population, with other last bits.
        for run in finished:
            results.write_summary(run)
    checkpoint.remove(folder)


def _write_kept(held: run_lock.Held, *what: Any) -> None:
    """Where the folder is now: a run that is resumed there from its checkpoint does not come by here again."""
    if held.place is not None:
        kept.write(held.place, *what)


def _write_or_warn(log: Log, folder: Path) -> None:
    try:
        log.write()
    except OSError as error:
        text = f"{folder}: nothing could be logged ({error}); it is tried again with the next line"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def places(folder: Path, config: TrainConfig) -> list[tuple[Path, TrainConfig]]:
    """The run folder of each cell of a population, and its settings."""
    if config.trials:
        names = [trials.folder_name(trial) for trial in config.trials]
        return [(folder / name, cell) for name, cell in zip(names, config.cells, strict=True)]
    if not config.rates:
        return [(folder, config)]
    return [(folder / results.rate_name(rate), cell) for rate, cell in zip(config.rates, config.cells, strict=True)]
