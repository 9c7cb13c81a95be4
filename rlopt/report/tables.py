"""Tables of a report, and how they are written as CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rlopt import escape
from rlopt.report import scores
from rlopt.report.evidence import Evidence
from rlopt.statistics import Interval, bootstrap, tolerance_window

Value = str | int | float | Interval | None


class Table(NamedTuple):
    """name: of its files. title, note: to be shown. rows: as many values as columns; None: there is nothing to say."""

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]


def leaderboard(rows: Sequence[scores.Row], setting: str, is_normalised: bool) -> Table:
    """Aggregate scores at a setting."""
    kind = {
        "tuned": "Tuned: each optimizer's learning rate was chosen per environment. ",
        "shared": "Shared: one learning rate per optimizer for the whole suite. ",
        "": "",
    }[setting]
    scale = "random policy 0, tuned Adam 1" if is_normalised else "returns, not normalised"
    return Table(
        name=f"leaderboard_{setting}" if setting else "leaderboard",
        title=f"Scores ({setting})" if setting else "Scores",
        note=f"{kind}Final return over all seeds and environments ({scale}) with 95 % bootstrap intervals. IQM: "
        "interquartile mean. Better than Adam: probability that a run beats one of Adam's. Difference: mean over seeds "
        "that Adam was trained with, too. Area: under the learning curve, IQM. Not finite: seeds that broke and count "
        "as their worst.",
        columns=(
            "optimizer",
            "IQM",
            "median",
            "mean",
            *(("optimality gap",) if is_normalised else ()),
            "better than Adam",
            "difference to Adam",
            "area",
            "seeds",
            "not finite",
        ),
        rows=[
            (
                row.optimizer,
                row.iqm,
                row.median,
                row.mean,
                *((row.gap,) if is_normalised else ()),
                row.better,
                row.paired,
                row.area,
                row.seeds,
                row.failed,
            )
            for row in rows
        ],
    )


def returns(evidence: Evidence, setting: str) -> Table:
    """Final returns per environment at a setting: IQM over seeds, and the learning rate."""
    rows: list[tuple[Value, ...]] = []
    for optimizer in evidence.optimizers:
        row: list[Value] = [optimizer]
        for environment in evidence.environments:
            cell = evidence.chosen(environment, optimizer, setting)
            finite = cell is not None and bool(np.all(np.isfinite(cell.final)))
            row += [bootstrap(cell.final) if cell is not None and finite else None, cell.rate if cell else None]
        rows.append(tuple(row))
    label = f"_{setting}" if evidence.plan is not None else ""
    return Table(
        name=f"returns{label}",
        title="Final returns" + (f" ({setting})" if label else ""),
        note="Return of the training episodes in the last tenth of training: IQM over seeds, 95 % bootstrap interval. "
        "Rate: the learning rate; empty for what takes none.",
        columns=("optimizer", *(x for name in evidence.environments for x in (name, f"rate, {name}"))),
        rows=rows,
    )


def sensitivity(evidence: Evidence) -> Table:
    """How wide the window of good learning rates is."""
    rows: list[tuple[Value, ...]] = []
    for optimizer in evidence.optimizers:
        for environment in evidence.environments:
            cells = [c for c in evidence.tuning if (c.optimizer, c.environment) == (optimizer, environment)]
            cells = sorted((c for c in cells if c.rate is not None), key=lambda c: c.rate or 0.0)
            estimates = np.asarray([np.mean(c.final) for c in cells])
            if len(cells) < 2 or not np.all(np.isfinite(estimates)):
                continue
            rates = np.asarray([c.rate for c in cells])
            low, high = tolerance_window(rates, estimates)
            best = float(rates[int(np.argmax(estimates))])
            failed = sum(len(c.failed) for c in cells)
            rows.append((optimizer, environment, best, low, high, high / low, failed))
    return Table(
        name="sensitivity",
        title="Windows of learning rates",
        note="The window of learning rates around the best one in which the mean final return stays within 10 % of the "
        "best, interpolated between the rates tried, and its width as a factor. A window that ends at the lowest or "
        "highest rate tried may be wider.",
        columns=("optimizer", "environment", "best rate", "from", "to", "width", "not finite"),
        rows=rows,
    )


def failures(evidence: Evidence) -> Table:
    """Every seed that was stopped since its loss was not finite."""
    rows: list[tuple[Value, ...]] = []
    for stage, cells in (("tuning", evidence.tuning), ("reported", evidence.reported)):
        if stage == "tuning" and evidence.plan is None:
            continue
        for cell in cells:
            for seed, step in cell.failed.items():
                rows.append((cell.optimizer, cell.environment, cell.rate, stage, seed, step))
    return Table(
        name="failures",
        title="Seeds that broke",
        note="Their loss was not finite from this step on. They were stopped, and count as the lowest return of their "
        "run.",
        columns=("optimizer", "environment", "rate", "runs", "seed", "step"),
        rows=rows,
    )


def settings(evidence: Evidence) -> Table:
    """The agent's settings per environment, those that differ between environments first."""
    documents: dict[str, dict[str, Any]] = {}
    for cell in evidence.reported:
        documents.setdefault(cell.environment, cell.document)
    names = list(dict.fromkeys(name for document in documents.values() for name in document["hyper"]))

    def shown(environment: str, name: str) -> str:
        value = documents[environment]["hyper"].get(name)
        return "-" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)

    rows = [(name, *(shown(environment, name) for environment in documents)) for name in names]
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    return Table(
        name="settings",
        title="Settings of the agent",
        note="The same for every optimizer.",
        columns=("setting", *documents),
        rows=list(rows),
    )


def to_csv(table: Table) -> str:
    """Comma-separated, intervals in three columns."""
    wide = [any(isinstance(row[i], Interval) for row in table.rows) for i in range(len(table.columns))]
    header: list[str] = []
    for name, is_wide in zip(table.columns, wide, strict=True):
        name = escape.spreadsheet(name)
        header += [name, f"{name} low", f"{name} high"] if is_wide else [name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        line: list[str | int | float] = []
        for value, is_wide in zip(row, wide, strict=True):
            if isinstance(value, Interval):
                line += [round(x, 6) for x in value]
            else:
                value = escape.spreadsheet(value) if isinstance(value, str) else value
                line += ["" if value is None else value, *(("", "") if is_wide else ())]
        writer.writerow(line)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """A tabular with the rules of booktabs."""
    lines = [
        rf"% {' '.join(escape.terminal(f'{table.title}. {table.note}').split())}",
        r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}",
        r"\toprule",
        " & ".join(escape.latex(name) for name in table.columns) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        lines.append(" & ".join(escape.latex(text(value)) for value in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def text(value: Value) -> str:
    """A value as it is read."""
    if value is None:
        return ""
    if isinstance(value, Interval):
        estimate, low, high = fixed(value)
        return f"{estimate} [{low}, {high}]"
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else value


def fixed(interval: Interval) -> tuple[str, str, str]:
    """Estimate, low and high with as many decimals as the largest of them needs for three digits."""
    largest = max(map(abs, interval))
    decimals = 2 if largest < 10 else 1 if largest < 1000 else 0
    estimate, low, high = (f"{x:,.{decimals}f}" for x in interval)
    return estimate, low, high


def number(x: float) -> str:
    """Three digits, without an exponent where that is short."""
    if not math.isfinite(x):
        return "-"
    return f"{x:.3g}" if 1e-5 < abs(x) < 1000 else f"{x:,.0f}" if abs(x) >= 1000 else f"{x:g}"
