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

from rlopt import catalog, statistics
from rlopt.plan import YARDSTICK
from rlopt.report import scores
from rlopt.report.evidence import Cell, Evidence
from rlopt.report.scores import GRID, Row, Scores

# Adam is black, or white on dark pages; these are told apart on both, and by most colour-blind readers.
COLOURS = ("#0083C7", "#E0632A", "#00A37A", "#C667A0", "#DF9A00", "#7A5FC4", "#3FB3D8", "#A5772B", "#C8384B", "#7F8C3A")
_LOOKS = {"light": ("#1b1f24", "#d7dbe0"), "dark": ("#e4e7ea", "#3a4149")}


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


def all_of(evidence: Evidence) -> list[Picture]:
    """Every figure that the evidence is enough for."""
    settings = scores.settings(evidence)
    found = {setting: scores.matrices(evidence, setting) for setting in settings}
    boards = {setting: scores.leaderboard(found[setting]) for setting in settings if found[setting]}
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
    ranked = [row.optimizer for rows in boards.values() for row in rows]
    names = list(dict.fromkeys(ranked))[::-1]

    def draw(figure: Figure, ink: str) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(boards), sharey=True, sharex=True))
        for axes, (setting, rows) in zip(panels, boards.items(), strict=True):
            for row in rows:
                look = _look(evidence, row.optimizer, ink)
                y = names.index(row.optimizer)
                axes.plot(row.iqm[1:], [y, y], color=look["color"], linewidth=7, alpha=0.35, solid_capstyle="butt")
                axes.plot([row.iqm.estimate], [y], "o", color=look["color"], markersize=5)
            if scores.normalised(evidence):
                axes.axvline(1.0, color=ink, linewidth=0.8, linestyle=":")
            axes.set_title(_setting_title(setting) if len(boards) > 1 else "", fontsize="medium")
            axes.grid(axis="x", alpha=0.5)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(-0.6, len(names) - 0.4)
        figure.supxlabel(f"IQM of final returns, {_unit(evidence)}", fontsize="medium")

    caption = "Interquartile mean over seeds and environments, with 95 % bootstrap intervals."
    return Picture("scores", "Scores", caption, (8.0, 1.2 + 0.32 * len(names)), draw)


def _improvement(evidence: Evidence, boards: dict[str, list[Row]]) -> Picture:
    names = [row.optimizer for row in next(iter(boards.values())) if row.better][::-1]

    def draw(figure: Figure, ink: str) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(boards), sharey=True, sharex=True))
        for axes, (setting, rows) in zip(panels, boards.items(), strict=True):
            for row in rows:
                if row.better is not None and row.optimizer in names:
                    colour, y = _look(evidence, row.optimizer, ink)["color"], names.index(row.optimizer)
                    axes.plot(row.better[1:], [y, y], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt")
                    axes.plot([row.better.estimate], [y], "o", color=colour, markersize=5)
            axes.axvline(0.5, color=ink, linewidth=0.8, linestyle=":")
            axes.set_xlim(-0.02, 1.02)
            axes.set_title(_setting_title(setting) if len(boards) > 1 else "", fontsize="medium")
            axes.grid(axis="x", alpha=0.5)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(-0.6, len(names) - 0.4)
        figure.supxlabel("probability that a run beats one of Adam's on the same environment", fontsize="medium")

    caption = "To the right of a half, more runs are better than Adam's than worse. 95 % bootstrap intervals."
    return Picture("improvement", "Better than Adam", caption, (8.0, 1.2 + 0.32 * len(names)), draw)


def _curves(evidence: Evidence) -> Picture:
    def fill(axes: Axes, environment: str, ink: str) -> None:
        for optimizer in evidence.optimizers:
            cell = evidence.chosen(environment, optimizer, "tuned")
            if cell is None:
                continue
            look = _look(evidence, optimizer, ink)
            steps, returns = scores.curve(cell, scores.last_step(evidence, environment))
            returns = returns[np.all(np.isfinite(returns), axis=1)]
            if len(returns):
                bands = np.asarray([statistics.bootstrap(column, resamples=300) for column in returns.T]).T
                axes.plot(steps, bands[0], **look)
                axes.fill_between(steps, bands[1], bands[2], color=look["color"], alpha=0.12, linewidth=0)
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
    def draw(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        for optimizer, mine in found.items():
            look = _look(evidence, optimizer, ink)
            estimate, low, high = np.asarray(scores.efficiency(mine)).T
            axes.plot(100 * GRID, estimate, label=optimizer, **look)
            axes.fill_between(100 * GRID, low, high, color=look["color"], alpha=0.12, linewidth=0)
        axes.set_xlabel("share of training, %")
        axes.set_ylabel(f"IQM, {_unit(evidence)}")
        axes.grid(alpha=0.5)
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")

    caption = "Interquartile mean over all runs during training, with 95 % bootstrap bands."
    return Picture(
        "efficiency", "Sample efficiency" + (" (tuned)" if evidence.plan is not None else ""), caption, (8.0, 4.2), draw
    )


def _profiles(evidence: Evidence, found: dict[str, Scores]) -> Picture:
    values = np.concatenate([mine.final.ravel() for mine in found.values()])
    thresholds = np.linspace(min(0.0, float(values.min())), float(values.max()), 60)

    def draw(figure: Figure, ink: str) -> None:
        axes = figure.subplots()
        for optimizer, mine in found.items():
            look = _look(evidence, optimizer, ink)
            estimate, low, high = scores.profile(mine, thresholds)
            axes.plot(thresholds, estimate, label=optimizer, **look)
            axes.fill_between(thresholds, low, high, color=look["color"], alpha=0.12, linewidth=0)
        axes.set_xlabel(f"threshold, {_unit(evidence)}")
        axes.set_ylabel("share of runs above it")
        axes.grid(alpha=0.5)
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")

    caption = "Performance profiles: the higher, the more runs reach a score. 95 % bootstrap bands."
    return Picture(
        "profiles",
        "Performance profiles" + (" (tuned)" if evidence.plan is not None else ""),
        caption,
        (8.0, 4.2),
        draw,
    )


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
            axes.set_title(environment, fontsize="medium")
            axes.grid(alpha=0.5)
        for axes in panels[len(environments) :]:
            axes.set_visible(False)
        handles = [
            panels[0].plot([], [], label=o, **_look(evidence, o, ink))[0] for o in evidence.optimizers if o in shown
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
