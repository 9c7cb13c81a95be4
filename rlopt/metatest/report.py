"""Tables and plots of the supervised suite."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from celo2.files import write_atomic
from rlopt import escape
from rlopt.metatest import pictures, scores
from rlopt.metatest.config import CELO17_TASKS, REFERENCE
from rlopt.metatest.suite import Cell
from rlopt.metatest.task import Task
from rlopt.metatest.trials import Trial
from rlopt.runs import results
from rlopt.statistics import Interval


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
    tasks, names = scores.names_of(cells)
    rows = []
    summaries = {name: scores.summarise(cells, tasks, name) for name in names}
    for name, s in sorted(summaries.items(), key=lambda item: -item[1].final_iqm.estimate):
        rate = cells[tasks[0], name].mean_rate
        setting = "tuned" if tuned[name] else "none" if rate is None else f"{rate:g}"
        wins = "-" if name == REFERENCE else f"{s.wins} of {s.tasks}"
        intervals = (s.final_iqm, s.final_gap, s.speed_iqm, s.speed_gap)
        rows.append((name, setting, *map(as_text, intervals), wins))
    rate = cells[tasks[0], REFERENCE].mean_rate
    how = "tuned on each task" if tuned[REFERENCE] or rate is None else f"at a rate of {rate:g}"
    return Page(
        f"Against Adam {how}; {len(tasks)} tasks, 95 % intervals over seeds",
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
    return _per_task(cells, "Mean loss over training (mean over seeds)", lambda _, cell: _number(cell.mean))


def test_table(cells: scores.Cells) -> Page:
    """Loss on test data after training, mean over seeds, at the rate with the best final training loss."""
    return _per_task(cells, "Final test loss (mean over seeds)", lambda _, cell: _number(cell.final_test))


def cost_table(cells: scores.Cells) -> Page:
    """Time and operations of a training step of one run, and the time as a multiple of Adam's."""
    base = {task: cells[task, REFERENCE].seconds for task, _ in cells}

    def cost(task: str, cell: Cell) -> str:
        if cell.seconds is None or cell.operations is None:
            return "-"
        adam = base[task]
        ratio = f" ({cell.seconds / adam:.2f}x)" if adam else ""
        return f"{1e3 * cell.seconds:.3g} ms{ratio}, {cell.operations / 1e6:.3g} MFLOP"

    title = "A training step of one run: time on this machine (ratio to Adam) and floating-point operations"
    return _per_task(cells, title, cost)


def data_table(tasks: Mapping[str, Task], steps: str) -> Page:
    """What the tasks are, and what data they had."""
    rows: list[tuple[str, ...]] = [(name, task.about, task.source) for name, task in tasks.items()]
    return Page(f"Tasks; {steps}", ("task", "what is trained", "data"), rows)


def _number(values: np.ndarray | None) -> str:
    return "-" if values is None else f"{float(values.mean()):.4f}"


def _per_task(cells: scores.Cells, title: str, shown: Callable[[str, Cell], str]) -> Page:
    """A text for every task and cell: a row per optimizer, or per task where these have long names."""
    tasks, names = scores.names_of(cells)
    text = {(task, name): shown(task, cell) for (task, name), cell in cells.items()}
    if set(tasks) <= set(CELO17_TASKS):
        return Page(title, ("task", *names), [(task, *(text[task, name] for name in names)) for task in tasks])
    return Page(title, ("optimizer", *tasks), [(name, *(text[task, name] for task in tasks)) for name in names])


def write(
    cells: scores.Cells,
    folder: Path,
    pages: Sequence[Page],
    trials: Mapping[str, Sequence[Trial]] = MappingProxyType({}),
    tasks: Mapping[str, Task] = MappingProxyType({}),
) -> None:
    """`tables.md`, `summary.json` (seconds, and operations, are those of one training step), `cost.md` and the plots.

    trials: by optimizer, what its rates are the numbers of; those of one that is tuned in its rate alone are rates.
    tasks: by name, for the source of their data.
    """
    write_atomic(folder / "tables.md", "\n".join(page.markdown() for page in pages).encode())
    write_atomic(folder / "cost.md", cost_table(cells).markdown().encode())
    of_tasks, names = scores.names_of(cells)
    summary: dict[str, Any] = {}
    for name in names:
        own = {task: cells[task, name] for task in of_tasks}
        summary[name] = scores.summarise(cells, of_tasks, name)._asdict() | {
            "mean_loss": {task: round(float(cell.mean.mean()), 6) for task, cell in own.items()},
            "final_loss": {task: round(float(cell.final.mean()), 6) for task, cell in own.items()},
            "final_test_loss": {task: _mean(cell.final_test) for task, cell in own.items()},
            "mean_rate": {task: _setting(cell.mean_rate, trials.get(name)) for task, cell in own.items()},
            "final_rate": {task: _setting(cell.final_rate, trials.get(name)) for task, cell in own.items()},
            "seconds": {task: cell.seconds for task, cell in own.items()},
            "flop_per_step": {task: cell.operations for task, cell in own.items()},
            "data": {task: tasks[task].source for task in own if task in tasks},
        }
    write_atomic(folder / "summary.json", json.dumps(summary, indent=1).encode() + b"\n")
    plots = folder / results.PLOTS
    pictures.curves(cells, plots / "curves.png")
    if all(cell.test is not None for cell in cells.values()):
        pictures.curves(cells, plots / "test_curves.png", test=True)
    pictures.profiles(cells, plots / "profiles.png")


def _mean(values: np.ndarray | None) -> float | None:
    return None if values is None else round(float(values.mean()), 6)


def _setting(rate: float | None, trials: Sequence[Trial] | None) -> float | Trial | None:
    """A rate as it is written down, or the settings of the trial of that number."""
    if rate is None:
        return None
    return trials[int(rate)] if trials else float(f"{rate:.4g}")
