"""The figures of a report, one function each."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from rlopt import drawing, statistics
from rlopt.report import rates, scores
from rlopt.report.cells import Cell, Evidence
from rlopt.report.equal_time import Timing
from rlopt.report.figures import Band, Picture, bars, fill_bands, grid, look, one_panel
from rlopt.report.formats import text
from rlopt.report.scores import GRID, Row, Scores
from rlopt.statistics import Interval


def all_of(
    evidence: Evidence, found: dict[str, dict[str, Scores]], boards: dict[str, list[Row]], timing: Timing | None
) -> list[Picture]:
    """Every figure that the evidence is enough for; found, boards: scores and leaderboards per setting, if any."""
    pictures = []
    if boards:
        pictures.append(_intervals(evidence, boards))
        if any(row.better for rows in boards.values() for row in rows):
            pictures.append(_improvement(evidence, boards))
    bands = _curve_bands(evidence)
    if any(bands.values()):
        pictures.append(_curves(evidence, bands))
        if timing is not None:
            pictures.append(_curves_in_time(evidence, bands, timing))
    evaluated = _evaluation_bands(evidence)
    if any(evaluated.values()):
        pictures.append(_evaluations(evidence, evaluated))
    if found.get("tuned"):
        pictures += [_efficiency(evidence, found["tuned"]), _profiles(evidence, found["tuned"])]
    if any(rates.swept(evidence, e, o) for e in evidence.environments for o in evidence.optimizers):
        pictures.append(_sensitivity(evidence))
    return pictures


def _unit(evidence: Evidence) -> str:
    return f"normalised score (random 0, {evidence.one} 1)" if scores.normalised(evidence) else "return"


def _tuned(evidence: Evidence) -> str:
    return " (tuned)" if evidence.tunes else ""


def _listed(values: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values)


def _rows_in_words(boards: Mapping[str, list[Row]], name: str) -> str:
    several = len(boards) > 1
    return ". ".join(
        (f"{setting}: " if several else "")
        + _listed((row.optimizer, text(getattr(row, name))) for row in rows if getattr(row, name))
        for setting, rows in boards.items()
    )


def _intervals(evidence: Evidence, boards: dict[str, list[Row]]) -> Picture:
    found = {setting: {row.optimizer: row.iqm for row in rows} for setting, rows in boards.items()}
    line = 1.0 if scores.normalised(evidence) else None
    draw, height = bars(evidence, found, line, f"IQM of final returns, {_unit(evidence)}")
    caption = "Interquartile mean over seeds and environments, with 95 % bootstrap intervals over the reported seeds."
    alt = f"Interquartile mean of each optimizer with its interval. {_rows_in_words(boards, 'iqm')}."
    return Picture("scores", "Scores", caption, (8.0, height), draw, alt)


def _improvement(evidence: Evidence, boards: dict[str, list[Row]]) -> Picture:
    baseline = evidence.baseline
    found = {setting: {row.optimizer: row.better for row in rows if row.better} for setting, rows in boards.items()}
    xlabel = f"probability that a run beats one of {baseline}'s on the same environment"
    draw, height = bars(evidence, found, 0.5, xlabel, limits=(-0.02, 1.02))
    caption = (
        f"To the right of a half, more runs are better than {baseline}'s than worse. 95 % bootstrap intervals, each "
        "for itself; the verdicts are corrected for how many optimizers are compared."
    )
    alt = f"Probability of being better than {baseline}. {_rows_in_words(boards, 'better')}."
    return Picture("improvement", f"Better than {baseline}", caption, (8.0, height), draw, alt)


def _shown(evidence: Evidence) -> Iterator[tuple[str, str, Cell]]:
    """Environment, optimizer and cell of each curve."""
    for environment in evidence.environments:
        for optimizer in evidence.optimizers:
            cell = evidence.chosen(environment, optimizer, "tuned")
            if cell is not None and cell.has_returns:
                yield environment, optimizer, cell


def _curve_bands(evidence: Evidence) -> dict[str, dict[str, Band]]:
    found: dict[str, dict[str, Band]] = {environment: {} for environment in evidence.environments}
    for environment, optimizer, cell in _shown(evidence):
        found[environment][optimizer] = _band(cell, scores.last_step(evidence, environment))
    return found


def _evaluation_bands(evidence: Evidence) -> dict[str, dict[str, Band]]:
    """Of the cells that were evaluated while they trained."""
    found: dict[str, dict[str, Band]] = {environment: {} for environment in evidence.environments}
    for environment, optimizer, cell in _shown(evidence):
        mine = cell.evaluations
        if mine is not None and np.any(np.isfinite(mine.returns)):
            evaluated = cell._replace(steps=mine.steps, returns=mine.returns)
            found[environment][optimizer] = _band(evaluated, scores.last_step(evidence, environment))
    return found


def _band(cell: Cell, end: int) -> Band:
    steps, returns = scores.curve(cell, end)
    return (steps, *np.asarray([statistics.bootstrap(column, resamples=300) for column in returns.T]).T)


_CURVES = (
    "IQM over seeds with 95 % bootstrap bands. Seeds that broke, or in which no episode ended, count as the lowest "
    "return of their run. Thick lines are learned rules, dashed ones hand-designed."
)


def _ends(bands: dict[str, dict[str, Band]]) -> str:
    return ". ".join(
        f"{environment}: " + _listed((name, f"ends at {text(float(band[1][-1]))}") for name, band in mine.items())
        for environment, mine in bands.items()
        if mine
    )


def _curves(evidence: Evidence, bands: dict[str, dict[str, Band]]) -> Picture:
    def fill(axes: Axes, environment: str, ink: str) -> None:
        fill_bands(axes, evidence, bands[environment], ink)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))

    title = "Learning curves" + _tuned(evidence)
    caption = f"Return of training episodes over environment steps: {_CURVES}"
    shown = {environment: set(mine) for environment, mine in bands.items()}
    alt = f"Return over environment steps, a panel per environment. {_ends(bands)}."
    return grid(evidence, "curves", title, caption, "environment steps per seed", "return", fill, shown, alt)


def _evaluations(evidence: Evidence, bands: dict[str, dict[str, Band]]) -> Picture:
    def fill(axes: Axes, environment: str, ink: str) -> None:
        fill_bands(axes, evidence, bands[environment], ink)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))

    cells = list(_shown(evidence))
    episodes = sorted({cell.config.monitor.eval_episodes for e, o, cell in cells if o in bands[e]})
    caption = (
        "Return of full greedy episodes, apart from those that were learned from "
        f"({' or '.join(map(str, episodes))} per seed and evaluation), over environment steps: {_CURVES} Scores and "
        "verdicts are of the training episodes."
    )
    if without := [f"{o} on {e}" for e, o, _ in cells if o not in bands[e]]:
        caption += f" Without evaluations at common steps, and not here: {', '.join(without)}."
    title = "Evaluations during training" + _tuned(evidence)
    shown = {environment: set(mine) for environment, mine in bands.items()}
    alt = f"Return of greedy episodes over environment steps, a panel per environment. {_ends(bands)}."
    ylabel = "return of greedy episodes"
    return grid(evidence, "evaluations", title, caption, "environment steps per seed", ylabel, fill, shown, alt)


def _curves_in_time(evidence: Evidence, bands: dict[str, dict[str, Band]], timing: Timing) -> Picture:
    found = {
        environment: {
            name: (band[0] / band[0][-1] * timing.seconds[environment, name], *band[1:]) for name, band in mine.items()
        }
        for environment, mine in bands.items()
    }

    def fill(axes: Axes, environment: str, ink: str) -> None:
        fill_bands(axes, evidence, found[environment], ink)
        axes.axvline(timing.limit[environment], color=ink, linewidth=0.8, linestyle=":")

    title = f"Learning curves over {timing.kind}" + _tuned(evidence)
    caption = (
        f"The same curves over the {timing.kind} that a seed took. Dotted: where the quickest has finished, at which "
        "all are compared for scores at equal time; learning rates that fall over the training have not come to "
        "their end there for the slower ones. "
        + ("Other work on the machine may have lengthened the times." if timing.kind != "processor time" else "")
    ).strip()
    shown = {environment: set(mine) for environment, mine in found.items()}
    took = ". ".join(
        f"{environment}: " + _listed((name, f"{text(timing.seconds[environment, name])} s") for name in mine)
        for environment, mine in found.items()
        if mine
    )
    alt = f"Return over {timing.kind} per seed, a panel per environment. {took}."
    xlabel = f"{timing.kind} per seed, s"
    return grid(evidence, "curves_time", title, caption, xlabel, "return", fill, shown, alt)


def _sensitivity(evidence: Evidence) -> Picture:
    shown = {e: {o for o in evidence.optimizers if rates.swept(evidence, e, o)} for e in evidence.environments}

    def fill(axes: Axes, environment: str, ink: str) -> None:
        tried: list[float] = []
        for optimizer in (name for name in evidence.optimizers if name in shown[environment]):
            swept = rates.swept(evidence, environment, optimizer)
            style = look(evidence, optimizer, ink)
            mine = [rate for rate, _ in swept]
            tried += mine
            axes.plot(mine, [np.mean(cell.final) for _, cell in swept], marker="o", markersize=3, **style)
            for rate, cell in swept:
                axes.plot([rate] * len(cell.final), cell.final, ".", color=style["color"], markersize=3, alpha=0.5)
        drawing.rate_axis(axes, tried)

    counts = sorted({len(cell.seeds) for cell in evidence.tuning})
    stage = "the tuning seeds" if evidence.plan is not None else "seeds"
    caption = (
        f"Final return over the learning rate: mean over {stage} ({' or '.join(map(str, counts))}), dots are seeds. "
        "Seeds that broke count as the lowest return of their run."
    )
    best = _listed(
        (f"{o} on {e}", f"best at {max(swept, key=lambda pair: float(np.mean(pair[1].final)))[0]:g}")
        for e, mine in shown.items()
        for o in evidence.optimizers
        if o in mine and (swept := rates.swept(evidence, e, o))
    )
    title = "Learning-rate sensitivity"
    alt = f"Final return over the learning rate, a panel per environment. {best}."
    return grid(evidence, "sensitivity", title, caption, "learning rate", "final return", fill, shown, alt)


def _efficiency(evidence: Evidence, found: dict[str, Scores]) -> Picture:
    intervals: dict[str, list[Interval]] = {name: scores.efficiency(mine) for name, mine in found.items()}
    bands = {name: (100 * GRID, *np.asarray(mine).T) for name, mine in intervals.items()}
    caption = "Interquartile mean over all runs during training, with 95 % bootstrap bands."
    half = len(GRID) // 2 - 1
    alt = f"{caption} After half of the training: {_listed((n, text(x[half].estimate)) for n, x in intervals.items())}."
    title, ylabel = "Sample efficiency" + _tuned(evidence), f"IQM, {_unit(evidence)}"
    return one_panel(evidence, "efficiency", title, caption, "share of training, %", ylabel, bands, alt)


def _profiles(evidence: Evidence, found: dict[str, Scores]) -> Picture:
    values = np.concatenate([mine.final.ravel() for mine in found.values()])
    thresholds = np.linspace(min(0.0, float(values.min())), float(values.max()), 60)
    bands: dict[str, Band] = {name: (thresholds, *scores.profile(mine, thresholds)) for name, mine in found.items()}
    caption = "Performance profiles: the higher, the more runs reach a score. 95 % bootstrap bands."
    xlabel, ylabel = f"threshold, {_unit(evidence)}", "share of runs above it"
    middle = float(thresholds[len(thresholds) // 2])
    shares = _listed((name, f"{band[1][len(thresholds) // 2]:.0%}") for name, band in bands.items())
    alt = f"Share of runs above each score. Above {text(middle)}: {shares}."
    title = "Performance profiles" + _tuned(evidence)
    return one_panel(evidence, "profiles", title, caption, xlabel, ylabel, bands, alt)
