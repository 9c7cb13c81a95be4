"""Scores against tuned Adam, and their summary over tasks and seeds (Celo, arXiv 2501.12670, evaluation)."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rlopt.statistics import Interval, iqm
from rlopt.supervised.optimizers import REFERENCE
from rlopt.supervised.suite import Cell
from rlopt.supervised.training import EVERY

RESAMPLES = 2000


class Summary(NamedTuple):
    """One optimizer over all tasks and seeds.

    final_iqm, final_gap: of the final-loss scores, Adam's final loss over its own (more is better, 1 is Adam).
    speed_iqm, speed_gap: of the speed-up scores, T over the step at which it reaches Adam's final loss (0: never).
    wins: tasks on which its mean loss over training is lower than Adam's best. tasks: how many there are.
    """

    final_iqm: Interval
    final_gap: Interval
    speed_iqm: Interval
    speed_gap: Interval
    wins: int
    tasks: int


def optimality_gap(scores: np.ndarray) -> np.ndarray:
    """Mean of 1 - min(score, 1) over the last axis: by how much scores fall short of 1."""
    return np.mean(1 - np.minimum(scores, 1), axis=-1)


def final_scores(cells: Mapping[tuple[str, str], Cell], tasks: tuple[str, ...], name: str) -> np.ndarray:
    """Adam's final loss (best rate, mean over seeds) over that of each run, [tasks, seeds]."""
    return np.stack([cells[task, REFERENCE].final.mean() / cells[task, name].final for task in tasks])


def speed_scores(cells: Mapping[tuple[str, str], Cell], tasks: tuple[str, ...], name: str) -> np.ndarray:
    """T over the first step at which the smoothed loss is at most Adam's final loss; 0 if never; [tasks, seeds]."""
    rows = []
    for task in tasks:
        reached = cells[task, name].smooth <= cells[task, REFERENCE].final.mean()
        points = reached.shape[1]
        step = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, np.inf) * EVERY
        rows.append(points * EVERY / step)
    return np.stack(rows)


def interval(scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """A statistic over all entries of [tasks, seeds]; 95 % from resampling the seeds of every task."""
    rng = np.random.default_rng(0)
    tasks, seeds = scores.shape
    rows = rng.integers(0, seeds, (RESAMPLES, tasks, seeds))
    resampled = np.take_along_axis(np.broadcast_to(scores, (RESAMPLES, tasks, seeds)), rows, axis=-1)
    low, high = np.quantile(statistic(resampled.reshape(RESAMPLES, -1)), [0.025, 0.975])
    return Interval(float(statistic(scores.ravel())), float(low), float(high))


def summarise(cells: Mapping[tuple[str, str], Cell], tasks: tuple[str, ...], name: str) -> Summary:
    """The line of one optimizer."""
    final, speed = final_scores(cells, tasks, name), speed_scores(cells, tasks, name)
    wins = sum(bool(cells[task, name].mean.mean() < cells[task, REFERENCE].mean.mean()) for task in tasks)
    return Summary(
        final_iqm=interval(final, iqm),
        final_gap=interval(final, optimality_gap),
        speed_iqm=interval(speed, iqm),
        speed_gap=interval(speed, optimality_gap),
        wins=wins,
        tasks=len(tasks),
    )
