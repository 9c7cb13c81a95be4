"""The picture of a search: return against each setting, and the best that some trials give."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlopt import escape
from rlopt.drawing import looks, rate_axis, save
from rlopt.optimizers.catalog import SHARE
from rlopt.runs import searched
from rlopt.runs.searched import Tried
from rlopt.training.trials import RATE

COLUMNS = 3
# Parts of a setting's range, of each of which the best trial is on the line; a grid has a value for each.
BINS = 8
# Largest over smallest value, from where an axis is logarithmic.
SPREAD = 15.0
# Tried values that are ticks, each.
TICKS = 4


def draw(found: Sequence[Tried], path: Path, guided: bool = False) -> None:
    """One panel per setting: every trial, a line through the best of each value, a star at the best of all.

    Of random trials a line goes through the best of each eighth of the range. A trial without a result is a cross at
    the bottom. The last panel has the return of the best of n trials, in expectation (`searched.expected_best`).

    guided: each trial was chosen by what came of those before it; the last panel then has the best of the first n.
    """
    names = searched.varying(found)
    groups = searched.by_optimizer(found)
    columns = 2 if len(names) == 3 else min(COLUMNS, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.1 * rows + 0.6 + 0.2 * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = {name: colour for name, (colour, _) in looks(groups).items()}
    for axes, name in zip(panels, names, strict=False):
        _setting(axes, name, groups, colours)
    last = panels[len(names)]
    for optimizer, mine in groups.items():
        scores = _scores(mine)
        best = searched.best_so_far(scores) if guided else searched.expected_best(scores)
        label = f"{optimizer}: {searched.counted(mine)}{searched.spent(searched.cpu_seconds(mine))}"
        last.plot(np.arange(1, len(best) + 1), best, color=colours[optimizer], label=escape.figure(label))
    last.set_xlabel("trials so far, the best of which counts" if guided else "trials, the best of which counts")
    last.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels[: len(names) + 1]:
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes in panels[len(names) + 1 :]:
        axes.remove()
    config = found[0].config
    figure.suptitle(escape.figure(f"{config.agent.upper()} on {config.env}, {config.seeds} seeds per trial"))
    figure.supylabel("IQM of the return in the last tenth of training", fontsize="medium")
    figure.legend(loc="outside lower center", frameon=False, fontsize="small")
    save(figure, path)


def _setting(axes: Axes, name: str, groups: dict[str, list[Tried]], colours: dict[str, str]) -> None:
    pairs = {
        optimizer: (np.asarray([one.values[name] for one in mine if name in one.values]), _scores(mine, name))
        for optimizer, mine in groups.items()
    }
    pairs = {optimizer: pair for optimizer, pair in pairs.items() if len(set(pair[0].tolist())) > 1}
    every = np.concatenate([values for values, _ in pairs.values()])
    near_one = every.min() > 0.5 and every.max() < 1 and 1 - every.min() >= 5 * (1 - every.max())
    if near_one:  # a decay: what counts is how far it is from 1
        pairs = {optimizer: (1 - values, scores) for optimizer, (values, scores) in pairs.items()}
        axes.invert_xaxis()
    wide = every.min() > 0 and every.max() >= SPREAD * every.min()
    logarithmic = near_one or wide or name in (RATE, SHARE)
    if logarithmic:
        rate_axis(axes, (1 - every if near_one else every).tolist(), most=4)
    elif len(set(every.tolist())) <= TICKS:
        axes.set_xticks(sorted(set(every.tolist())))
    for optimizer, (values, scores) in pairs.items():
        known, colour = np.isfinite(scores), colours[optimizer]
        axes.plot(values[known], scores[known], "o", color=colour, markersize=3, alpha=0.4, markeredgewidth=0)
        if not np.all(known):
            bottom = np.full(np.sum(~known), 0.02)
            axes.plot(values[~known], bottom, "x", color=colour, transform=axes.get_xaxis_transform(), clip_on=False)
        if np.any(known):
            line = best_line(values[known], scores[known], logarithmic)
            axes.plot(*line, color=colour, linewidth=1.5)
            best = searched.ranked([one for one in groups[optimizer] if name in one.values])[0]
            value = 1 - best.values[name] if near_one else best.values[name]
            axes.plot(value, best.score, "*", color=colour, markersize=11, markeredgecolor="white")
    axes.set_xlabel(escape.figure(f"1 - {name}" if near_one else name))


def best_line(values: np.ndarray, scores: np.ndarray, logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    """The best trial of each value, or where there are many, of each of BINS parts of the range: values and scores."""
    places = np.log(values) if logarithmic else values
    if len(set(values.tolist())) <= BINS:
        _, parts = np.unique(values, return_inverse=True)
    else:
        edges = np.linspace(places.min(), places.max(), BINS + 1)
        parts = np.searchsorted(edges[1:-1], places, side="right")
    best = [np.flatnonzero(parts == part)[np.argmax(scores[parts == part])] for part in np.unique(parts)]
    order = np.asarray(sorted(best, key=lambda i: values[i]))
    return values[order], scores[order]


def _scores(mine: Sequence[Tried], name: str | None = None) -> np.ndarray:
    return np.asarray([one.score for one in mine if name is None or name in one.values])
