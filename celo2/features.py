"""Input features of the per-parameter MLP and the first layer that reads them.

The published first layer is `sum_k normalise(group_k) @ w0__k` over 14 groups (30 channels), each divided
by its root mean square over the last two axes of the tensor. Two rearrangements leave the result
unchanged and make it cheap:

* a normalising scale is one number per channel (and matrix slice), so it is folded into the weights and
  normalising costs one reduction per channel, no pass over the tensor;
* row and column statistics (groups 9-12) are constant along an axis, so their part of the first layer is
  computed on vectors and added by broadcasting.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from celo2 import accumulators, update_mlp

FEATURE_CLIP = 0.1
ROW_COL_EPS = 1e-8


class Channels(NamedTuple):
    """Channels of one tensor, grouped by the shape they vary over; each with its index among the 30.

    elementwise: arrays of the tensor's shape. row / col: arrays constant along axis d0 / d1.
    """

    elementwise: list[tuple[int, jax.Array]]
    row: list[tuple[int, jax.Array]]
    col: list[tuple[int, jax.Array]]


def _offsets() -> list[int]:
    starts = [0]
    for width in update_mlp.GROUP_WIDTHS:
        starts.append(starts[-1] + width)
    return starts


_START = _offsets()


Factor = accumulators.Factors | jax.Array


def channels(
    g: jax.Array,
    p: jax.Array,
    acc: accumulators.Accumulators,
    gradient_factor: Factor,
    momentum_factor: Factor,
    rsqrt_eps: float,
) -> Channels:
    """The features of one tensor.

    Args:
      g: clipped gradient, float32. p: parameter, float32, same shape.
      acc: statistics after this gradient (bias-corrected if the rule asks for it).
      gradient_factor: what multiplies g in group 7: `accumulators.factors` for rank >= 2,
        `accumulators.diagonal_factor` below, of the statistics without bias correction.
      momentum_factor: what multiplies m in group 13 (rank >= 2), from `acc`.
      rsqrt_eps: epsilon in r = rsqrt(v + eps).

    Returns:
      All 30 channels for rank >= 2; the 15 of groups 0-8 below.
    """
    r = jax.lax.rsqrt(acc.v + rsqrt_eps)
    moments = list(acc.m)
    groups: list[list[jax.Array]] = [
        [g],
        [jnp.clip(g, -FEATURE_CLIP, FEATURE_CLIP)],
        [p],
        moments,
        [acc.v],
        [m * r for m in moments],
        [r],
        [g * f for f in _per_decay(gradient_factor)],
        [g * r],
    ]
    elementwise = [(_START[k] + i, x) for k, group in enumerate(groups) for i, x in enumerate(group)]
    if acc.row is None or acc.col is None:  # below rank 2
        return Channels(elementwise, [], [])
    factored_moments = zip(moments, _per_decay(momentum_factor), strict=True)
    elementwise += [(_START[13] + i, m * f) for i, (m, f) in enumerate(factored_moments)]
    row = [(_START[9] + i, x) for i, x in enumerate(acc.row)]
    row += [(_START[11] + i, jax.lax.rsqrt(x + ROW_COL_EPS)) for i, x in enumerate(acc.row)]
    col = [(_START[10] + i, x) for i, x in enumerate(acc.col)]
    col += [(_START[12] + i, jax.lax.rsqrt(x + ROW_COL_EPS)) for i, x in enumerate(acc.col)]
    return Channels(elementwise, row, col)


def _per_decay(factor: Factor) -> list[jax.Array]:
    if isinstance(factor, accumulators.Factors):
        return [row * col for row, col in zip(factor.row, factor.col, strict=True)]
    return list(factor)


def inverse_rms(x: jax.Array, axes: tuple[int, ...], eps: float) -> jax.Array:
    """rsqrt(eps + mean of x^2 over axes), axes kept."""
    return jax.lax.rsqrt(eps + jnp.mean(jnp.square(x), axis=axes, keepdims=True))


def normalised_first_layer(
    weights: update_mlp.LayerWeights, features: Channels, axes: tuple[int, ...], eps: float
) -> list[jax.Array]:
    """`sum_k normalise(group_k) @ w0__k`, as one array of the tensor's shape per hidden unit."""
    w0 = jnp.concatenate(weights.w0)  # [30, hidden]

    def part(group: list[tuple[int, jax.Array]]) -> list[jax.Array]:
        index = [i for i, _ in group]
        arrays = [x for _, x in group]
        scale = jnp.stack([inverse_rms(x, axes, eps) for x in arrays])  # [channels, ..., 1, 1]
        selected = w0[jnp.asarray(index)]
        scaled = selected.reshape(selected.shape + (1,) * (scale.ndim - 1)) * scale[:, None]
        return update_mlp.first_layer(scaled, arrays)

    parts = [part(group) for group in features if group]
    return [sum(contributions[1:], contributions[0]) for contributions in zip(*parts, strict=True)]
