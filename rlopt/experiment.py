"""Runs on disk: train one population or compare several, with tables and plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rlopt import plotting, results, training
from rlopt.config import TrainConfig


def run(config: TrainConfig, folder: Path | None = None, progress: bool = True) -> results.Run:
    """Trains a population into a run folder (default: a new one under runs/) and draws its learning curve.

    Raises:
      ValueError: for bad settings, before the folder is made, or for a folder that is not empty.
    """
    training.build(config)
    folder = folder or results.new_folder(f"{config.agent}-{config.env}-{config.optimizer}")
    return _run_into(folder, config, progress)


def compare(configs: Sequence[TrainConfig], folder: Path | None = None, progress: bool = True) -> list[results.Run]:
    """Trains one population per configuration, each in a folder of its own, and draws them together.

    Raises:
      ValueError: as `run`, for every configuration before the first is trained; and for an optimizer named twice.
    """
    names = [config.optimizer for config in configs]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"each optimizer may be named once, and at least one, got {', '.join(names) or 'none'}")
    for config in configs:
        training.build(config)
        if folder is not None:
            results.check_free(folder / config.optimizer)
    folder = folder or results.new_folder(f"compare-{configs[0].agent}-{configs[0].env}")
    runs = [_run_into(folder / config.optimizer, config, progress) for config in configs]
    plotting.learning_curves(runs, folder / results.PLOTS / "learning_curves.png")
    return runs


def _run_into(folder: Path, config: TrainConfig, progress: bool) -> results.Run:
    results.claim_folder(folder)
    results.write_config(folder, config)
    history = training.train(config, progress=progress, on_interval=lambda row: results.append_row(folder, row))
    results.write_history(folder, config, history)
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
