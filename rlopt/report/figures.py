"""What the figures of a report share: rendering for light and for dark pages, panels, bands, bars."""

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlopt import drawing, escape
from rlopt.optimizers import catalog
from rlopt.report.cells import Evidence
from rlopt.statistics import Interval

_LOOKS = {"light": ("#1b1f24", "#d7dbe0"), "dark": ("#e4e7ea", "#3a4149")}
# Abscissa, estimate, low, high. Computed once: every picture is drawn four times.
Band = tuple[np.ndarray, ...]


class Picture(NamedTuple):
    """name: of its files. title, caption: to be shown. draw: fills a figure; size: in inches. alt: what it shows."""

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Figure, str], None]
    alt: str


def render(picture: Picture, kind: str, dark: bool = False, opaque: bool = False) -> bytes:
    """The picture as "png" or "svg"; transparent unless opaque."""
    ink, faint = _LOOKS["dark" if dark else "light"]
    looks: dict[str, Any] = {
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": faint,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9.0,
        # Names may hold a dollar.
        "text.parse_math": False,
        # Figures of the same runs are the same files.
        "svg.hashsalt": "rlopt",
    }
    with mpl.rc_context(looks):  # type: ignore[arg-type]
        figure = Figure(figsize=picture.size, layout="constrained")
        FigureCanvasAgg(figure)
        picture.draw(figure, ink)
        buffer = io.BytesIO()
        dated = {"Date": None} if kind == "svg" else None
        paper = "white" if opaque else "none"
        figure.savefig(buffer, format=kind, dpi=150, facecolor=paper, metadata=dated)
    return buffer.getvalue()


def files(pictures: Sequence[Picture]) -> dict[str, bytes]:
    """PNG and SVG of every picture, on white."""
    return {
        f"{picture.name}.{kind}": render(picture, kind, opaque=True) for picture in pictures for kind in ("png", "svg")
    }


def look(evidence: Evidence, optimizer: str, ink: str) -> dict[str, Any]:
    """Adam in the colour of text; learned rules thick, others thin and dashed; each as in every other plot."""
    first = [evidence.yardstick] if evidence.yardstick else []
    colour, dash = drawing.looks([*first, *evidence.optimizers], ink)[optimizer]
    if optimizer == evidence.yardstick:
        return {"color": colour, "linewidth": 2.0, "linestyle": "-"}
    info = catalog.find(optimizer.split(" ")[0])
    learned = info is not None and info.learned
    dashes = ("-", (0, (1, 1))) if learned else ((0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)))
    return {"color": colour, "linewidth": 2.0 if learned else 1.3, "linestyle": dashes[dash % 2]}


def bars(
    evidence: Evidence,
    found: dict[str, dict[str, Interval]],
    line: float | None,
    xlabel: str,
    limits: tuple[float, float] | None = None,
) -> tuple[Callable[[Figure, str], None], float]:
    """One panel per setting, an interval per optimizer, the first at the top; and the height that takes, in inches."""
    names = list(dict.fromkeys(name for by_optimizer in found.values() for name in by_optimizer))[::-1]

    def draw(figure: Figure, ink: str) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(found), sharey=True, sharex=True))
        for axes, (setting, by_optimizer) in zip(panels, found.items(), strict=True):
            for name, interval in by_optimizer.items():
                colour, y = look(evidence, name, ink)["color"], names.index(name)
                if interval.known:
                    axes.plot(interval[1:], [y, y], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt")
                axes.plot([interval.estimate], [y], "o", color=colour, markersize=5)
            if line is not None:
                axes.axvline(line, color=ink, linewidth=0.8, linestyle=":")
            if limits is not None:
                axes.set_xlim(*limits)
            axes.set_title(_setting_title(setting) if len(found) > 1 else "", fontsize="medium")
            axes.grid(axis="x", alpha=0.5)
        panels[0].set_yticks(range(len(names)), list(map(escape.terminal, names)))
        panels[0].set_ylim(-0.6, len(names) - 0.4)
        figure.supxlabel(xlabel, fontsize="medium")

    return draw, 1.2 + 0.32 * len(names)


def one_panel(
    evidence: Evidence, name: str, title: str, caption: str, xlabel: str, ylabel: str, bands: dict[str, Band], alt: str
) -> Picture:
    """One panel, a line with its band per optimizer."""

    def draw(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        fill_bands(axes, evidence, bands, ink)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.5)
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")

    return Picture(name, title, caption, (8.0, 4.2), draw, alt)


def fill_bands(axes: Axes, evidence: Evidence, bands: dict[str, Band], ink: str) -> None:
    """A line with its band per optimizer."""
    for name, (x, estimate, low, high) in bands.items():
        style = look(evidence, name, ink)
        axes.plot(x, estimate, label=escape.terminal(name), **style)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def grid(
    evidence: Evidence,
    name: str,
    title: str,
    caption: str,
    xlabel: str,
    ylabel: str,
    fill: Callable[[Axes, str, str], None],
    shown: dict[str, set[str]],
    alt: str,
) -> Picture:
    """One panel per environment with anything to show, one legend; shown: optimizers per environment."""
    environments = [name for name in evidence.environments if shown.get(name)]
    legend = [name for name in evidence.optimizers if any(name in mine for mine in shown.values())]
    columns = 1 if len(environments) == 1 else 2
    rows = -(-len(environments) // columns)

    def draw(figure: Figure, ink: str) -> None:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, environment in zip(panels, environments, strict=False):
            fill(axes, environment, ink)
            axes.set_title(escape.terminal(environment), fontsize="medium")
            axes.grid(alpha=0.5)
        for axes in panels[len(environments) :]:
            axes.set_visible(False)
        handles = [
            panels[0].plot([], [], label=escape.terminal(name), **look(evidence, name, ink))[0] for name in legend
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize="small")
        for i, axes in enumerate(panels[: len(environments)]):
            axes.set_ylabel(ylabel if i % columns == 0 else "")
            axes.set_xlabel(xlabel if i + columns >= len(environments) else "")

    return Picture(name, title, caption, (8.0, 0.9 + 2.7 * rows + 0.2 * (len(legend) // 5)), draw, alt)


def _setting_title(setting: str) -> str:
    return {"tuned": "tuned: a rate per environment", "shared": "shared: one rate for all"}[setting]
