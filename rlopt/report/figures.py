"""Figures of a report. Each is drawn for light and for dark pages."""

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rlopt import escape, statistics
from rlopt.benchmark.plan import YARDSTICK
from rlopt.optimizers import catalog
from rlopt.report import scores
from rlopt.report.evidence import Cell, Evidence
from rlopt.report.scores import GRID, Row, Scores
from rlopt.statistics import Interval

# Adam is black, or white on dark pages; these are told apart on both, and by most colour-blind readers.
COLOURS = ("#0083C7", "#E0632A", "#00A37A", "#C667A0", "#DF9A00", "#7A5FC4", "#3FB3D8", "#A5772B", "#C8384B", "#7F8C3A")
_LOOKS = {"light": ("#1b1f24", "#d7dbe0"), "dark": ("#e4e7ea", "#3a4149")}


# Abscissa, estimate, low, high. Computed once: every picture is drawn four times.
Band = tuple[np.ndarray, ...]


class Picture(NamedTuple):
    """name: of its files. title, caption: to be shown. draw: fills a figure; size: in inches."""

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Figure, str], None]


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


def all_of(evidence: Evidence, found: dict[str, dict[str, Scores]], boards: dict[str, list[Row]]) -> list[Picture]:
    """Every figure that the evidence is enough for; found, boards: scores and leaderboards per setting, if any."""
    pictures = []
    if boards:
        pictures.append(_intervals(evidence, boards))
        if any(row.better for rows in boards.values() for row in rows):
            pictures.append(_improvement(evidence, boards))
    if any(evidence.chosen(e, o, "tuned") for e in evidence.environments for o in evidence.optimizers):
        pictures.append(_curves(evidence))
    if found.get("tuned"):
        pictures += [_efficiency(evidence, found["tuned"]), _profiles(evidence, found["tuned"])]
    if any(_swept(evidence, e, o) for e in evidence.environments for o in evidence.optimizers):
        pictures.append(_sensitivity(evidence))
    return pictures


def _look(evidence: Evidence, optimizer: str, ink: str) -> dict[str, Any]:
    """Adam in the colour of text; learned rules thick, others thin and dashed."""
    others = [name for name in evidence.optimizers if name != YARDSTICK]
    if optimizer == YARDSTICK:
        return {"color": ink, "linewidth": 2.0, "linestyle": "-"}
    index = others.index(optimizer)
    info = catalog.find(optimizer.split(" ")[0])
    learned = info is not None and info.learned
    # Beyond the list of colours, they begin again with another dash.
    dashes = ("-", (0, (1, 1))) if learned else ((0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)))
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linewidth": 2.0 if learned else 1.3,
        "linestyle": dashes[index // len(COLOURS) % 2],
    }


def _unit(evidence: Evidence) -> str:
    return "normalised score (random 0, tuned Adam 1)" if scores.normalised(evidence) else "return"


def _intervals(evidence: Evidence, boards: dict[str, list[Row]]) -> Picture:
    bars = {setting: {row.optimizer: row.iqm for row in rows} for setting, rows in boards.items()}
    line = 1.0 if scores.normalised(evidence) else None
    draw, height = _bars(evidence, bars, line, f"IQM of final returns, {_unit(evidence)}")
    caption = "Interquartile mean over seeds and environments, with 95 % bootstrap intervals."
    return Picture("scores", "Scores", caption, (8.0, height), draw)


def _improvement(evidence: Evidence, boards: dict[str, list[Row]]) -> Picture:
    bars = {setting: {row.optimizer: row.better for row in rows if row.better} for setting, rows in boards.items()}
    xlabel = "probability that a run beats one of Adam's on the same environment"
    draw, height = _bars(evidence, bars, 0.5, xlabel, limits=(-0.02, 1.02))
    caption = "To the right of a half, more runs are better than Adam's than worse. 95 % bootstrap intervals."
    return Picture("improvement", "Better than Adam", caption, (8.0, height), draw)


def _bars(
    evidence: Evidence,
    bars: dict[str, dict[str, Interval]],
    line: float | None,
    xlabel: str,
    limits: tuple[float, float] | None = None,
) -> tuple[Callable[[Figure, str], None], float]:
    """One panel per setting, an interval per optimizer, the first at the top; and the height that takes, in inches."""
    names = list(dict.fromkeys(name for by_optimizer in bars.values() for name in by_optimizer))[::-1]

    def draw(figure: Figure, ink: str) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(bars), sharey=True, sharex=True))
        for axes, (setting, by_optimizer) in zip(panels, bars.items(), strict=True):
            for name, interval in by_optimizer.items():
                colour, y = _look(evidence, name, ink)["color"], names.index(name)
                axes.plot(interval[1:], [y, y], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt")
                axes.plot([interval.estimate], [y], "o", color=colour, markersize=5)
            if line is not None:
                axes.axvline(line, color=ink, linewidth=0.8, linestyle=":")
            if limits is not None:
                axes.set_xlim(*limits)
            axes.set_title(_setting_title(setting) if len(bars) > 1 else "", fontsize="medium")
            axes.grid(axis="x", alpha=0.5)
        panels[0].set_yticks(range(len(names)), list(map(escape.figure, names)))
        panels[0].set_ylim(-0.6, len(names) - 0.4)
        figure.supxlabel(xlabel, fontsize="medium")

    return draw, 1.2 + 0.32 * len(names)


def _curves(evidence: Evidence) -> Picture:
    bands: dict[str, dict[str, Band]] = {environment: {} for environment in evidence.environments}
    for environment in evidence.environments:
        for optimizer in evidence.optimizers:
            cell = evidence.chosen(environment, optimizer, "tuned")
            if cell is None:
                continue
            steps, returns = scores.curve(cell, scores.last_step(evidence, environment))
            returns = returns[np.all(np.isfinite(returns), axis=1)]
            if len(returns):
                intervals = [statistics.bootstrap(column, resamples=300) for column in returns.T]
                bands[environment][optimizer] = (steps, *np.asarray(intervals).T)

    def fill(axes: Axes, environment: str, ink: str) -> None:
        _fill(axes, evidence, bands[environment], ink)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))

    title = "Learning curves" + (" (tuned)" if evidence.plan is not None else "")
    caption = (
        "Return of training episodes over environment steps: IQM over seeds with 95 % bootstrap bands. Seeds that "
        "broke count as the lowest return of their run. Thick lines are learned rules, dashed ones hand-designed."
    )
    return _grid(
        evidence, "curves", title, caption, "environment steps per seed", "return", fill, set(evidence.optimizers)
    )


def _sensitivity(evidence: Evidence) -> Picture:
    def fill(axes: Axes, environment: str, ink: str) -> None:
        for optimizer in evidence.optimizers:
            cells = _swept(evidence, environment, optimizer)
            look = _look(evidence, optimizer, ink)
            if not cells:
                continue
            rates = [cell.rate or 0.0 for cell in cells]
            axes.plot(rates, [np.mean(cell.final) for cell in cells], marker="o", markersize=3, **look)
            for rate, cell in zip(rates, cells, strict=True):
                axes.plot([rate] * len(cell.final), cell.final, ".", color=look["color"], markersize=3, alpha=0.5)
        axes.set_xscale("log")

    counts = sorted({len(cell.seeds) for cell in evidence.tuning})
    stage = "the tuning seeds" if evidence.plan is not None else "seeds"
    caption = (
        f"Final return over the learning rate: mean over {stage} ({' or '.join(map(str, counts))}), dots are seeds. "
        "Seeds that broke count as the lowest return of their run."
    )
    shown = {o for o in evidence.optimizers if any(_swept(evidence, e, o) for e in evidence.environments)}
    title = "Learning-rate sensitivity"
    return _grid(evidence, "sensitivity", title, caption, "learning rate", "final return", fill, shown)


def _efficiency(evidence: Evidence, found: dict[str, Scores]) -> Picture:
    bands = {name: (100 * GRID, *np.asarray(scores.efficiency(mine)).T) for name, mine in found.items()}
    caption = "Interquartile mean over all runs during training, with 95 % bootstrap bands."
    ylabel = f"IQM, {_unit(evidence)}"
    return _bands(evidence, "efficiency", "Sample efficiency", caption, "share of training, %", ylabel, bands)


def _profiles(evidence: Evidence, found: dict[str, Scores]) -> Picture:
    values = np.concatenate([mine.final.ravel() for mine in found.values()])
    thresholds = np.linspace(min(0.0, float(values.min())), float(values.max()), 60)
    bands: dict[str, Band] = {name: (thresholds, *scores.profile(mine, thresholds)) for name, mine in found.items()}
    caption = "Performance profiles: the higher, the more runs reach a score. 95 % bootstrap bands."
    xlabel, ylabel = f"threshold, {_unit(evidence)}", "share of runs above it"
    return _bands(evidence, "profiles", "Performance profiles", caption, xlabel, ylabel, bands)


def _bands(
    evidence: Evidence, name: str, title: str, caption: str, xlabel: str, ylabel: str, bands: dict[str, Band]
) -> Picture:
    """One panel, a line with its band per optimizer."""

    def draw(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        _fill(axes, evidence, bands, ink)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.5)
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")

    return Picture(name, title + (" (tuned)" if evidence.plan is not None else ""), caption, (8.0, 4.2), draw)


def _fill(axes: Axes, evidence: Evidence, bands: dict[str, Band], ink: str) -> None:
    for name, (x, estimate, low, high) in bands.items():
        look = _look(evidence, name, ink)
        axes.plot(x, estimate, label=escape.figure(name), **look)
        axes.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)


def _grid(
    evidence: Evidence,
    name: str,
    title: str,
    caption: str,
    xlabel: str,
    ylabel: str,
    fill: Callable[[Axes, str, str], None],
    shown: set[str],
) -> Picture:
    """One panel per environment, one legend for all optimizers that are shown."""
    environments = evidence.environments
    columns = 1 if len(environments) == 1 else 2
    rows = -(-len(environments) // columns)

    def draw(figure: Figure, ink: str) -> None:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, environment in zip(panels, environments, strict=False):
            fill(axes, environment, ink)
            axes.set_title(escape.figure(environment), fontsize="medium")
            axes.grid(alpha=0.5)
        for axes in panels[len(environments) :]:
            axes.set_visible(False)
        handles = [
            panels[0].plot([], [], label=escape.figure(o), **_look(evidence, o, ink))[0]
            for o in evidence.optimizers
            if o in shown
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize="small")
        for i, axes in enumerate(panels[: len(environments)]):
            axes.set_ylabel(ylabel if i % columns == 0 else "")
            axes.set_xlabel(xlabel if i + columns >= len(environments) else "")

    return Picture(name, title, caption, (8.0, 0.9 + 2.7 * rows + 0.2 * (len(evidence.optimizers) // 5)), draw)


def _swept(evidence: Evidence, environment: str, optimizer: str) -> list[Cell]:
    """Cells of several learning rates, lowest first."""
    cells = [c for c in evidence.tuning if (c.environment, c.optimizer) == (environment, optimizer)]
    cells = [cell for cell in cells if cell.rate is not None]
    return sorted(cells, key=lambda cell: cell.rate or 0.0) if len(cells) > 1 else []


def _setting_title(setting: str) -> str:
    return {"tuned": "tuned: a rate per environment", "shared": "shared: one rate for all"}[setting]


def files(pictures: Sequence[Picture]) -> dict[str, bytes]:
    """PNG and SVG of every picture, on white."""
    return {
        f"{picture.name}.{kind}": render(picture, kind, opaque=True) for picture in pictures for kind in ("png", "svg")
    }
