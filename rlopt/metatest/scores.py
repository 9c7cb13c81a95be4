"""Scores against tuned Adam, and their summary over tasks and seeds (Celo, arXiv 2501.12670, evaluation)."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rlopt.metatest.config import REFERENCE
from rlopt.metatest.suite import Cell
from rlopt.statistics import Interval, iqm

RESAMPLES = 2000
Cells = Mapping[tuple[str, str], Cell]


def names_of(cells: Cells) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tasks and optimizers, in the order in which they were run."""
    return tuple(dict.fromkeys(task for task, _ in cells)), tuple(dict.fromkeys(name for _, name in cells))


class Summary(NamedTuple):
    """One optimizer over all tasks and seeds.

    final_iqm, final_gap: of the final-loss scores, Adam's final loss over its own (more is better, 1 is Adam).
    speed_iqm, speed_gap: of the speed-up scores, T over the step at which it reaches Adam's final loss (0: never).
    wins: tasks on which its mean loss over training is lower than Adam's best. tasks: how many there are.
    final_median, speed_median: of the same scores.
    """

    final_iqm: Interval
    final_gap: Interval
    speed_iqm: Interval
    speed_gap: Interval
    wins: int
    tasks: int
    final_median: Interval
    speed_median: Interval


def optimality_gap(scores: np.ndarray) -> np.ndarray:
    """Mean of 1 - min(score, 1) over the last axis: by how much scores fall short of 1."""
    return np.mean(1 - np.minimum(scores, 1), axis=-1)


def _median(scores: np.ndarray) -> np.ndarray:
    return np.median(scores, axis=-1)


def final_scores(cells: Cells, tasks: tuple[str, ...], name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Adam's final loss (best rate, mean over seeds) over that of each run, [tasks, seeds].

    rows: seeds to count in place of 0, 1, ..., int [..., tasks, seeds], Adam's as well; gives [..., tasks, seeds].
    """
    found = []
    for i, task in enumerate(tasks):
        final, base = (cells[task, who].final[_of_task(cells, task, rows, i)] for who in (name, REFERENCE))
        found.append(base.mean(-1, keepdims=True) / final)
    return np.stack(found, axis=-2)


def speed_scores(cells: Cells, tasks: tuple[str, ...], name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """T over the first step at which the smoothed loss is at most Adam's final loss (0: never), as `final_scores`."""
    found = []
    for i, task in enumerate(tasks):
        counted = _of_task(cells, task, rows, i)
        smooth, base = cells[task, name].smooth[counted], cells[task, REFERENCE].final[counted]
        reached = smooth <= base.mean(-1)[..., None, None]
        found.append(np.where(reached.any(-1), reached.shape[-1] / (reached.argmax(-1) + 1), 0.0))
    return np.stack(found, axis=-2)


def _of_task(cells: Cells, task: str, rows: np.ndarray | None, i: int) -> np.ndarray:
    return np.arange(len(cells[task, REFERENCE].final)) if rows is None else rows[..., i, :]


def summarise(cells: Cells, tasks: tuple[str, ...], name: str) -> Summary:
    """The line of one optimizer; intervals from resampling the seeds of every task, which all optimizers share."""
    seeds = len(cells[tasks[0], REFERENCE].final)
    rows = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, len(tasks), seeds))

    def interval(scores: Callable[..., np.ndarray], statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
        resampled = scores(cells, tasks, name, rows).reshape(RESAMPLES, -1)
        low, high = np.quantile(statistic(resampled), [0.025, 0.975])
        return Interval(float(statistic(scores(cells, tasks, name).ravel())), float(low), float(high))

    return Summary(
        final_iqm=interval(final_scores, iqm),
        final_gap=interval(final_scores, optimality_gap),
        speed_iqm=interval(speed_scores, iqm),
        speed_gap=interval(speed_scores, optimality_gap),
        final_median=interval(final_scores, _median),
        speed_median=interval(speed_scores, _median),
        wins=sum(bool(cells[task, name].mean.mean() < cells[task, REFERENCE].mean.mean()) for task in tasks),
        tasks=len(tasks),
    )
