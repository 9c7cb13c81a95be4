"""Running gradient statistics that the learned rules read (Celo2, arXiv 2602.19142).

Every statistic keeps its decay index as the FIRST axis: a trailing axis of length 3 would stop the
compiler from vectorising over the parameters. Published checkpoints of *theta* are unaffected, since
theta holds no statistics.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SQUARE_FLOOR = 1e-30

# Traced, where they are learned.
Decays = Sequence[float] | jax.Array


class Accumulators(NamedTuple):
    """Statistics of one tensor of shape S, all float32.

    m: momenta, [n_decays, *S].
    v: second moment, S.
    row: mean of squares over axis d0, [n_decays, *S with d0 -> 1]; None below rank 2.
    col: mean of squares over axis d1, [n_decays, *S with d1 -> 1]; None below rank 2.
    diag: unfactored squares, [n_decays, *S]; None from rank 2 on.
    nu: second moment of Adam, S; None where the rule's step takes its size from elsewhere.
    output: mean square of the rule's own output, one number per matrix, S without its last two axes; None where the
      rule does not need it.
    """

    m: jax.Array
    v: jax.Array
    row: jax.Array | None
    col: jax.Array | None
    diag: jax.Array | None
    nu: jax.Array | None = None
    output: jax.Array | None = None


class Factors(NamedTuple):
    """Inverse-root factors of the factored second moment, one slice per decay; `fac_g = g * row * col`."""

    row: jax.Array
    col: jax.Array


def factored_axes(shape: Sequence[int]) -> tuple[int, int] | None:
    """Returns (d1, d0), the second-largest and the largest axis, or None below rank 2.

    The sort is stable, so of two equally long axes the later one counts as larger.
    """
    if len(shape) < 2:
        return None
    order = np.argsort(np.asarray(shape), kind="stable")
    return int(order[-2]), int(order[-1])


def init(
    zeros: jax.Array, num_momenta: int, num_factored: int, with_nu: bool = False, with_output: bool = False
) -> Accumulators:
    """Zero statistics for a tensor.

    Args:
      zeros: float32, shaped and laid out over devices like the tensor, of rank >= 1; every statistic is made from it,
        so that it is laid out so as well.
      num_momenta, num_factored: numbers of decays. with_nu: Adam's second moment among them. with_output: the mean
        square of the rule's output likewise.
    """

    def stacked(x: jax.Array, count: int) -> jax.Array:
        return jnp.stack([x] * count)

    def copied() -> jax.Array:
        # An array of its own, for states may be donated. Under `vmap` zeros_like would be made on one device.
        return jnp.copy(zeros)

    axes = factored_axes(zeros.shape)
    row = col = diag = None
    if axes is None:
        diag = stacked(zeros, num_factored)
    else:
        d1, d0 = axes
        row = stacked(jnp.sum(zeros, axis=d0, keepdims=True), num_factored)
        col = stacked(jnp.sum(zeros, axis=d1, keepdims=True), num_factored)
    return Accumulators(
        m=stacked(zeros, num_momenta),
        v=copied(),
        row=row,
        col=col,
        diag=diag,
        nu=copied() if with_nu else None,
        output=jnp.sum(zeros, axis=tuple(range(max(0, zeros.ndim - 2), zeros.ndim))) if with_output else None,
    )


def ema(decays: Decays, old: Any, new: jax.Array) -> jax.Array:
    """`decay * old + (1 - decay) * new` for every decay; old is [n_decays, ...], new is [...]."""
    beta = jnp.asarray(decays, jnp.float32).reshape((-1,) + (1,) * new.ndim)
    return beta * old + (1 - beta) * new[None]


def update(
    acc: Accumulators,
    g: jax.Array,
    momentum_decays: Decays,
    rms_decay: float | jax.Array,
    factored_decays: Decays,
    nu_decay: float | None = None,
) -> Accumulators:
    """Folds one gradient g (float32, already clipped) into the statistics.

    m <- b m + (1-b) g;  v, nu <- b . + (1-b) g^2;  row, col <- b . + (1-b) mean(g^2 + 1e-30) over d0, d1.
    nu_decay: of nu, where there is one. The mean square of the output stays: there is no output yet.
    """
    squares = jnp.square(g)
    axes = factored_axes(g.shape)
    row = col = diag = None
    if axes is None:
        diag = ema(factored_decays, acc.diag, squares + SQUARE_FLOOR)
    else:
        d1, d0 = axes
        # The floor is added to the mean, not to every square: equal up to rounding, and g^2 never goes to memory.
        row = ema(factored_decays, acc.row, jnp.mean(squares, axis=d0, keepdims=True) + SQUARE_FLOOR)
        col = ema(factored_decays, acc.col, jnp.mean(squares, axis=d1, keepdims=True) + SQUARE_FLOOR)
    return Accumulators(
        m=ema(momentum_decays, acc.m, g),
        v=rms_decay * acc.v + (1 - rms_decay) * squares,
        row=row,
        col=col,
        diag=diag,
        nu=None if acc.nu is None or nu_decay is None else nu_decay * acc.nu + (1 - nu_decay) * squares,
        output=acc.output,
    )


def factors(acc: Accumulators) -> Factors:
    """Adafactor's inverse roots from the current statistics of a tensor of rank >= 2.

    row: rsqrt(max(row / (mean of row over d1 + 1e-9), 1e-9)), shaped like acc.row.
    col: rsqrt(max(col, 1e-9)), shaped like acc.col.
    """
    axes = factored_axes(acc.v.shape)
    if axes is None or acc.row is None or acc.col is None:
        raise ValueError(f"factored statistics need rank >= 2, got shape {acc.v.shape}")
    d1, _ = axes
    relative = acc.row / (jnp.mean(acc.row, axis=d1 + 1, keepdims=True) + 1e-9)
    return Factors(row=jax.lax.rsqrt(jnp.maximum(relative, 1e-9)), col=jax.lax.rsqrt(jnp.maximum(acc.col, 1e-9)))


def diagonal_factor(acc: Accumulators) -> jax.Array:
    """rsqrt(max(diag + 1e-9, 1e-9)), [n_decays, *S]: the counterpart of `factors` below rank 2."""
    if acc.diag is None:
        raise ValueError(f"the unfactored statistic needs rank < 2, got shape {acc.v.shape}")
    return jax.lax.rsqrt(jnp.maximum(acc.diag + 1e-9, 1e-9))


def has_had_gradient(acc: Accumulators, num_axes: int) -> jax.Array:
    """Whether a gradient other than zero was ever seen in the last `num_axes` axes: bool, shaped like those before."""
    squares: Any = acc.row if acc.diag is None else acc.diag
    largest = jnp.max(squares[-1], axis=tuple(range(acc.v.ndim - num_axes, acc.v.ndim)))
    # Without any gradient it stays below the floor that is added to every square.
    return largest > SQUARE_FLOOR


def bias_corrected(
    acc: Accumulators,
    count: jax.Array,
    momentum_decays: Sequence[float],
    rms_decay: float,
    factored_decays: Sequence[float],
) -> Accumulators:
    """Divides m, v, row, col and diag by 1 - decay**count (count: int32, updates so far)."""
    t = count.astype(jnp.float32)

    def correct(x: Any, decays: Sequence[float]) -> Any:
        if x is None:
            return None
        scale = 1 - jnp.asarray(decays, jnp.float32) ** t
        return x / scale.reshape((-1,) + (1,) * (x.ndim - 1))

    return Accumulators(
        m=correct(acc.m, momentum_decays),
        v=acc.v / (1 - jnp.float32(rms_decay) ** t),
        row=correct(acc.row, factored_decays),
        col=correct(acc.col, factored_decays),
        diag=correct(acc.diag, factored_decays),
        nu=acc.nu,  # what reads them corrects them
        output=acc.output,
    )
