"""Tables and plots of the supervised suite."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from celo2.files import write_atomic
from rlopt import escape
from rlopt.drawing import COLOURS, save
from rlopt.metatest import scores
from rlopt.metatest.config import REFERENCE
from rlopt.metatest.training import EVERY
from rlopt.metatest.trials import Trial
from rlopt.runs import results
from rlopt.statistics import Interval

OTHER = "best other"


def names_of(cells: scores.Cells) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tasks and optimizers, in the order in which they were run."""
    return tuple(dict.fromkeys(task for task, _ in cells)), tuple(dict.fromkeys(name for _, name in cells))


def as_text(interval: Interval, digits: int = 2) -> str:
    """An estimate with its interval; alone, where there is none, and a dash where there is no estimate."""
    if not np.isfinite(interval.estimate):
        return "-"
    estimate = f"{interval.estimate:.{digits}f}"
    return f"{estimate} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if interval.known else estimate


class Page(NamedTuple):
    """One table: its title, a heading per column, rows of text."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def rich(self, width: int) -> list[Table]:
        """For a terminal of this width: as many tables as the columns need, each with the first one."""
        needed = [max(map(len, column)) + 3 for column in zip(self.header, *self.rows, strict=True)]
        parts: list[list[int]] = [[]]
        for i in range(1, len(self.header)):
            if parts[-1] and 1 + needed[0] + sum(needed[k] for k in parts[-1]) + needed[i] > width:
                parts.append([])
            parts[-1].append(i)
        tables = []
        for number, part in enumerate(parts):
            table = Table(title=None if number else escape.rich(self.title, "table.title"))
            for k in (0, *part):
                table.add_column(escape.rich(self.header[k]), justify="right" if k else "left", no_wrap=True)
            for row in self.rows:
                table.add_row(*(escape.rich(row[k]) for k in (0, *part)))
            tables.append(table)
        return tables

    def markdown(self) -> str:
        """For a document."""
        lines = (self.header, ("---",) * len(self.header), *self.rows)
        return "\n".join([f"{self.title}:", "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def summary_table(cells: scores.Cells, tuned: Mapping[str, bool]) -> Page:
    """One line per optimizer, best final-loss IQM first."""
    tasks, names = names_of(cells)
    rows = []
    summaries = {name: scores.summarise(cells, tasks, name) for name in names}
    for name, s in sorted(summaries.items(), key=lambda item: -item[1].final_iqm.estimate):
        rate = cells[tasks[0], name].mean_rate
        setting = "tuned" if tuned[name] else "none" if rate is None else f"{rate:g}"
        wins = "-" if name == REFERENCE else f"{s.wins} of {s.tasks}"
        intervals = (s.final_iqm, s.final_gap, s.speed_iqm, s.speed_gap)
        rows.append((name, setting, *map(as_text, intervals), wins))
    return Page(
        f"Against Adam tuned on each task; {len(tasks)} tasks, 95 % intervals over seeds",
        (
            "optimizer",
            "rate",
            "final loss, IQM",
            "final loss, gap",
            "speed-up, IQM",
            "speed-up, gap",
            "lower mean loss",
        ),
        rows,
    )


def task_table(cells: scores.Cells) -> Page:
    """Mean training loss per optimizer and task, mean over seeds, each at its best rate."""
    tasks, names = names_of(cells)
    means = {name: [float(cells[task, name].mean.mean()) for task in tasks] for name in names}
    rows = [(name, *(f"{m:.4f}" for m in row)) for name, row in means.items()]
    return Page("Mean loss over training (mean over seeds)", ("optimizer", *tasks), rows)


def write(
    cells: scores.Cells,
    folder: Path,
    pages: Sequence[Page],
    trials: Mapping[str, Sequence[Trial]] = MappingProxyType({}),
) -> None:
    """`tables.md`, `summary.json` and the plots.

    trials: by optimizer, what its rates are the numbers of; those of one that is tuned in its rate alone are rates.
    """
    write_atomic(folder / "tables.md", "\n".join(page.markdown() for page in pages).encode())
    tasks, names = names_of(cells)
    summary: dict[str, Any] = {
        name: scores.summarise(cells, tasks, name)._asdict()
        | {
            "mean_loss": {task: round(float(cells[task, name].mean.mean()), 6) for task in tasks},
            "final_loss": {task: round(float(cells[task, name].final.mean()), 6) for task in tasks},
            "mean_rate": {task: _setting(cells[task, name].mean_rate, trials.get(name)) for task in tasks},
            "final_rate": {task: _setting(cells[task, name].final_rate, trials.get(name)) for task in tasks},
        }
        for name in names
    }
    write_atomic(folder / "summary.json", json.dumps(summary, indent=1).encode() + b"\n")
    curves(cells, folder / results.PLOTS / "curves.png")


def _setting(rate: float | None, trials: Sequence[Trial] | None) -> float | Trial | None:
    """A rate as it is written down, or the settings of the trial of that number."""
    if rate is None:
        return None
    return trials[int(rate)] if trials else float(f"{rate:.4g}")


def curves(cells: scores.Cells, path: Path) -> None:
    """Smoothed training loss per task: the learned rules, tuned Adam, and the best of the other optimizers."""
    tasks, names = names_of(cells)
    columns = min(5, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.9 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    learned = names[: names.index(REFERENCE)]
    others = [name for name in names if name not in learned and name != REFERENCE]
    colours = dict(zip((*learned, REFERENCE), itertools.cycle(COLOURS), strict=False)) | {OTHER: "grey"}
    for ax, task in zip(axes, tasks, strict=False):
        shown = {name: cells[task, name] for name in (*learned, REFERENCE)}
        if others:
            best = min(others, key=lambda name: cells[task, name].final.mean())
            shown[OTHER] = cells[task, best]
            ax.set_title(escape.figure(f"{task}\n(other: {best})"), fontsize="small")
        else:
            ax.set_title(task, fontsize="medium")
        for name, cell in shown.items():
            steps = EVERY * np.arange(1, cell.smooth.shape[1] + 1)
            line = "--" if name == OTHER else "-"
            ax.plot(steps, cell.smooth.mean(0), line, color=colours[name], linewidth=1.5, label=escape.figure(name))
            ax.fill_between(steps, cell.smooth.min(0), cell.smooth.max(0), color=colours[name], alpha=0.2, linewidth=0)
        low = min(float(cell.smooth.min()) for cell in shown.values())
        ax.set_yscale("log")
        ax.set_ylim(low * 0.95, float(cells[task, REFERENCE].smooth[:, 0].max()) * 1.1)
        ax.set_xlabel("step")
        ax.grid(alpha=0.3)
    for ax in axes[len(tasks) :]:
        ax.set_visible(False)
    axes[0].set_ylabel("training loss")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(colours), frameon=False)
    save(figure, path)
