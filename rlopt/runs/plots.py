"""Plots of runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rlopt import escape
from rlopt.drawing import COLOURS, looks, rate_axis, save
from rlopt.runs import kept
from rlopt.runs.results import Run
from rlopt.statistics import bootstrap, counted_curves, iqm, tolerance_window, whole_curves

TRAINING, EVALUATED = "return of training episodes", "return of greedy episodes"


def learning_curves(runs: Sequence[Run], path: Path, what: str = TRAINING) -> None:
    """Return over environment steps: IQM over seeds with a bootstrap 95 % band, one line per run; what: returns."""
    figure = Figure(figsize=(7.2, 4.4 + 0.2 * len(runs)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # Several runs of an optimizer are told apart, too.
    names = [run.summary["optimizer"] + (f" ({i})" if i else "") for i, run in enumerate(runs)]
    for run, (colour, dashes) in zip(runs, _looks(names), strict=True):
        returns = _curves(run)
        # Early intervals may lack episodes in some seeds: a band over the rest would compare unlike seeds.
        full = np.all(np.isfinite(returns), axis=0)
        bands = [bootstrap(column, resamples=500) for column in returns[:, full].T]
        summary = run.summary
        rate = summary["learning_rate"]
        apart = f", {summary['apart']}" if summary.get("apart") else ""
        label = f"{summary['optimizer']} ({'no learning rate' if rate is None else f'learning rate {rate:g}'}{apart})"
        if np.any(run.stopped >= 0):
            label += f", {np.sum(run.stopped >= 0)} of {len(run.stopped)} seeds not finite"
        if left := int(np.sum(run.given_up >= 0)):
            label += f", {left} of {len(run.given_up)} seeds given up"
        steps = run.steps[full]
        axes.plot(steps, [b.estimate for b in bands], dashes, color=colour, linewidth=2, label=escape.figure(label))
        axes.fill_between(steps, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("environment steps per seed")
    axes.set_ylabel(what)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _finish(figure, axes, runs, path)


def evaluation_curves(runs: Sequence[Run], path: Path) -> None:
    """`learning_curves` of evaluations, of those runs that have some; without any nothing is written."""
    whole = [found for run in runs if (found := kept.evaluated(run)) is not None]
    if whole:
        learning_curves(whole, path, EVALUATED)


def curve_grid(runs: Sequence[Run], path: Path) -> None:
    """One panel per run: return over environment steps, every seed thin, the IQM thick."""
    columns = min(4, len(runs))
    rows = -(-len(runs) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, run in zip(panels, runs, strict=False):
        returns = _curves(run)
        axes.plot(run.steps, returns.T, color=COLOURS[0], linewidth=0.7, alpha=0.5)
        full = np.all(np.isfinite(returns), axis=0)
        axes.plot(run.steps[full], [iqm(column) for column in returns[:, full].T], color=COLOURS[0], linewidth=2)
        axes.set_title(escape.figure(run.summary["env_id"]), fontsize="medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
    for axes in panels[len(runs) :]:
        axes.set_visible(False)
    first = runs[0].summary
    between = " " if columns > 2 else "\n"  # else it is wider than the panels
    title = f"{first['agent'].upper()} with {first['optimizer']}: returns of{between}training episodes, seeds and IQM"
    figure.suptitle(escape.figure(title), fontsize="medium" if columns < 3 else "large")
    figure.supxlabel("environment steps per seed", fontsize="medium")
    save(figure, path)


def sensitivity(runs: Sequence[Run], path: Path) -> None:
    """Final return over learning rate: IQM over seeds with a bootstrap 95 % band, one line per optimizer.

    The part of a line within a tenth of its best is thick. What takes no learning rate is a dashed line. A rate at
    which a seed has no final return is a cross at the bottom: lines end before it, as does the thick part.
    """
    names = list(dict.fromkeys(run.summary["optimizer"] for run in runs))
    figure = Figure(figsize=(7.2, 4.4 + 0.2 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    tried = [run.summary["learning_rate"] for run in runs if run.summary["learning_rate"] is not None]
    for i, (name, (colour, dashes)) in enumerate(zip(names, _looks(names), strict=True)):
        mine = [run for run in runs if run.summary["optimizer"] == name]
        known = np.asarray([np.all(np.isfinite(run.final)) for run in mine])
        if not np.any(known):
            axes.plot([], [], color=colour, label=escape.figure(f"{name}: no result"))
            continue
        if mine[0].summary["learning_rate"] is None:
            band = bootstrap(mine[int(np.argmax(known))].final)
            axes.axhline(
                band.estimate,
                color=colour,
                linestyle="--",
                linewidth=1.5,
                label=escape.figure(f"{name} (takes no rate)"),
            )
            # Its interval stands at the right edge: over the whole width it would hide the others'.
            edge = axes.get_yaxis_transform()
            axes.vlines(0.985 - 0.015 * i, *band[1:], color=colour, linewidth=4, alpha=0.5, transform=edge)
            continue
        order = np.argsort([run.summary["learning_rate"] for run in mine])
        rates, known = np.asarray([mine[k].summary["learning_rate"] for k in order]), known[order]
        bands = np.asarray([bootstrap(mine[k].final) if known[j] else (np.nan,) * 3 for j, k in enumerate(order)])
        # NaN in between ends a line and its band.
        axes.plot(rates, bands[:, 0], f"o{dashes}", color=colour, linewidth=1, markersize=4)
        axes.fill_between(rates, *bands[:, 1:].T, color=colour, alpha=0.2, linewidth=0)
        best = int(np.nanargmax(bands[:, 0]))
        around = _around(best, known)
        low, high = tolerance_window(rates[around], bands[around, 0])
        label = f"{name}: within 10 % of its best from {low:.2g} to {high:.2g}"
        if left := [f"{run.summary['learning_rate']:g}" for run in mine if np.any(run.given_up >= 0)]:
            label += f"; given up early: {', '.join(left)}"
        if not np.all(known):
            label += f"; no result at {', '.join(f'{rate:g}' for rate in rates[~known])}"
            bottom = np.full(np.sum(~known), 0.02)
            axes.plot(rates[~known], bottom, "x", color=colour, transform=axes.get_xaxis_transform(), clip_on=False)
        inside = np.geomspace(low, high, 50)
        line = np.interp(np.log(inside), np.log(rates[around]), bands[around, 0])
        axes.plot(inside, line, dashes, color=colour, linewidth=3, label=escape.figure(label))
    if tried:
        rate_axis(axes, tried, most=9)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("return in the last tenth of training")
    _finish(figure, axes, runs, path)


def _curves(run: Run) -> np.ndarray:
    """Returns [S, T] with a seed's last known one where none ended, as its final return has it; NaN before its first.

    So a seed whose episodes outlast an interval takes no other seed from the band, and a curve ends where the table
    does. A seed in which no episode ever ended is at the lowest.
    """
    known = np.isfinite(counted_curves(run.steps, run.returns, run.stopped))
    silent = ~np.any(known, axis=1, keepdims=True)
    began = np.logical_or.accumulate(known, axis=1)
    return np.where(began | silent, whole_curves(run.steps, run.returns, run.stopped), np.nan)


def _around(i: int, known: np.ndarray) -> slice:
    """The stretch of known points around the i-th, one of them; known: bool [R]."""
    unknown = np.flatnonzero(~known)
    before, after = unknown[unknown < i], unknown[unknown > i]
    return slice(before[-1] + 1 if before.size else 0, after[0] if after.size else len(known))


def _finish(figure: Figure, axes: Axes, runs: Sequence[Run], path: Path) -> None:
    """Title, grid and legend of a plot that has a line with its band per run or optimizer; writes it."""
    first = runs[0].summary
    seeds = sorted({run.summary["seeds"] for run in runs})
    axes.set_title(escape.figure(f"{first['agent'].upper()} on {first['env_id']}"))
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    title = f"IQM and 95 % interval over {' / '.join(map(str, seeds))} seeds"
    figure.legend(loc="outside lower center", frameon=False, fontsize="small", title=title)
    save(figure, path)


def _looks(names: Sequence[str]) -> list[tuple[str, str]]:
    """Colour and line style of each optimizer."""
    return [(colour, ("-", ":", "-.")[dash % 3]) for colour, dash in looks(names).values()]
