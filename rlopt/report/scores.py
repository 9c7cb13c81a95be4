"""Score matrices of optimizers, seeds by environments, and what is computed from them."""

from typing import NamedTuple

import numpy as np

from rlopt import statistics
from rlopt.benchmark.protocol import Scale
from rlopt.report import agreement
from rlopt.report.cells import Cell, Evidence
from rlopt.statistics import Interval

GRID = np.linspace(0.02, 1.0, 50)


class Scores(NamedTuple):
    """An optimizer at a setting.

    seeds: [S] common to all environments. final, area: float64 [S, E], normalised final returns and areas under the
    curve. curves: [S, E, 50], normalised returns over `GRID`, shares of the training. failed: seeds that were stopped,
    over all environments. cells: [E], what they are of.
    """

    cells: list[Cell]
    seeds: tuple[int, ...]
    final: np.ndarray
    area: np.ndarray
    curves: np.ndarray
    failed: int


class Row(NamedTuple):
    """A line of the leaderboard; intervals are None where the yardstick, to compare with, is missing or unlike."""

    optimizer: str
    iqm: Interval
    median: Interval
    mean: Interval
    gap: Interval
    area: Interval
    better: Interval | None
    paired: Interval | None
    seeds: int
    failed: int


def settings(evidence: Evidence) -> tuple[str, ...]:
    """The settings there are scores of: runs of which no rates were chosen have only the one they were made with."""
    return ("tuned", "shared") if evidence.tunes else ("tuned",)


def normalised(evidence: Evidence) -> bool:
    """Whether scores are normalised: with a benchmark, or several environments; a single one is shown as it is."""
    return evidence.plan is not None or len(evidence.environments) > 1


def scales(evidence: Evidence) -> dict[str, Scale]:
    """Per environment, as far as Adam and a random policy have been run there and differ."""
    found = {}
    for environment in evidence.environments:
        if not normalised(evidence):
            found[environment] = Scale(0.0, 1.0)
            continue
        adam = evidence.chosen(environment, evidence.yardstick, "tuned") if evidence.yardstick else None
        random = evidence.random.get(environment)
        if adam is not None and adam.has_returns and random:
            scale = Scale(float(np.mean(random)), float(np.mean(adam.final)))
            if scale.usable:
                found[environment] = scale
    return found


def matrices(evidence: Evidence, setting: str) -> dict[str, Scores]:
    """Scores of every optimizer that has finite ones on every environment with a scale."""
    by_environment = scales(evidence)
    found = {}
    for optimizer in evidence.optimizers:
        cells = [evidence.chosen(environment, optimizer, setting) for environment in by_environment]
        complete = [cell for cell in cells if cell is not None and cell.has_returns]
        if complete and len(complete) == len(cells):
            seeds = tuple(sorted(set.intersection(*(set(cell.seeds) for cell in complete))))
            if seeds:
                found[optimizer] = _scores(evidence, complete, seeds, list(by_environment.values()))
    return found


def left_out(evidence: Evidence, setting: str, complete: dict[str, Scores]) -> list[str]:
    """Sentences on what has no part in the aggregate scores; complete: what has, as `matrices` gives it."""
    sentences = []
    by_environment = scales(evidence)
    if without := [name for name in evidence.environments if name not in by_environment]:
        sentences.append(
            f"Scores leave out {', '.join(without)}: {evidence.one} is missing there, or is not above a random policy."
        )
    for optimizer in evidence.optimizers:
        if by_environment and optimizer not in complete:
            cells = {name: evidence.chosen(name, optimizer, setting) for name in by_environment}
            lacking = [n for n, cell in cells.items() if cell is None or not cell.has_returns]
            where = f"has no result on {', '.join(lacking)}" if lacking else "has no seed in common to all environments"
            which = f" ({setting} setting)" if evidence.plan is None or evidence.tunes else ""
            sentences.append(f"{optimizer}{which} is not among the scores: it {where}.")
    return sentences


def leaderboard(evidence: Evidence, found: dict[str, Scores]) -> list[Row]:
    """One line per optimizer, the highest interquartile mean first."""
    adam = found.get(evidence.yardstick or "")
    rows = []
    for optimizer, scores in found.items():
        better = paired = None
        if adam is not None and optimizer != evidence.yardstick and not agreement.differences(scores.cells, adam.cells):
            better = statistics.stratified_bootstrap((scores.final, adam.final), statistics.probability_of_improvement)
            common = [seed for seed in scores.seeds if seed in adam.seeds]
            if common:
                mine, theirs = (x.final[[x.seeds.index(seed) for seed in common]] for x in (scores, adam))
                paired = statistics.paired_difference(mine, theirs)
        rows.append(
            Row(
                optimizer=optimizer,
                iqm=interval(scores.final, statistics.aggregate_iqm),
                median=interval(scores.final, statistics.aggregate_median),
                mean=interval(scores.final, statistics.aggregate_mean),
                gap=interval(scores.final, statistics.optimality_gap),
                area=interval(scores.area, statistics.aggregate_iqm),
                better=better,
                paired=paired,
                seeds=len(scores.seeds),
                failed=scores.failed,
            )
        )
    return sorted(rows, key=lambda row: -row.iqm.estimate)


def efficiency(scores: Scores) -> list[Interval]:
    """Interquartile mean over all runs after each share of the training in `GRID`."""
    return [
        statistics.stratified_bootstrap((scores.curves[..., i],), statistics.aggregate_iqm, resamples=500)
        for i in range(len(GRID))
    ]


def profile(scores: Scores, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of runs above each threshold, with its interval: estimate, low, high, each as thresholds."""
    found = [
        statistics.stratified_bootstrap(
            (scores.final,), lambda x, t=t: statistics.performance_profile(x, np.asarray([t]))[..., 0], resamples=500
        )
        for t in thresholds
    ]
    estimate, low, high = np.asarray(found).T
    return estimate, low, high


def curve(cell: Cell, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps [T] and returns [S, T] without gaps, up to a step, by the rule of `statistics`.

    A run that ended early, since all its seeds were stopped, stays at its lowest return.
    """
    returns = statistics.whole_curves(cell.steps, cell.returns, cell.stopped)
    if cell.steps[-1] >= end:
        return cell.steps, returns
    rest = np.where(cell.stopped >= 0, statistics.lowest(cell.returns), returns[:, -1])
    return np.append(cell.steps, end), np.column_stack([returns, rest])


def last_step(evidence: Evidence, environment: str) -> int:
    """Environment steps of the longest run on an environment."""
    return max(int(cell.steps[-1]) for cell in evidence.reported if cell.environment == environment)


def interval(scores: np.ndarray, statistic: object) -> Interval:
    """A statistic of one score matrix with its interval."""
    return statistics.stratified_bootstrap((scores,), statistic)  # type: ignore[arg-type]


def _scores(evidence: Evidence, cells: list[Cell], seeds: tuple[int, ...], by_environment: list[Scale]) -> Scores:
    final, area, curves = [], [], []
    for cell, scale in zip(cells, by_environment, strict=True):
        rows = [cell.seeds.index(seed) for seed in seeds]
        steps, returns = curve(cell, last_step(evidence, cell.environment))
        final.append(scale(cell.final[rows]))
        area.append(scale(statistics.area_under_curve(steps, returns[rows])))
        curves.append(scale(np.stack([np.interp(GRID, steps / steps[-1], row) for row in returns[rows]])))
    failed = sum(len(cell.failed) for cell in cells)
    return Scores(cells, seeds, np.stack(final, 1), np.stack(area, 1), np.stack(curves, 1), failed)
