"""Runs on disk: train one population or compare several, with tables and plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from metatrain import sealed
from rlopt import checkpoint, plotting, results, training
from rlopt.config import TrainConfig


def run(config: TrainConfig, folder: Path | None = None, progress: bool = True) -> results.Run:
    """Trains a population into a run folder (default: a new one under runs/) and draws its learning curve.

    A folder with an unfinished run of the same settings is gone on with.

    Raises:
      ValueError: for bad settings, before the folder is made, or for a folder that holds anything else.
      Unfinished: as `training.train`.
    """
    training.build(config)
    if folder is not None:
        _check_folder(folder, config, finished=False)
    folder = folder or results.new_folder(f"{config.agent}-{config.env}-{config.optimizer}")
    return _run_into(folder, config, progress)


def resume(folder: Path, progress: bool = True) -> results.Run:
    """Goes on with an unfinished run.

    Raises:
      ValueError: for a folder without one.
      Unfinished: as `training.train`.
    """
    if results.is_finished(folder):
        raise ValueError(f"{folder} holds a finished run")
    return _run_into(folder, results.read_config(folder), progress)


def compare(configs: Sequence[TrainConfig], folder: Path | None = None, progress: bool = True) -> list[results.Run]:
    """Trains one population per configuration, each in a folder of its own, and draws them together.

    What a folder given holds of the same comparison is not done again: finished runs are taken, others gone on with.

    Raises:
      ValueError: as `run`, for every configuration before the first is trained; and for an optimizer named twice.
      Unfinished: as `training.train`.
    """
    names = [config.optimizer for config in configs]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"each optimizer may be named once, and at least one, got {', '.join(names) or 'none'}")
    for config in configs:
        training.build(config)
        if folder is not None:
            _check_folder(folder / config.optimizer, config, finished=True)
    folder = folder or results.new_folder(f"compare-{configs[0].agent}-{configs[0].env}")
    runs = [_run_into(folder / config.optimizer, config, progress) for config in configs]
    plotting.learning_curves(runs, folder / results.PLOTS / "learning_curves.png")
    return runs


def _check_folder(folder: Path, config: TrainConfig, finished: bool) -> None:
    """Refuses a folder that holds something else than (an unfinished, or also a finished) run of these settings."""
    if not (folder / results.CONFIG).is_file() or (results.is_finished(folder) and not finished):
        results.check_free(folder)
        return
    theirs, ours = (checkpoint.settings(x) for x in (results.read_config(folder), config))
    if changed := sealed.differences(theirs, ours):
        what = "a finished run" if results.is_finished(folder) else "a run"
        settings = "; ".join(changed)
        raise ValueError(f"{folder} holds {what} with other settings ({settings}); choose another or remove it")


def _run_into(folder: Path, config: TrainConfig, progress: bool) -> results.Run:
    if results.is_finished(folder):
        return results.read_run(folder)
    results.write_config(folder, config)
    if not checkpoint.exists(folder):
        results.write_rows(folder, [])  # it starts anew; else the lines stay until the checkpoint has been read
    history = training.train(
        config,
        progress=progress,
        folder=folder,
        on_interval=lambda row: results.append_row(folder, row),
        on_continue=lambda rows: results.write_rows(folder, rows),
    )
    results.write_history(folder, config, history)
    checkpoint.remove(folder)
    finished = results.read_run(folder)
    plotting.learning_curves([finished], folder / results.PLOTS / "learning_curve.png")
    return finished


def table(runs: Sequence[results.Run]) -> Table:
    """Final returns per run: IQM over seeds, 95 % interval, best and worst seed."""
    first = runs[0].summary
    rendered = Table(
        title=f"{first['agent'].upper()} on {first['env_id']}, {first['env_steps']:,} steps per seed: "
        "return in the last tenth of training"
    )
    rendered.add_column("optimizer", no_wrap=True)
    for heading in ("lr", "seeds", "IQM", "95 % interval", "worst", "best", "sec"):
        rendered.add_column(heading, justify="right", no_wrap=True)
    for finished in runs:
        rendered.add_row(*_cells(finished.summary))
    return rendered


def _cells(summary: dict[str, Any]) -> list[str]:
    finals = [value for value in summary["final_returns"] if value is not None]
    if summary["final_return_iqm"] is None:
        scores = [f"no episode ended in {summary['seeds'] - len(finals)} seeds", "-", "-", "-"]
    else:
        low, high = summary["final_return_ci95"]
        scores = [
            f"{summary['final_return_iqm']:.1f}",
            f"{low:.1f} to {high:.1f}",
            f"{min(finals):.1f}",
            f"{max(finals):.1f}",
        ]
    stopped = len(summary["stopped_seeds"])
    return [
        summary["optimizer"] + (f" ({stopped} not finite)" if stopped else ""),
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
