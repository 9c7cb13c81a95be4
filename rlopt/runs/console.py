"""What is printed of finished runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from rlopt import escape, statistics
from rlopt.runs import kept, results, searched
from rlopt.statistics import iqm

# Trials of a search that are printed, of each optimizer.
SHOWN_TRIALS = 5
SILENT = (
    "no IQM: no episode ended in any seed, being longer than what one environment was trained for; more steps give one"
)


def table(runs: Sequence[results.Run]) -> Table:
    """Final returns per run: IQM over seeds, 95 % interval (a dash for one seed), best and worst seed."""
    first = runs[0].summary
    steps = [f"{count:,}" for count in sorted({run.summary["env_steps"] for run in runs})]
    shown = steps[0] if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    what = f"{first['agent'].upper()} on {first['env_id']}, {shown} steps per seed"
    title = f"{what}: return in the last tenth of training"
    rendered = Table(title=escape.rich(title, "table.title"))
    rendered.add_column("optimizer", overflow="fold", min_width=9)
    for heading in ("lr", "seeds", "IQM", "95 % interval", "worst", "best", "sec"):
        rendered.add_column(heading, justify="right", no_wrap=True)
    for finished in runs:
        rendered.add_row(*map(escape.rich, _cells(finished)))
    if any(run.summary["final_return_iqm"] is None for run in runs):
        rendered.caption = escape.rich(SILENT, "table.caption")
    return rendered


def _cells(run: results.Run) -> list[str]:
    summary = run.summary
    known = [value for value in summary["final_returns"] if value is not None]
    stopped = len(summary["stopped_seeds"])
    notes = [summary["apart"]] if summary.get("apart") else []
    notes += [f"{stopped} not finite"] if stopped else []
    if left := int(np.sum(run.given_up >= 0)):
        notes.append(f"{left} given up")
    if silent := statistics.silent_seeds(run.returns):
        notes.append(f"{silent} without an episode")
    if summary["final_return_iqm"] is None:
        scores = ["-"] * 4
    else:
        interval = summary["final_return_ci95"]
        scores = [
            f"{summary['final_return_iqm']:.1f}",
            "-" if interval is None else "{:.1f} to {:.1f}".format(*interval),
            f"{min(known):.1f}",
            f"{max(known):.1f}",
        ]
    return [
        summary["optimizer"] + (f" ({', '.join(notes)})" if notes else ""),
        "-" if summary["learning_rate"] is None else f"{summary['learning_rate']:g}",
        str(summary["seeds"]),
        *scores,
        f"{summary['wall_seconds']:.0f}",
    ]


def show_search(runs: Sequence[results.Run], plot: Path) -> None:
    """Prints the best trials of each optimizer, what the search cost, how to resume it, and where the plot lies."""
    console = Console()
    found = searched.read(runs)
    console.print(_best_trials(found))
    for name, mine in searched.by_optimizer(found).items():
        spent = searched.spent(searched.cpu_seconds(mine))
        best = searched.ranked(mine)[0]
        console.print(
            escape.rich(f"{name}: {searched.counted(mine)} of {best.config.seeds} seeds{spent}"), highlight=False
        )
        console.print(
            escape.rich(f"  its best, on other seeds: {searched.command(best)}"), highlight=False, soft_wrap=True
        )
    console.print(escape.rich(f"plot: {plot}"), soft_wrap=True, highlight=False)


def _best_trials(found: Sequence[searched.Tried]) -> Table:
    """The best trials of each optimizer, with the settings in which trials differ."""
    names = searched.varying(found)
    config = found[0].config
    what = f"{config.agent.upper()} on {config.env}, {found[0].run.summary['env_steps']:,} steps per seed"
    rendered = Table(title=escape.rich(f"{what}: return in the last tenth of training", "table.title"))
    rendered.add_column("optimizer", overflow="fold", min_width=9)
    for heading in names:
        rendered.add_column(escape.rich(heading.replace("_", " ")), justify="right")
    for heading in ("IQM", "95 % interval"):
        rendered.add_column(heading, justify="right", no_wrap=True)
    for mine in searched.by_optimizer(found).values():
        for one in searched.ranked(mine)[:SHOWN_TRIALS]:
            values = [one.values.get(name) for name in names]
            shown = ["-" if value is None else f"{value:.4g}" for value in values]
            cells = _cells(one.run)
            rendered.add_row(*map(escape.rich, [cells[0], *shown, *cells[3:5]]))
    return rendered


def _evaluations(runs: Sequence[results.Run]) -> str:
    """What the networks at the end came to, of all runs with evaluations, in words; "" where none has any."""
    said = []
    for run in runs:
        found, rate = kept.evaluated(run), run.summary["learning_rate"]
        if found is not None:
            last = found.returns[:, -1]
            name = run.summary["optimizer"] + ("" if rate is None or len(runs) == 1 else f" at {rate:g}")
            said.append(f"{name} {iqm(last):.1f}" if np.all(np.isfinite(last)) else f"{name}: not in all seeds")
    return f"greedy episodes at the last evaluation, IQM: {'; '.join(said)}" if said else ""


def show(runs: Sequence[results.Run], plot: Path) -> None:
    """Prints the table and where the plot lies."""
    console = Console()
    console.print(table(runs))
    if said := _evaluations(runs):
        console.print(escape.rich(said), soft_wrap=True, highlight=False)
    console.print(escape.rich(f"plot: {plot}"), soft_wrap=True, highlight=False)
