"""What a seed counts as, and statistics over seeds and environments. Imports no jax.

A seed counts as the mean return of the episodes that ended in the last tenth of training. If none ended there, it is
still alive, and counts as the mean return of the last logging interval in which one did. The lowest such mean of any
seed of its cell, at any time, is for those whose loss was not finite, which would otherwise favour optimizers that
break, and for those in which no episode ever ended. This is the one rule in training, on disk and in reports.

Scores of several environments are to be normalised first. Reference for the statistics: Agarwal et al., "Deep RL at the
Edge of the Statistical Precipice", NeurIPS 2021.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# "Final" is the last tenth of training.
FINAL_SHARE = 0.1


class Interval(NamedTuple):
    """A point estimate and its 95 % confidence interval; low and high are NaN where one seed gives none."""

    estimate: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low == self.low


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean without the lowest and the highest floor(n / 4) of n scores along an axis."""
    scores = np.sort(np.asarray(scores, np.float64), axis=axis)
    count = scores.shape[axis]
    cut = count // 4
    return np.take(scores, range(cut, count - cut), axis=axis).mean(axis=axis)


def lowest(scores: np.ndarray) -> float:
    """The lowest score that is finite; NaN if there is none."""
    finite = scores[np.isfinite(scores)]
    return float(finite.min()) if finite.size else float("nan")


def bootstrap(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = iqm, resamples: int = 2000, seed: int = 0
) -> Interval:
    """A statistic over seeds with its percentile-bootstrap 95 % interval; of one seed there is none.

    Args:
      scores: [S], one per seed, finite.
      statistic: maps [..., S] to [...].
      resamples: bootstrap samples.
      seed: of the resampling, so that a report can be repeated.

    Raises:
      ValueError: for no scores, or scores that are not finite.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1:
        raise ValueError(f"scores must be a list of numbers, one per seed, got shape {scores.shape}")
    return stratified_bootstrap((scores[:, None],), lambda x: statistic(x[..., 0]), resamples, seed)


def stratified_bootstrap(
    scores: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], resamples: int = 2000, seed: int = 0
) -> Interval:
    """A statistic of one or more score matrices with its 95 % interval; seeds are resampled within each environment.

    There is no interval where a matrix has one seed: what it would have been with another nobody knows.

    Args:
      scores: matrices [S, E], seeds by environments, finite; S may differ between them.
      statistic: of as many arrays [..., S, E], to [...].
      resamples: as `bootstrap`.
      seed: as `bootstrap`.

    Raises:
      ValueError: for no scores, scores that are not finite, or matrices of unequal numbers of environments.
    """
    matrices = [_matrix(x) for x in scores]
    if len({matrix.shape[1] for matrix in matrices}) > 1:
        shapes = " and ".join(str(matrix.shape) for matrix in matrices)
        raise ValueError(f"scores must be of the same environments, got matrices of shapes {shapes}")
    estimate = float(statistic(*matrices))
    if min(map(len, matrices)) < 2:
        return Interval(estimate, float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    drawn = []
    for matrix in matrices:
        rows = generator.integers(0, len(matrix), (resamples, *matrix.shape))
        drawn.append(np.take_along_axis(matrix[None], rows, axis=1))
    low, high = np.quantile(statistic(*drawn), [0.025, 0.975])
    return Interval(estimate, float(low), float(high))


def aggregate_iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over all runs of all environments, [..., S, E] -> [...]."""
    return iqm(scores.reshape(*scores.shape[:-2], -1))


def aggregate_mean(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds and environments, [..., S, E] -> [...]."""
    return scores.mean(axis=(-2, -1))


def aggregate_median(scores: np.ndarray) -> np.ndarray:
    """Median over environments of the mean over seeds, [..., S, E] -> [...]."""
    return np.median(scores.mean(axis=-2), axis=-1)


def optimality_gap(scores: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """How far runs stay below gamma in the mean, runs above it counting as gamma; [..., S, E] -> [...]."""
    return gamma - np.minimum(scores, gamma).mean(axis=(-2, -1))


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How likely a run beats another's run in the same environment, ties counting half, in the mean over environments.

    Args:
      scores: [..., S, E].
      others: [..., S', E].
    """
    difference = scores[..., :, None, :] - others[..., None, :, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-3, -2, -1))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs above each threshold, [..., S, E] and [K] -> [..., K]."""
    return (scores[..., None] > thresholds).mean(axis=(-3, -2))


def paired_difference(scores: np.ndarray, others: np.ndarray, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean difference of runs that share their seeds, [S, E] both, with its 95 % interval.

    Pairing takes out what a seed has in common (first weights, episodes), as far as it does.

    Raises:
      ValueError: for matrices of different shapes, or scores that are not finite.
    """
    if np.shape(scores) != np.shape(others):
        raise ValueError(f"paired scores must have the same shape, got {np.shape(scores)} and {np.shape(others)}")
    return stratified_bootstrap((np.subtract(scores, others),), aggregate_mean, resamples, seed)


def without_gaps(returns: np.ndarray) -> np.ndarray:
    """Returns [..., T] in which an interval without an episode (NaN) has those of the last one before, or first after.

    NaN where no episode ever ended.
    """
    returns = np.asarray(returns, np.float64)
    known = np.isfinite(returns)
    last = np.maximum.accumulate(np.where(known, np.arange(returns.shape[-1]), -1), axis=-1)
    first = np.argmax(known, axis=-1)[..., None]
    return np.take_along_axis(returns, np.where(last >= 0, last, first), axis=-1)


def tail_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean return over the episodes of the last tenth of the iterations, float32 [S]; NaN: none ended there.

    sums, counts: [I, S] per iteration, of the returns of the episodes that ended in it, and how many did.
    """
    tail = max(1, round(FINAL_SHARE * len(sums)))
    total, count = sums[-tail:].sum(0), counts[-tail:].sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def final_returns(final: np.ndarray, returns: np.ndarray, stopped: np.ndarray, cells: int = 1) -> np.ndarray:
    """Final returns [S] of a cell's seeds by the rule above; NaN only where no episode ended in any of them.

    Args:
      final: [S], `tail_means`.
      returns: [S, T], means per logging interval; NaN: none ended there.
      stopped: [S], the step at which the loss was not finite; -1: it always was.
      cells: how many cells the seeds are of, one after the other with equally many each.
    """
    if cells > 1:
        parts = (np.split(x, cells) for x in (final, returns, stopped))
        return np.concatenate([final_returns(*part) for part in zip(*parts, strict=True)])
    known = np.where(np.isfinite(final), final, without_gaps(returns)[:, -1])
    counts = (stopped < 0) & np.isfinite(known)
    with np.errstate(over="ignore", invalid="ignore"):  # files hold any numbers
        return np.where(counts, known, lowest(returns)).astype(final.dtype)


def counted_curves(steps: np.ndarray, returns: np.ndarray, stopped: np.ndarray) -> np.ndarray:
    """Returns [S, T] by the same rule: the lowest after a seed was stopped; gaps (NaN) stay.

    steps: [T]; the others as `final_returns`.
    """
    after = (stopped[:, None] >= 0) & (steps > stopped[:, None])
    return np.where(after, lowest(returns), returns)


def whole_curves(steps: np.ndarray, returns: np.ndarray, stopped: np.ndarray) -> np.ndarray:
    """`counted_curves` without gaps, float64 [S, T]; a seed in which no episode ever ended is at the lowest."""
    filled = without_gaps(counted_curves(steps, returns, stopped))
    return np.where(np.isfinite(filled), filled, lowest(returns))


def best(scores: np.ndarray) -> int:
    """Where the highest of some scores [R] is; of equal ones, the one in the middle. Not finite is lowest."""
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    equal = np.flatnonzero(scores == scores.max())
    return int(equal[len(equal) // 2])


def leading(means: Sequence[float], keep: int) -> list[int]:
    """Positions of the highest of some means, in rising order; of equal ones those nearest to the middle.

    means: those that are not finite are the lowest. keep: how many, at most all.
    """
    middle = len(means) // 2

    def order(i: int) -> tuple[float, int]:
        return (-means[i] if np.isfinite(means[i]) else np.inf, abs(i - middle))

    return sorted(sorted(range(len(means)), key=order)[:keep])


def silent_seeds(returns: np.ndarray) -> int:
    """In how many seeds no episode ever ended; returns: [S, T]."""
    return int(np.sum(~np.any(np.isfinite(returns), axis=1)))


def area_under_curve(steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Mean return over training: steps [T], returns [..., T] -> [...]; gaps are filled as in `without_gaps`."""
    return np.sum(without_gaps(returns) * np.diff(steps, prepend=0), axis=-1) / steps[-1]


def tolerance_window(rates: np.ndarray, scores: np.ndarray, share: float = 0.1) -> tuple[float, float]:
    """Lowest and highest learning rate around the best one, within a share of the best score all along.

    Between the rates given, which must rise, scores are interpolated over their logarithm; the window ends with them.

    Args:
      rates: [R], positive.
      scores: [R], finite.
      share: of the best score's absolute value.
    """
    logs, best = np.log(rates), int(np.argmax(scores))
    least = scores[best] - share * abs(scores[best])

    def end(step: int) -> float:
        i = best
        while 0 <= i + step < len(scores):
            if scores[i + step] < least:
                part = (scores[i] - least) / (scores[i] - scores[i + step])
                return float(np.exp(logs[i] + part * (logs[i + step] - logs[i])))
            i += step
        return float(rates[i])

    return end(-1), end(1)


def _matrix(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores must be seeds by environments, at least one of each, got shape {scores.shape}")
    if not np.all(np.isfinite(scores)):
        raise ValueError(f"scores must be finite, got {scores.tolist()}")
    return scores
