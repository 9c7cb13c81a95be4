"""Whether one optimizer is better than another: a permutation test over seeds, corrected for several optimizers."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np


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
