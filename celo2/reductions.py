"""Many sums in one pass.

A learned rule needs some twenty sums of squares per tensor, of quantities that are quickly computed from a few arrays.
Summed one by one, XLA's CPU backend writes each of them to memory and then adds it up in a chain that waits for every
single addition. One variadic reduction computes them all on the fly; reducing four neighbours at a time first gives it
independent additions. Together about six times faster than separate sums.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

_WIDTH = 4  # neighbours added per level: few enough that XLA unrolls the inner loop and vectorises the outer one
_SMALL = 64  # elements that are left to one final reduction
_SHARED = 8  # devices that may hold parts of an axis: it is not cut shorter than that
_ROW = 64
# Levels need memory: (1/4 + 1/16 + ...) floats per element and sum. Larger tensors do without.
_LARGE = 1 << 16


def _add(xs: list[jax.Array], ys: list[jax.Array]) -> list[jax.Array]:
    return [x + y for x, y in zip(xs, ys, strict=True)]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _reduce(arrays: list[jax.Array], axes: tuple[int, ...]) -> list[jax.Array]:
    return list(jax.lax.reduce(arrays, [jnp.zeros([], x.dtype) for x in arrays], _add, axes))


@_reduce.defjvp
def _reduce_jvp(
    axes: tuple[int, ...], primals: tuple[list[jax.Array]], tangents: tuple[list[jax.Array]]
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Variadic reductions have no derivative rule of their own."""
    return _reduce(primals[0], axes), [jnp.sum(t, axes) for t in tangents[0]]


def sums(arrays: Sequence[jax.Array], num_axes: int) -> list[jax.Array]:
    """The sum of every array over its last `num_axes` axes.

    Args:
      arrays: float arrays of one shape [*lead, *axes]; best given as unevaluated elementwise expressions.
      num_axes: how many trailing axes to sum over, at least 1.

    Returns:
      One array [*lead] for each.
    """
    shape = arrays[0].shape
    lead = shape[: len(shape) - num_axes]
    count, last = math.prod(shape[len(lead) :]), shape[-1]
    if len(arrays) == 1:
        # By rows first: XLA vectorises that, but adds up a whole array in one chain (and would merge the two sums).
        rows = jax.lax.optimization_barrier(jnp.sum(arrays[0], -1))
        return [jnp.sum(rows, tuple(range(len(lead), len(shape) - 1)))]
    values, sizes = list(arrays), list(shape[len(lead) :])
    # The arrays may be broadcast along an axis, so the first level keeps to the last axis.
    if last % _WIDTH == 0 and last > _WIDTH and count <= _LARGE:
        values = _in_groups(values, lead, sizes, -1, _WIDTH)
    elif num_axes > 1:
        # In parts that devices may share, where rows are long enough for that to cost no memory to speak of.
        values = _in_groups(values, lead, sizes, -1, max(_ROW, last // _SHARED) if last % _ROW == 0 else last)
    while math.prod(sizes) > _SMALL:
        divisible = [axis for axis, size in enumerate(sizes) if size % _WIDTH == 0 and size >= _WIDTH * _SHARED]
        if not divisible:
            break
        values = _in_groups(values, lead, sizes, max(divisible, key=sizes.__getitem__), _WIDTH)
    axes = tuple(range(len(lead), len(lead) + len(sizes)))
    if math.prod(sizes) > 16 * _SMALL:  # lengths that cannot be halved, which would have to be written down
        return _reduce(values, axes)
    # One array, one sum: devices that hold a part each exchange their sums once.
    return list(jnp.sum(jnp.stack(values), tuple(range(-len(sizes), 0))))


def _in_groups(
    values: list[jax.Array], lead: Sequence[int], sizes: list[int], axis: int, width: int
) -> list[jax.Array]:
    """Adds up groups of `width` neighbours along an axis, whose entry in sizes it changes.

    Axes stay apart, however short they become: arrays that are laid out over devices along any of them are added up
    where they are.
    """
    axis %= len(sizes)
    before, after = sizes[:axis], sizes[axis + 1 :]
    groups = sizes[axis] // width
    sizes[axis] = groups
    grouped = [x.reshape(*lead, *before, groups, width, *after) for x in values]
    return _reduce(grouped, (len(lead) + axis + 1,))
