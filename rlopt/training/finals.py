"""What a seed counts as: the one rule for its final return and its curve, in training, on disk and in reports.

A seed counts as the mean return of the episodes that ended in the last tenth of training. If none ended there, it is
still alive, and counts as its last known return. The lowest return of its cell is for those whose loss was not finite,
which would otherwise favour optimizers that break, and for those in which no episode ever ended. Imports no jax.
"""

import numpy as np

from rlopt.statistics import lowest, without_gaps

# "Final" is the last tenth of training.
FINAL_SHARE = 0.1


def values(final: np.ndarray, returns: np.ndarray, stopped: np.ndarray) -> np.ndarray:
    """Final returns [S] of a cell's seeds; NaN only where no episode ended in any of them.

    Args:
      final: [S], means over the last tenth of training; NaN: no episode ended there.
      returns: [S, T], means per logging interval; NaN: none ended there.
      stopped: [S], the step at which the loss was not finite; -1: it always was.
    """
    known = np.where(np.isfinite(final), final, without_gaps(returns)[:, -1])
    counts = (stopped < 0) & np.isfinite(known)
    with np.errstate(over="ignore", invalid="ignore"):  # files hold any numbers
        return np.where(counts, known, lowest(returns)).astype(final.dtype)


def curves(steps: np.ndarray, returns: np.ndarray, stopped: np.ndarray) -> np.ndarray:
    """Returns [S, T] by the same rule: the lowest after a seed was stopped; gaps (NaN) stay.

    steps: [T]; the others as `values`.
    """
    after = (stopped[:, None] >= 0) & (steps > stopped[:, None])
    return np.where(after, lowest(returns), returns)


def whole_curves(steps: np.ndarray, returns: np.ndarray, stopped: np.ndarray) -> np.ndarray:
    """`curves` without gaps, float64 [S, T]; a seed in which no episode ever ended is at the lowest all along."""
    filled = without_gaps(curves(steps, returns, stopped))
    return np.where(np.isfinite(filled), filled, lowest(returns))


def silent(returns: np.ndarray) -> int:
    """In how many seeds no episode ever ended; returns: [S, T]."""
    return int(np.sum(~np.any(np.isfinite(returns), axis=1)))
