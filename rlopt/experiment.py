"""Runs on disk: train one population, compare several, sweep learning rates, with tables and plots."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from metatrain import run_lock, sealed
from rlopt import checkpoint, labels, plotting, protocol, results, tracking, training
from rlopt.config import TrainConfig

SENSITIVITY = "sensitivity.png"
# Trains populations, each in its folder, somewhere else; the first argument is the folder of all (`rlopt.launcher`).
Launch = Callable[[Path, Mapping[Path, TrainConfig]], None]


def run(
    config: TrainConfig,
    folder: Path | None = None,
    progress: bool = True,
    tracker: tracking.Session | None = None,
) -> results.Run:
    """Trains a population into a run folder (default: a new one under runs/) and draws its learning curve.

    A folder with an unfinished run of the same settings is gone on with.

    Raises:
      ValueError: for bad settings, before the folder is made, or for a folder that holds anything else.
      Unfinished: as `training.train`.
    """
    if config.rates:
        raise ValueError("several learning rates are for a sweep")
    training.build(config)
    if folder is not None:
        _check_folder(folder, config, finished=False)
    folder = folder or results.new_folder(f"{config.agent}-{config.env}-{config.optimizer}")
    (finished,) = _run_into(folder, config, progress, tracker=tracker)
    return finished


def resume(
    folder: Path, progress: bool = True, trust: bool = False, tracker: tracking.Session | None = None
) -> list[results.Run]:
    """Goes on with an unfinished run, or with one optimizer's part of a sweep, whose plot is drawn anew.

    Args:
      folder: of the run.
      progress: show a progress bar.
      trust: as `results.check_trusted`.

    Raises:
      ValueError: for a folder without one, one that is not trusted, or one in use.
      Unfinished: as `training.train`.
    """
    config = results.read_config(folder)
    if checkpoint.exists(folder.parent) and (folder.parent / results.CONFIG).is_file():
        raise ValueError(f"{folder} is part of an unfinished sweep; resume {folder.parent}")
    if is_finished(folder, config):
        _remove_checkpoint(folder)
        raise ValueError(f"{folder} holds a finished run")
    results.check_trusted(folder, config, trust)
    runs = _run_into(folder, config, progress, tracker=tracker)
    _redraw_sweep(folder.absolute().parent)
    return runs


def compare(
    configs: Sequence[TrainConfig],
    folder: Path | None = None,
    progress: bool = True,
    tracker: tracking.Session | None = None,
    launch: Launch | None = None,
) -> list[results.Run]:
    """Trains one population per configuration, each in a folder of its own, and draws them together.

    What a folder given holds of the same comparison is not done again: finished runs are taken, others gone on with.
    launch: trains the populations elsewhere; None: here.

    Raises:
      ValueError: as `run`, for every configuration before the first is trained; and for an optimizer named twice.
      Unfinished: as `training.train`.
    """
    folder, runs = _train_all(configs, folder, "compare", progress, tracker, launch)
    plotting.learning_curves(runs, folder / results.PLOTS / "learning_curves.png")
    return runs


def sweep(
    configs: Sequence[TrainConfig],
    folder: Path | None = None,
    progress: bool = True,
    tracker: tracking.Session | None = None,
    launch: Launch | None = None,
) -> tuple[list[results.Run], Path]:
    """Trains every learning rate of every configuration, and draws final returns over the rates.

    All rates and seeds of an optimizer are one program; each rate leaves a run folder of its own. What a folder given
    holds of the same sweep is not done again, also if rates or optimizers have been added since. launch: as `compare`.

    Returns:
      The runs, and where the plot lies.

    Raises: as `compare`.
    """
    folder, runs = _train_all(configs, folder, "sweep", progress, tracker, launch)
    plot = folder / results.PLOTS / SENSITIVITY
    plotting.sensitivity(runs, plot)
    return runs, plot


def draw(folders: Sequence[Path], plot: Path) -> list[results.Run]:
    """Draws the learning curves of finished runs together, whichever commands made them.

    Returns:
      The runs, as `labels.tell_apart`.

    Raises:
      ValueError: for folders without a finished run, or with runs of different agents or environments.
    """
    runs = results.find_runs(folders)
    kinds = {(run.summary["agent"], run.summary["env_id"]): run.folder for run in runs}
    if len(kinds) != 1:
        found = "; ".join(f"{agent} on {env} ({folder})" for (agent, env), folder in kinds.items())
        raise ValueError(
            f"only runs of one agent on one environment go into one plot, got {found or 'no finished run'}"
        )
    runs = labels.tell_apart(runs)
    plotting.learning_curves(runs, plot)
    return runs


def train_population(
    folder: Path,
    config: TrainConfig,
    progress: bool = True,
    tracker: tracking.Session | None = None,
    root: Path | None = None,
) -> list[results.Run]:
    """Trains what a folder does not hold yet of a population, one run folder per learning rate; draws nothing.

    root: a folder above, for the names of the runs in trackers; default: the folder.

    Raises:
      ValueError: for a folder with something else.
      Unfinished: as `training.train`.
    """
    check_population(folder, config)
    return _run_into(folder, config, progress, draw=False, tracker=tracker, root=root)


def check_population(folder: Path, config: TrainConfig) -> None:
    """Refuses a folder that holds something else than (a part of) a population; ValueError."""
    _check_folder(folder, config, finished=True)


def is_finished(folder: Path, config: TrainConfig) -> bool:
    """Whether a folder holds finished runs of all of a population."""
    return all(results.is_finished(place) for place, _ in _places(folder, config))


def prepare(folder: Path, config: TrainConfig) -> None:
    """Writes what `resume` needs to train a population into its folder.

    What was stopped in the middle there keeps its own rates: its checkpoint is of those.
    """
    check_population(folder, config)
    if not checkpoint.exists(folder):
        results.write_config(folder, config)


def _train_all(
    configs: Sequence[TrainConfig],
    folder: Path | None,
    kind: str,
    progress: bool,
    tracker: tracking.Session | None,
    launch: Launch | None,
) -> tuple[Path, list[results.Run]]:
    """Trains what is missing of several configurations, after every check that needs no training; folder and runs."""
    names = [results.safe_name(config.optimizer) for config in configs]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"each optimizer may be named once, and at least one, got {', '.join(names) or 'none'}")
    for name, config in zip(names, configs, strict=True):
        training.build(config)
        if folder is not None:
            _check_folder(folder / name, config, finished=True)
    if folder is not None and folder.is_dir():
        run_lock.check_links(folder)
    folder = folder or results.new_folder(f"{kind}-{configs[0].agent}-{configs[0].env}")
    if launch is not None:
        launch(folder, {folder / name: config for name, config in zip(names, configs, strict=True)})
    runs = [
        _run_into(folder / name, config, progress, tracker=tracker, root=folder)
        for name, config in zip(names, configs, strict=True)
    ]
    return folder, [one for cells in runs for one in cells]


def _places(folder: Path, config: TrainConfig) -> list[tuple[Path, TrainConfig]]:
    """The run folder of each cell of a population, and its settings."""
    if not config.rates:
        return [(folder, config)]
    return [(folder / results.rate_name(cell.learning_rate), cell) for cell in config.cells]


def _redraw_sweep(folder: Path) -> None:
    """Draws final returns over the rates, if a folder holds a sweep that is complete or was drawn before."""
    parts = {}
    for path in sorted(folder.glob(f"*/{results.CONFIG}")):
        try:
            config = results.read_config(path.parent)
        except ValueError:
            return  # no sweep of this version, and what was to be trained is
        if path.parent.name != results.safe_name(config.optimizer):
            return  # some folder of runs
        parts[path.parent] = config
    if len({(config.agent, config.env) for config in parts.values()}) != 1:
        return
    plot = folder / results.PLOTS / SENSITIVITY
    complete = any(config.rates for config in parts.values()) and all(is_finished(*part) for part in parts.items())
    # A benchmark's folders look alike, and it draws other plots.
    in_benchmark = any((parent / protocol.PLAN).is_file() for parent in folder.parents)
    if (complete or plot.is_file()) and not in_benchmark:
        plotting.sensitivity(results.find_runs(list(parts)), plot)


def _check_folder(folder: Path, config: TrainConfig, finished: bool) -> None:
    """Refuses a folder that holds something else than (an unfinished, or also a finished) run of these settings."""
    if not (folder / results.CONFIG).is_file() or (results.is_finished(folder) and not finished):
        results.check_free(folder)
        return
    found = results.read_config(folder)
    if found.rates and config.rates:
        # The rates of a sweep may be others: each has a folder of its own.
        found = dataclasses.replace(found, rates=config.rates)
    kind = "sweep" if found.rates else "finished run" if results.is_finished(folder) else "unfinished run"
    sealed.check_settings(f"the {kind} in {folder}", checkpoint.settings(found), checkpoint.settings(config))
    if config.rates:
        for place, cell in _places(folder, config):
            _check_folder(place, cell, finished=True)


def _run_into(
    folder: Path,
    config: TrainConfig,
    progress: bool,
    draw: bool = True,
    tracker: tracking.Session | None = None,
    root: Path | None = None,
) -> list[results.Run]:
    """Every cell of a population, trained if it has not been."""
    while _missing(folder, config):
        with run_lock.held(folder):
            missing = _missing(folder, config)  # again: another process may have come to its end
            if config.rates and checkpoint.exists(folder):
                # What was stopped in the middle is ended first: its checkpoint is of all its rates.
                rates = results.read_config(folder).rates
            else:
                rates = tuple(config.rates[k] for k in missing) if config.rates else ()
            if missing:
                _train_into(folder, dataclasses.replace(config, rates=rates), progress, draw, tracker, root or folder)
    _remove_checkpoint(folder)
    return [results.read_run(place) for place, _ in _places(folder, config)]


def _remove_checkpoint(folder: Path) -> None:
    """Deletes what is left of a run that was killed between its summary and its end."""
    # Of a sweep it may be that of other rates than were asked for.
    if checkpoint.exists(folder) and not _missing(folder, results.read_config(folder)):
        with run_lock.held(folder):
            checkpoint.remove(folder)


def _missing(folder: Path, config: TrainConfig) -> list[int]:
    """The numbers of the cells that have not come to their end."""
    return [k for k, (place, _) in enumerate(_places(folder, config)) if not results.is_finished(place)]


def _train_into(
    folder: Path, config: TrainConfig, progress: bool, draw: bool, tracker: tracking.Session | None, root: Path
) -> None:
    """Trains a population, and writes each of its cells into its run folder."""
    if config.rates:
        results.write_config(folder, config)  # before the folders of the rates, which nobody would know what to do with
    with contextlib.ExitStack() as locks:
        for place, _ in _places(folder, config) if config.rates else ():
            locks.enter_context(run_lock.held(place))
        _train_locked(folder, config, progress, draw, tracker, root)


def _train_locked(
    folder: Path, config: TrainConfig, progress: bool, draw: bool, tracker: tracking.Session | None, root: Path
) -> None:
    places = _places(folder, config)
    for place, cell in places:
        results.write_config(place, cell)
        if not checkpoint.exists(folder):
            results.write_rows(place, [])  # it starts anew; else the lines stay until the checkpoint has been read

    def rows_of(k: int, row: dict[str, Any]) -> dict[str, Any]:
        mine = slice(k * config.seeds, (k + 1) * config.seeds)
        return {name: value[mine] if isinstance(value, list) else value for name, value in row.items()}

    waiting: list[tuple[Path, dict[str, Any]]] = []

    def append(row: dict[str, Any]) -> None:
        parts = [rows_of(k, row) for k in range(len(places))]
        waiting.extend((place, part) for (place, _), part in zip(places, parts, strict=True))
        try:
            write_waiting()
        except OSError as error:
            text = f"{folder}: nothing could be logged ({error}); it is tried again with the next line"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        report(parts)

    def write_waiting() -> None:
        while waiting:
            results.append_row(*waiting[0])
            waiting.pop(0)

    def rewrite(rows: list[dict[str, Any]]) -> None:
        for k, (place, _) in enumerate(places):
            results.write_rows(place, [rows_of(k, row) for row in rows])

    with tracking.follow(tracker, [tracking.population(place, root, cell) for place, cell in places]) as report:
        history = training.train(config, progress=progress, folder=folder, on_interval=append, on_continue=rewrite)
    write_waiting()
    for (place, cell), part in zip(places, training.split(history, config), strict=True):
        finished = results.write_history(place, cell, part)
        if draw:
            plotting.learning_curves([finished], place / results.PLOTS / "learning_curve.png")
        results.write_summary(finished)
    checkpoint.remove(folder)


def table(runs: Sequence[results.Run]) -> Table:
    """Final returns per run: IQM over seeds, 95 % interval, best and worst seed."""
    first = runs[0].summary
    steps = [f"{count:,}" for count in sorted({run.summary["env_steps"] for run in runs})]
    shown = steps[0] if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    rendered = Table(
        title=f"{first['agent'].upper()} on {first['env_id']}, {shown} steps per seed: "
        "return in the last tenth of training"
    )
    rendered.add_column("optimizer", overflow="fold", min_width=9)
    for heading in ("lr", "seeds", "IQM", "95 % interval", "worst", "best", "sec"):
        rendered.add_column(heading, justify="right", no_wrap=True)
    for finished in runs:
        rendered.add_row(*_cells(finished.summary))
    return rendered


def _cells(summary: dict[str, Any]) -> list[str]:
    finals = [value for value in summary["final_returns"] if value is not None]
    stopped = len(summary["stopped_seeds"])
    notes = [summary["apart"]] if summary.get("apart") else []
    notes += [f"{stopped} not finite"] if stopped else []
    if summary["final_return_iqm"] is None:
        notes.append(f"{summary['seeds'] - len(finals)} without an episode")
        scores = ["-"] * 4
    else:
        low, high = summary["final_return_ci95"]
        scores = [
            f"{summary['final_return_iqm']:.1f}",
            f"{low:.1f} to {high:.1f}",
            f"{min(finals):.1f}",
            f"{max(finals):.1f}",
        ]
    return [
        summary["optimizer"] + (f" ({', '.join(notes)})" if notes else ""),
        "-" if summary["learning_rate"] is None else f"{summary['learning_rate']:g}",
        str(summary["seeds"]),
        *scores,
        f"{summary['wall_seconds']:.0f}",
    ]


def show(runs: Sequence[results.Run], plot: Path) -> None:
    """Prints the table and where the plot lies."""
    console = Console()
    console.print(table(runs))
    console.print(f"plot: {plot}", soft_wrap=True, highlight=False)
