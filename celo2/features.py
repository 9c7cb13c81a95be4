"""Input features of the per-parameter MLP and the first layer that reads them.

The published first layer is `sum_k normalise(group_k) @ w0__k` over 14 groups (30 channels), each divided by its root
mean square over some trailing axes of the tensor. Three rearrangements leave the result unchanged and make it cheap:

* a normalising scale is one number per channel (and matrix slice), so it is folded into the weights;
* row and column statistics are constant along an axis, so their part of the first layer is computed on
  small arrays and added by broadcasting;
* the features are computed twice, once for the scales and once for the MLP, and never written to memory.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from celo2 import accumulators, update_mlp
from celo2.reductions import sums

FEATURE_CLIP = 0.1
ROW_COL_EPS = 1e-8
LOG_BOUND = 5.0
ROW_GROUPS = ("row", "row_root")
COL_GROUPS = ("col", "col_root")
# Groups that change their sign with gradient and parameters; the others, made of squares, do not.
ODD_GROUPS = ("g", "g_clipped", "p", "m", "m_normalized", "g_factored", "g_normalized", "m_factored")

# The elementwise loops over a tensor are vectorised along its last axis. XLA's CPU backend gives up on short axes that
# are no multiple of the vector width (ten classes, six actions); such tensors are flattened first.
_NARROW = 32
_VECTOR = 8

Factor = accumulators.Factors | jax.Array


class Inputs(NamedTuple):
    """All that the features of one tensor of shape S are made of; float32.

    g: clipped gradient, S. p: parameter, S. m: momenta [3, *S]. v: second moment, S.
    diag: unfactored squares [3, *S] where the rule reads them (Celo, below rank 2), else None.
    gradient_factor: what multiplies g in g_factored. momentum_factor: what multiplies m in m_factored; None where the
      rule leaves the last five groups out (Celo2, below rank 2). Both: `accumulators.Factors` from rank 2 on, else
      [3, *S].
    """

    g: jax.Array
    p: jax.Array
    m: jax.Array
    v: jax.Array
    diag: jax.Array | None
    gradient_factor: Factor
    momentum_factor: Factor | None


class FirstLayer(NamedTuple):
    """The first layer in two parts, one array of the tensor's size per hidden unit each.

    even: bias, and what stays when gradient and parameters change their sign. odd: what changes its sign with them.
    """

    even: list[jax.Array]
    odd: list[jax.Array]


def elementwise(x: Inputs, rsqrt_eps: float) -> tuple[list[str], list[jax.Array]]:
    """Channels of the tensor's own shape: (names of groups, arrays), groups in order, their channels in order.

    Args:
      x: see `Inputs`.
      rsqrt_eps: epsilon in root = rsqrt(v + eps).
    """
    root = jax.lax.rsqrt(x.v + rsqrt_eps)
    moments = list(x.m)
    groups: dict[str, list[jax.Array]] = {
        "g": [x.g],
        "g_clipped": [jnp.clip(x.g, -FEATURE_CLIP, FEATURE_CLIP)],
        "p": [x.p],
        "m": moments,
        "v": [x.v],
        "m_normalized": [m * root for m in moments],
        "root": [root],
        "g_factored": [x.g * f for f in _per_decay(x.gradient_factor)],
        "g_normalized": [x.g * root],
    }
    if x.diag is not None:
        squares, roots = list(x.diag), list(jax.lax.rsqrt(x.diag + ROW_COL_EPS))
        groups |= {"row": squares, "col": squares, "row_root": roots, "col_root": roots}
    if x.momentum_factor is not None:
        groups["m_factored"] = [m * f for m, f in zip(moments, _per_decay(x.momentum_factor), strict=True)]
    return list(groups), [channel for group in groups.values() for channel in group]


def log_size(x: jax.Array) -> jax.Array:
    """log(1e-8 + |x|), within +-5."""
    return jnp.clip(jnp.log(1e-8 + jnp.abs(x)), -LOG_BOUND, LOG_BOUND)


def _per_decay(factor: Factor) -> list[jax.Array]:
    if isinstance(factor, accumulators.Factors):
        return [row * col for row, col in zip(factor.row, factor.col, strict=True)]
    return list(factor)


def hidden_inputs(
    weights: update_mlp.LayerWeights,
    x: Inputs,
    row: jax.Array | None,
    col: jax.Array | None,
    num_axes: int,
    eps: float,
    rsqrt_eps: float,
    odd: bool = False,
) -> list[jax.Array] | FirstLayer:
    """What enters the MLP's hidden units for one tensor, `b0 + sum_k normalise(group_k) @ w0__k`.

    Args:
      weights: the MLP.
      x: see `Inputs`.
      row: factored statistics [3, *S with one axis 1] for `ROW_GROUPS`, or None. col: likewise for `COL_GROUPS`.
      num_axes: over how many trailing axes a channel is normalised.
      eps: added to the mean square.
      rsqrt_eps: see `elementwise`.
      odd: give the odd and the even part apart.

    Returns:
      One array of the tensor's size per hidden unit, or `FirstLayer`. Narrow tensors come back with the normalised axes
      flattened into one; the caller reshapes what it makes of them.
    """
    shape = x.g.shape
    lead = shape[: len(shape) - num_axes]
    flat = num_axes > 1 and shape[-1] < _NARROW and shape[-1] % _VECTOR != 0
    if flat:
        x = _flatten(x, num_axes)
    groups, channels = elementwise(x, rsqrt_eps)
    vectors = [(s, names) for s, names in ((row, ROW_GROUPS), (col, COL_GROUPS)) if s is not None]
    scaled = _scaled_weights(weights, groups, channels, vectors, shape, len(lead), eps)
    added = _vector_part(weights, scaled[len(channels) :], [s for s, _ in vectors], x.g.ndim, num_axes)
    if flat and vectors:
        total = jnp.broadcast_to(added[1] + added[2], (len(added[0]), *shape))
        added = [added[0], total.reshape(-1, *x.g.shape)]
    scaled = scaled[: len(channels)].reshape(len(channels), -1, *lead, *(1,) * (x.g.ndim - len(lead)))
    # Without the barrier XLA would keep the channels of the first pass in memory for the second.
    x, scaled, added = jax.lax.optimization_barrier((x, scaled, added))
    channels = elementwise(x, rsqrt_eps)[1]

    def with_added(contributions: list[jax.Array]) -> list[jax.Array]:
        return [sum((part[j] for part in added), h) for j, h in enumerate(contributions)]

    if not odd:
        return with_added(update_mlp.contributions(scaled, channels))
    is_odd = [name in ODD_GROUPS for name in groups for _ in range(update_mlp.GROUPS[name])]

    def part(which: bool) -> list[jax.Array]:
        return update_mlp.contributions(scaled, channels, [i for i, value in enumerate(is_odd) if value is which])

    return FirstLayer(even=with_added(part(False)), odd=part(True))


def _scaled_weights(
    weights: update_mlp.LayerWeights,
    groups: list[str],
    channels: list[jax.Array],
    vectors: list[tuple[jax.Array, tuple[str, str]]],
    shape: tuple[int, ...],
    num_lead: int,
    eps: float,
) -> jax.Array:
    """The first layer's weights over the root mean squares of their channels, [channels, hidden, *lead].

    Args:
      groups, channels: as `elementwise` gives them. vectors: row and column statistics with the names of their groups.
      shape: of the tensor, whose first num_lead axes are not summed over.
    """
    lead = shape[:num_lead]
    totals = sums([jnp.square(c) for c in channels], channels[0].ndim - num_lead)
    sizes = [math.prod(shape[num_lead:])] * len(channels)
    for statistic, names in vectors:
        groups = [*groups, *names]
        # In a convolution kernel the statistic may be constant along a leading axis instead (length 1 there).
        along = _vector_channels(statistic.reshape(*statistic.shape[: 1 + num_lead], -1))
        totals += [jnp.broadcast_to(t, lead) for t in sums([jnp.square(c) for c in along], 1)]
        sizes += [along.shape[-1]] * len(along)
    mean_squares = jnp.stack(totals) / np.asarray(sizes, np.float32).reshape((-1,) + (1,) * num_lead)
    w0 = jnp.concatenate([weights.w0[name] for name in groups])
    return w0.reshape(w0.shape + (1,) * num_lead) * jax.lax.rsqrt(eps + mean_squares)[:, None]


def _vector_part(
    weights: update_mlp.LayerWeights, scaled: jax.Array, statistics: list[jax.Array], ndim: int, num_axes: int
) -> list[jax.Array]:
    """What is constant along some axis: the bias [hidden, 1, ...], and one array [hidden, ...] per statistic."""
    added = [weights.b0.reshape((-1,) + (1,) * ndim)]
    for statistic in statistics:
        along = _vector_channels(statistic)
        w, scaled = scaled[: len(along)], scaled[len(along) :]
        # Not as one product and sum: XLA's CPU backend crashes on the array of rank 8 that two vmaps make of a
        # convolution kernel's.
        added.append(jnp.stack(update_mlp.contributions(w.reshape(w.shape + (1,) * num_axes), list(along))))
    return added


def _vector_channels(statistic: jax.Array) -> jax.Array:
    """The statistic [3, ...] of every decay, then the inverse roots [6, ...]: a row or column group pair."""
    return jnp.concatenate([statistic, jax.lax.rsqrt(statistic + ROW_COL_EPS)])


def _flatten(x: Inputs, num_axes: int) -> Inputs:
    """The same inputs with the last `num_axes` axes as one."""
    shape = x.g.shape
    lead = shape[: len(shape) - num_axes]
    size = math.prod(shape[len(lead) :])

    def flat(array: jax.Array) -> jax.Array:
        return array.reshape(*array.shape[: array.ndim - num_axes], size)

    def flat_factor(factor: Factor | None) -> Factor | None:
        if isinstance(factor, accumulators.Factors):
            factor = factor.row * factor.col
        return None if factor is None else flat(factor)

    gradient_factor = flat_factor(x.gradient_factor)
    assert gradient_factor is not None
    same = x.momentum_factor is x.gradient_factor
    return Inputs(
        g=flat(x.g),
        p=flat(x.p),
        m=flat(x.m),
        v=flat(x.v),
        diag=None if x.diag is None else flat(x.diag),
        gradient_factor=gradient_factor,
        momentum_factor=gradient_factor if same else flat_factor(x.momentum_factor),
    )
