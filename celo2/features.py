"""Input features of the per-parameter MLP and the first layer that reads them.

The published first layer is `sum_k normalise(group_k) @ w0__k` over 14 groups (30 channels), each divided by its root
mean square over some trailing axes of the tensor. Three rearrangements leave the result unchanged and make it cheap:

* a normalising scale is one number per channel (and matrix slice), so it is folded into the weights;
* row and column statistics (groups 9-12) are constant along an axis, so their part of the first layer is computed on
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
ROW_GROUPS = (9, 11)
COL_GROUPS = (10, 12)
# Groups that change their sign with gradient and parameters; the others, made of squares, do not.
ODD_GROUPS = (0, 1, 2, 3, 5, 7, 8, 13)

# The elementwise loops over a tensor are vectorised along its last axis. XLA's CPU backend gives up on short axes that
# are no multiple of the vector width (ten classes, six actions); such tensors are flattened first.
_NARROW = 32
_VECTOR = 8

Factor = accumulators.Factors | jax.Array


class Inputs(NamedTuple):
    """All that the features of one tensor of shape S are made of; float32.

    g: clipped gradient, S. p: parameter, S. m: momenta [3, *S]. v: second moment, S.
    diag: unfactored squares [3, *S] where the rule reads them (Celo, below rank 2), else None.
    gradient_factor: what multiplies g in group 7. momentum_factor: what multiplies m in group 13; None where the rule
      leaves groups 9-13 out (Celo2, below rank 2). Both: `accumulators.Factors` from rank 2 on, else [3, *S].
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


def elementwise(x: Inputs, rsqrt_eps: float) -> tuple[list[int], list[jax.Array]]:
    """Channels of the tensor's own shape: (group numbers, arrays), groups in order, their channels in order.

    Args:
      x: see `Inputs`.
      rsqrt_eps: epsilon in r = rsqrt(v + eps).
    """
    r = jax.lax.rsqrt(x.v + rsqrt_eps)
    moments = list(x.m)
    groups: dict[int, list[jax.Array]] = {
        0: [x.g],
        1: [jnp.clip(x.g, -FEATURE_CLIP, FEATURE_CLIP)],
        2: [x.p],
        3: moments,
        4: [x.v],
        5: [m * r for m in moments],
        6: [r],
        7: [x.g * f for f in _per_decay(x.gradient_factor)],
        8: [x.g * r],
    }
    if x.diag is not None:
        squares, roots = list(x.diag), list(jax.lax.rsqrt(x.diag + ROW_COL_EPS))
        groups |= {9: squares, 10: squares, 11: roots, 12: roots}
    if x.momentum_factor is not None:
        groups[13] = [m * f for m, f in zip(moments, _per_decay(x.momentum_factor), strict=True)]
    return list(groups), [channel for group in groups.values() for channel in group]


def _per_decay(factor: Factor) -> list[jax.Array]:
    if isinstance(factor, accumulators.Factors):
        return [row * col for row, col in zip(factor.row, factor.col, strict=True)]
    return list(factor)


def first_layer(
    weights: update_mlp.LayerWeights,
    x: Inputs,
    row: jax.Array | None,
    col: jax.Array | None,
    num_axes: int,
    eps: float,
    rsqrt_eps: float,
    odd: bool = False,
) -> list[jax.Array] | FirstLayer:
    """`b0 + sum_k normalise(group_k) @ w0__k` for one tensor.

    Args:
      weights: the MLP.
      x: see `Inputs`.
      row: factored statistics [3, *S with one axis 1] for groups 9 and 11, or None. col: likewise for 10 and 12.
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
    totals = sums([jnp.square(c) for c in channels], x.g.ndim - len(lead))
    sizes = [math.prod(shape[len(lead) :])] * len(channels)
    parts = [(s, numbers) for s, numbers in ((row, ROW_GROUPS), (col, COL_GROUPS)) if s is not None]
    for statistic, numbers in parts:
        groups += numbers
        # In a convolution kernel the statistic may be constant along a leading axis instead (length 1 there).
        vectors = _vector_channels(statistic.reshape(*statistic.shape[: 1 + len(lead)], -1))
        totals += [jnp.broadcast_to(t, lead) for t in sums([jnp.square(c) for c in vectors], 1)]
        sizes += [vectors.shape[-1]] * len(vectors)
    mean_squares = jnp.stack(totals) / np.asarray(sizes, np.float32).reshape((-1,) + (1,) * len(lead))
    w0 = jnp.concatenate([weights.w0[k] for k in groups])
    scaled = w0.reshape(w0.shape + (1,) * len(lead)) * jax.lax.rsqrt(eps + mean_squares)[:, None]

    added = [weights.b0.reshape((-1,) + (1,) * x.g.ndim)]
    start = len(channels)
    for statistic, _ in parts:
        vectors = _vector_channels(statistic)
        w = scaled[start : start + len(vectors)]
        # Not as one product and sum: XLA's CPU backend crashes on the array of rank 8 that two vmaps make of a
        # convolution kernel's.
        summed = update_mlp.first_layer(w.reshape(w.shape + (1,) * num_axes), list(vectors))
        added.append(jnp.stack(summed))
        start += len(vectors)
    if flat and parts:
        total = jnp.broadcast_to(added[1] + added[2], (len(added[0]), *shape))
        added = [added[0], total.reshape(-1, *x.g.shape)]
    scaled = scaled[: len(channels)].reshape(len(channels), -1, *lead, *(1,) * (x.g.ndim - len(lead)))
    # Without the barrier XLA would keep the channels of the first pass in memory for the second.
    x, scaled, added = jax.lax.optimization_barrier((x, scaled, added))
    channels = elementwise(x, rsqrt_eps)[1]

    def with_added(contributions: list[jax.Array]) -> list[jax.Array]:
        return [sum((part[j] for part in added), h) for j, h in enumerate(contributions)]

    if not odd:
        return with_added(update_mlp.first_layer(scaled, channels))
    is_odd = [k in ODD_GROUPS for k in groups for _ in range(update_mlp.GROUP_WIDTHS[k])][: len(channels)]

    def part(which: bool) -> list[jax.Array]:
        return update_mlp.first_layer(scaled, channels, [i for i, value in enumerate(is_odd) if value is which])

    return FirstLayer(even=with_added(part(False)), odd=part(True))


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
