"""Statistics over seeds and environments.

Reference: Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", NeurIPS 2021. Scores of several
environments are to be normalised first.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


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
      resamples: bootstrap samples. seed: of the resampling, so that a report can be repeated.

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
      statistic: of as many arrays [..., S, E], to [...]. resamples, seed: as `bootstrap`.

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
      scores: [..., S, E]. others: [..., S', E].
    """
    difference = scores[..., :, None, :] - others[..., None, :, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-3, -2, -1))


def permutation_p(scores: np.ndarray, others: np.ndarray, permutations: int = 20_000, seed: int = 0) -> np.ndarray:
    """How likely runs of two equal optimizers look as unlike as these: two-sided p of a stratified permutation test.

    Runs are exchanged between the two within their environment; what is compared is how far the probability of
    improvement is from a half. All exchanges are tried if there are no more than `permutations`, else as many random
    ones, whose number limits how small p can be. Whatever the distribution of scores, p is at most x in a share x of
    comparisons of equals. (Phipson and Smyth, 2010, for random ones.)

    Args:
      scores: [..., S, E], seeds by environments. others: [..., S', E]. Leading axes: many comparisons at once.
      permutations: as above. seed: of the random ones.

    Returns:
      p, float64 [...].
    """
    num, rest = scores.shape[-2], others.shape[-2]
    # Of a rank sum, the probability of improvement is a linear function.
    ranks = _ranks(np.concatenate([scores, others], axis=-2))
    found = np.abs(ranks[..., :num, :].sum((-2, -1)))
    as_unlike, count = np.zeros(found.shape), 0
    exact = num_exchanges(num, rest, scores.shape[-1]) <= permutations
    for chosen in _exchanges(num, rest, scores.shape[-1], permutations, seed):
        sums = np.abs(ranks.reshape(*found.shape, -1) @ chosen.reshape(len(chosen), -1).T.astype(np.float64))
        as_unlike += (sums >= found[..., None] - 1e-9).sum(-1)
        count += len(chosen)
    return as_unlike / count if exact else (as_unlike + 1) / (count + 1)


def num_exchanges(num: int, others: int, environments: int) -> int:
    """In how many ways runs can be exchanged within their environments; num, others: seeds of the two optimizers."""
    return math.comb(num + others, num) ** environments


def smallest_p(num: int, others: int, environments: int, permutations: int = 20_000) -> float:
    """The smallest p that `permutation_p` can give for so many seeds, whatever they scored."""
    ways = num_exchanges(num, others, environments)
    # With equal numbers, the exchange of all runs is as unlike as none.
    return (2 if num == others else 1) / ways if ways <= permutations else 1 / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P of several tests, corrected so that one or more are below x by chance in a share x of cases at most (Holm)."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.zeros(len(order))
    highest = 0.0
    for i, k in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - i) * p_values[k]))
        corrected[k] = highest
    return [float(p) for p in corrected]


def detectable(num: int, others: int, environments: int, tests: int, level: float = 0.05, power: float = 0.8) -> float:
    """The difference, in standard deviations of a seed's score, that `permutation_p` finds with a probability `power`.

    By simulation, to about a twentieth: of normal scores with this difference in every environment, for the first of
    `tests` that Holm's correction looks at. Infinite where no difference would be enough.
    """
    if smallest_p(num, others, environments) > level / tests:
        return math.inf
    total = num + others
    unlike = np.arange(total)[:, None] - (total - 1) / 2
    parts = _exchanges(num, others, environments, 20_000, seed=1)
    chance = np.concatenate([np.abs((chosen * unlike).sum((-2, -1))) for chosen in parts])
    values, counts = np.unique(chance, return_counts=True)
    share = np.cumsum(counts[::-1])[::-1] / len(chance)  # of exchanges that are at least as unlike
    enough = values[share <= level / tests].min(initial=values[-1]) - 1e-9
    draws = np.random.default_rng(0).normal(size=(1000, total, environments))
    low, high = 0.0, 8.0
    for _ in range(8):
        middle = (low + high) / 2
        ranks = _ranks(draws + middle * (np.arange(total) < num)[:, None])
        found = np.mean(np.abs(ranks[:, :num].sum((-2, -1))) >= enough)
        low, high = (low, middle) if found >= power else (middle, high)
    return high


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks of runs within each environment less their mean, [..., S, E]; equal ones have the same."""
    one, other = scores[..., :, None, :], scores[..., None, :, :]
    return (one > other).sum(-2) + (one == other).sum(-2) / 2 - scores.shape[-2] / 2


def _exchanges(num: int, rest: int, environments: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Which runs are the first optimizer's, bool [K, S + S', E], in portions: all ways, or random ones."""
    total = num + rest
    if num_exchanges(num, rest, environments) <= permutations:
        one = np.zeros((math.comb(total, num), total), bool)
        for row, members in zip(one, itertools.combinations(range(total), num), strict=True):
            row[list(members)] = True
        picks = np.indices([len(one)] * environments).reshape(environments, -1).T
        for start in range(0, len(picks), 2000):
            yield one[picks[start : start + 2000]].transpose(0, 2, 1)
        return
    generator = np.random.default_rng(seed)
    for start in range(0, permutations, 2000):
        draws = generator.random((min(2000, permutations - start), total, environments))
        yield draws.argsort(axis=1).argsort(axis=1) < num


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


def area_under_curve(steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Mean return over training: steps [T], returns [..., T] -> [...]; gaps are filled as in `without_gaps`."""
    return np.sum(without_gaps(returns) * np.diff(steps, prepend=0), axis=-1) / steps[-1]


def tolerance_window(rates: np.ndarray, scores: np.ndarray, share: float = 0.1) -> tuple[float, float]:
    """Lowest and highest learning rate around the best one, within a share of the best score all along.

    Between the rates given, which must rise, scores are interpolated over their logarithm; the window ends with them.

    Args:
      rates: [R], positive. scores: [R], finite. share: of the best score's absolute value.
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
