"""The best policies of a population so far, each seed's own."""

from typing import Any, NamedTuple

import jax
import numpy as np


class Best(NamedTuple):
    """policies: tree of NumPy arrays, leaves [S, ...]. returns: float32 [S], what they were judged by; NaN: unknown.

    steps: int64 [S], environment steps after which they were.
    """

    policies: Any
    returns: np.ndarray
    steps: np.ndarray


def empty(policies: Any) -> Best:
    """Of nothing yet, for policies like these."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), policies)
    members = len(jax.tree.leaves(zeros)[0])
    return Best(zeros, np.full(members, np.nan, np.float32), np.zeros(members, np.int64))


def better(best: Best | None, policies: Any, values: np.ndarray, going: np.ndarray, step: int) -> tuple[Best, bool]:
    """The best after a look, and whether it is another; of equal ones the earlier stays, of unknown ones the later.

    Args:
      best: so far. policies: now, leaves [S, ...]. values: float32 [S], what they are judged by.
      going: bool [S], whose policies count. step: environment steps so far.
    """
    best = empty(policies) if best is None else best
    is_new = ((values > best.returns) | np.isnan(best.returns)) & going
    if not np.any(is_new):
        return best, False

    def mixed(new: Any, old: np.ndarray) -> np.ndarray:
        return np.where(is_new.reshape(-1, *[1] * (old.ndim - 1)), np.asarray(new), old)

    mixed_policies = jax.tree.map(mixed, policies, best.policies)
    return Best(mixed_policies, np.where(is_new, values, best.returns), np.where(is_new, step, best.steps)), True
