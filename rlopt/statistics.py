"""Statistics over seeds (Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", NeurIPS 2021)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A point estimate and its 95 % confidence interval."""

    estimate: float
    low: float
    high: float


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean without the lowest and the highest floor(n / 4) of n scores along an axis."""
    scores = np.sort(np.asarray(scores, np.float64), axis=axis)
    count = scores.shape[axis]
    cut = count // 4
    return np.take(scores, range(cut, count - cut), axis=axis).mean(axis=axis)


def lowest(scores: np.ndarray) -> float:
    """The lowest score that is finite, which stopped seeds count as; NaN if there is none."""
    finite = scores[np.isfinite(scores)]
    return float(finite.min()) if finite.size else float("nan")


def bootstrap(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = iqm, resamples: int = 2000, seed: int = 0
) -> Interval:
    """A statistic over seeds with its percentile-bootstrap 95 % interval.

    Args:
      scores: [S], one per seed, finite.
      statistic: maps [..., S] to [...].
      resamples: bootstrap samples. seed: of the resampling, so that a report can be repeated.

    Raises:
      ValueError: for no scores, or scores that are not finite.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"scores must be a list of at least one number, got shape {scores.shape}")
    if not np.all(np.isfinite(scores)):
        raise ValueError(f"scores must be finite, got {scores.tolist()}")
    rows = np.random.default_rng(seed).integers(0, scores.size, (resamples, scores.size))
    low, high = np.quantile(statistic(scores[rows]), [0.025, 0.975])
    return Interval(float(statistic(scores)), float(low), float(high))
