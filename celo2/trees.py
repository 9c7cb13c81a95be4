"""From parameter trees to single tensors and back: what every learned rule does around its own arithmetic."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from celo2 import accumulators

GRADIENT_CLIP = 1000.0

Shape = tuple[int, ...]
TensorStep = Callable[[jax.Array, jax.Array, accumulators.Accumulators], tuple[jax.Array, accumulators.Accumulators]]


def as_is(shape: Shape) -> Shape:
    """Every tensor in its own shape, scalars as (1,)."""
    return shape or (1,)


def as_matrix(shape: Shape) -> Shape:
    """Tensors above rank 2 as [all axes but the last, last]: fan-in x fan-out of a kernel [..., in, out]."""
    return (math.prod(shape[:-1]), shape[-1]) if len(shape) > 2 else as_is(shape)


def clipped(g: jax.Array) -> jax.Array:
    """The gradient in float32, cut to +-1000; NaN counts as 0: one bad batch must not stay in the statistics."""
    g = jnp.asarray(g, jnp.float32)
    return jnp.where(jnp.isnan(g), 0.0, jnp.clip(g, -GRADIENT_CLIP, GRADIENT_CLIP))


def init_statistics(
    params: Any,
    num_momenta: int,
    num_factored: int,
    shape_of: Callable[[Shape], Shape] = as_is,
    with_nu: bool = False,
) -> accumulators.Accumulators:
    """Zero statistics of every parameter: an `accumulators.Accumulators` whose fields are trees like params.

    Momenta and second moments have the parameter's own shape and sharding; factored statistics the shape that
    `shape_of(shape)` leads to.
    """
    leaves, treedef = jax.tree.flatten(params)
    accs = []
    for p in leaves:
        zeros = jnp.zeros_like(p, jnp.float32).reshape(shape_of(jnp.shape(p)))
        acc = accumulators.init(zeros, num_momenta, num_factored, with_nu)
        accs.append(_stored(acc, jnp.shape(p)))
    return _columns(treedef, accs)


def map_tensors(
    step: TensorStep,
    updates: Any,
    params: Any,
    statistics: tuple[Any, ...],
    shape_of: Callable[[Shape], Shape] = as_is,
) -> tuple[Any, accumulators.Accumulators]:
    """Applies a rule tensor by tensor.

    Args:
      step: (g, p, statistics) -> (step, statistics), float32, all in the shape `shape_of(p.shape)`; g is clipped.
      updates: gradients. params: parameters, same tree. statistics: as `init_statistics` gives them.
      shape_of: see `init_statistics`.

    Returns:
      The steps, in their parameters' shapes and dtypes, and the new statistics.

    Raises:
      ValueError: for a gradient of another shape than its parameter.
    """
    treedef: Any
    grads, treedef = jax.tree.flatten(updates)
    columns = [treedef.flatten_up_to(tree) for tree in statistics]
    steps, accs = [], []
    for g, p, *fields in zip(grads, treedef.flatten_up_to(params), *columns, strict=True):
        shape, dtype = jnp.shape(p), jnp.result_type(p)
        if jnp.shape(g) != shape:
            raise ValueError(f"a gradient of shape {jnp.shape(g)} was given for a parameter of shape {shape}")
        work = shape_of(shape)
        acc = accumulators.Accumulators(*fields)
        acc = _reshaped(acc, work)
        value, acc = step(clipped(g).reshape(work), jnp.asarray(p, jnp.float32).reshape(work), acc)
        steps.append(value.reshape(shape).astype(dtype))
        accs.append(_stored(acc, shape))
    return treedef.unflatten(steps), _columns(treedef, accs)


def _stored(acc: accumulators.Accumulators, shape: Shape) -> accumulators.Accumulators:
    return _reshaped(acc, as_is(shape))


def _reshaped(acc: accumulators.Accumulators, shape: Shape) -> accumulators.Accumulators:
    """The statistics of the parameter's own shape in another one."""
    nu = None if acc.nu is None else acc.nu.reshape(shape)
    return acc._replace(m=acc.m.reshape(-1, *shape), v=acc.v.reshape(shape), nu=nu)


def _columns(treedef: Any, accs: list[accumulators.Accumulators]) -> accumulators.Accumulators:
    fields = accumulators.Accumulators._fields
    return accumulators.Accumulators(*(treedef.unflatten([getattr(acc, name) for acc in accs]) for name in fields))
