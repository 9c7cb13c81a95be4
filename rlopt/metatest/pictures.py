"""Plots of the supervised suites: losses over training, and how many runs reach a score."""

import itertools
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlopt import escape
from rlopt.drawing import COLOURS, save
from rlopt.metatest import scores
from rlopt.metatest.config import EVERY, REFERENCE
from rlopt.statistics import performance_profile

OTHER = "best other"
# Of the profiles: scores up to these.
_FINAL_SCORES = np.linspace(0, 2, 401)
_SPEED_UPS = np.linspace(0, 8, 401)


def curves(cells: scores.Cells, path: Path, test: bool = False) -> None:
    """Loss per task, smoothed that of training, or that on test data: learned rules, Adam, and the best of the others.

    The best of the others is that with the lowest final training loss. Test losses must be there.
    """
    tasks, names = scores.names_of(cells)
    columns = min(3, len(tasks))  # more are too small on a page
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.9 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    learned = names[: names.index(REFERENCE)]
    others = [name for name in names if name not in learned and name != REFERENCE]
    colours = dict(zip((*learned, REFERENCE), itertools.cycle(COLOURS), strict=False)) | {OTHER: "grey"}
    for ax, task in zip(axes, tasks, strict=False):
        shown = {name: cells[task, name] for name in (*learned, REFERENCE)}
        title = _broken(task)
        if others:
            best = min(others, key=lambda name: cells[task, name].final.mean())
            shown[OTHER] = cells[task, best]
            title += f"\n(other: {best})"
        ax.set_title(escape.figure(title), fontsize="medium" if title == task else "small")
        lines = {name: np.asarray(cell.test if test else cell.smooth) for name, cell in shown.items()}
        for name, losses in lines.items():
            steps = EVERY * np.arange(1, losses.shape[1] + 1)
            line = "--" if name == OTHER else "-"
            ax.plot(steps, losses.mean(0), line, color=colours[name], linewidth=1.5, label=escape.figure(name))
            ax.fill_between(steps, losses.min(0), losses.max(0), color=colours[name], alpha=0.2, linewidth=0)
        ax.set_yscale("log")
        ax.set_ylim(min(float(x.min()) for x in lines.values()) * 0.95, float(lines[REFERENCE][:, 0].max()) * 1.1)
        ax.set_xlabel("step")
        ax.grid(alpha=0.3)
    for ax in axes[len(tasks) :]:
        ax.set_visible(False)
    axes[0].set_ylabel("test loss" if test else "training loss")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
    save(figure, path)


def _broken(name: str, width: int = 24) -> str:
    """A long name on two lines, at an underscore."""
    places = [i for i, letter in enumerate(name) if letter == "_"]
    if len(name) <= width or not places:
        return name
    place = min(places, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:place]}\n{name[place:]}"


def profiles(cells: scores.Cells, path: Path) -> None:
    """Share of all runs whose score is above tau: final loss against Adam's, and speed-up over Adam."""
    tasks, names = scores.names_of(cells)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    panels = (
        ("final loss: Adam's over its own", scores.final_scores, _FINAL_SCORES),
        ("speed-up over Adam", scores.speed_scores, _SPEED_UPS),
    )
    for ax, (title, score, thresholds) in zip(axes, panels, strict=True):
        for name, colour in zip(names, itertools.cycle(COLOURS), strict=False):
            share = performance_profile(score(cells, tasks, name).T, thresholds)
            ax.plot(thresholds, share, color=colour, label=escape.figure(name))
        ax.axvline(1, color="grey", linewidth=0.8)
        ax.set_xlabel(f"tau ({title})")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("share of runs above tau")
    columns = min(4, len(names))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
    save(figure, path)
