"""Tables as text: what a value looks like, HTML, CSV and LaTeX."""

import csv
import html
import io
import math
from typing import NamedTuple

from rlopt import escape
from rlopt.statistics import Interval


class Rated(NamedTuple):
    """A return, the learning rate it was reached with, and whether that was the "lowest" or "highest" of those tried.

    rate: None for what takes none. edge: None: others lay on both sides.
    """

    interval: Interval
    rate: float | None
    edge: str | None = None


Value = str | int | float | Interval | Rated | None


class Table(NamedTuple):
    """name: of its files. title, note: to be shown. rows: as many values as columns; None: there is nothing to say."""

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]


def to_csv(table: Table) -> str:
    """Comma-separated; intervals in three columns, with a rate in five."""
    columns = list(zip(*table.rows, strict=True)) if table.rows else [() for _ in table.columns]
    rated = [any(isinstance(value, Rated) for value in column) for column in columns]
    wide = [any(isinstance(value, Interval | Rated) for value in column) for column in columns]
    header: list[str] = []
    for name, is_wide, is_rated in zip(table.columns, wide, rated, strict=True):
        name = escape.spreadsheet(name)
        header += [name, f"{name} low", f"{name} high"] if is_wide else [name]
        header += [f"rate, {name}", f"edge, {name}"] if is_rated else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        line: list[str | int | float] = []
        for value, is_wide, is_rated in zip(row, wide, rated, strict=True):
            found = value.interval if isinstance(value, Rated) else value
            if isinstance(found, Interval):
                line += [_exact(x) for x in found]
            else:
                found = escape.spreadsheet(found) if isinstance(found, str) else found
                line += ["" if found is None else found, *(("", "") if is_wide else ())]
            if is_rated:
                rate, edge = (value.rate, value.edge) if isinstance(value, Rated) else (None, None)
                line += ["" if rate is None else rate, edge or ""]
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


def to_html(table: Table) -> str:
    """A table element; columns are sorted by the buttons in its head, with the page's script."""
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{html.escape(name)}</button></th>'
        for name in table.columns
    )
    rows = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"


def _cell(value: Value) -> str:
    if isinstance(value, Interval | Rated):
        interval = value.interval if isinstance(value, Rated) else value
        estimate, low, high = fixed(interval)
        rate = at(value) if isinstance(value, Rated) else ""
        shown = estimate + (f' <span class="rate">{html.escape(rate)}</span>' if rate else "")
        shown += f' <span class="range">{f"[{low}, {high}]" if interval.known else "-"}</span>'
        return f'<td data-sort="{interval.estimate!r}">{shown}</td>'
    key = "" if value is None else value if isinstance(value, str) else repr(value)
    return f'<td data-sort="{html.escape(key)}">{html.escape(text(value))}</td>'


def text(value: Value) -> str:
    """A value as it is read."""
    if value is None:
        return ""
    if isinstance(value, Rated):
        return " ".join(part for part in (text(value.interval), at(value)) if part)
    if isinstance(value, Interval):
        estimate, low, high = fixed(value)
        return f"{estimate} [{low}, {high}]" if value.known else f"{estimate} [-]"
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else value


def at(value: Rated) -> str:
    """The rate of a return, with a star at the edge of those tried."""
    return "" if value.rate is None else f"@ {value.rate:g}{'*' if value.edge else ''}"


def fixed(interval: Interval) -> tuple[str, str, str]:
    """Estimate, low and high with as many decimals as the largest of them needs for three digits; a dash for NaN."""
    largest = max((abs(x) for x in interval if math.isfinite(x)), default=0.0)
    decimals = 2 if largest < 10 else 1 if largest < 1000 else 0
    estimate, low, high = (_rounded(x, decimals) for x in interval)
    return estimate, low, high


def number(x: float) -> str:
    """Three digits, without an exponent where that is short."""
    if not math.isfinite(x):
        return "-"
    return f"{x:.3g}" if 1e-5 < abs(x) < 1000 else f"{x:,.0f}" if abs(x) >= 1000 else f"{x + 0.0:g}"


def count(amount: int, what: str) -> str:
    """An amount in words, as in "1 seed" and "2 seeds"."""
    return f"{amount:,} {what}{'' if amount == 1 else 's'}"


def _rounded(x: float, decimals: int) -> str:
    # Adding zero turns the -0.0 that a small negative number is rounded to into 0.0.
    return f"{round(x, decimals) + 0.0:,.{decimals}f}" if math.isfinite(x) else "-"


def _exact(x: float) -> float | str:
    return round(x, 6) + 0.0 if math.isfinite(x) else ""
