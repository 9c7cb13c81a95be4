"""From parameter trees to single tensors and back: what every learned rule does around its own arithmetic."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import meta

from celo2 import accumulators
from celo2.layouts import DimensionNumbers, Layout, Shape, resolve

GRADIENT_CLIP = 1000.0

TensorStep = Callable[[jax.Array, jax.Array, accumulators.Accumulators], tuple[jax.Array, accumulators.Accumulators]]


def as_is(shape: Shape) -> Shape:
    """Every tensor in its own shape, scalars as (1,)."""
    return shape or (1,)


def clipped(g: jax.Array) -> jax.Array:
    """The gradient in float32, cut to +-1000; NaN counts as 0: one bad batch must not stay in the statistics."""
    g = jnp.asarray(g, jnp.float32)
    return jnp.where(jnp.isnan(g), 0.0, jnp.clip(g, -GRADIENT_CLIP, GRADIENT_CLIP))


def floats(tree: Any) -> list[jax.Array]:
    """The leaves of a tree in float32, in order."""
    return [jnp.asarray(x, jnp.float32) for x in jax.tree.leaves(tree)]


def check_shape(g: Any, p: Any) -> None:
    """Refuses a gradient of another shape than its parameter's.

    Raises:
      ValueError: naming both.
    """
    if jnp.shape(g) != jnp.shape(p):
        raise ValueError(f"a gradient of shape {jnp.shape(g)} was given for a parameter of shape {jnp.shape(p)}")


def init_statistics(
    params: Any,
    num_momenta: int,
    num_factored: int,
    dimension_numbers: DimensionNumbers | None = None,
    with_nu: bool = False,
    with_output: bool = False,
) -> accumulators.Accumulators:
    """Zero statistics of every parameter: an `accumulators.Accumulators` whose fields are trees like params.

    Momenta and second moments have the parameter's own shape and sharding; factored statistics that of the matrices
    that `layouts.resolve(dimension_numbers, params)` makes of it.
    """

    def init(x: jax.Array) -> accumulators.Accumulators:
        return accumulators.init(x, num_momenta, num_factored, with_nu, with_output)

    boxes, treedef = jax.tree.flatten(params, is_leaf=_is_box)
    params = meta.unbox(params)
    accs = []
    for p, box, layout in zip(jax.tree.leaves(params), boxes, resolve(dimension_numbers, params), strict=True):
        zeros = jnp.zeros_like(p, jnp.float32).reshape(as_is(jnp.shape(p)))
        if layout is not None:
            zeros = layout.apart(zeros)
        acc = init(zeros) if layout is None else _per_matrix(init, layout, (0,))(zeros)
        accs.append(_boxed(_stored(acc, jnp.shape(p), layout), box, layout))
    return _columns(treedef, accs)


def map_tensors(
    step: TensorStep,
    updates: Any,
    params: Any,
    statistics: tuple[Any, ...],
    dimension_numbers: DimensionNumbers | None = None,
    clip: Callable[[jax.Array], jax.Array] = clipped,
) -> tuple[Any, accumulators.Accumulators]:
    """Applies a rule tensor by tensor; where a layout has a batch, matrix by matrix.

    Args:
      step: (g, p, statistics) -> (step, statistics), float32, all in the shape of the parameter (of a scalar, [1]) or,
        where there is a layout, of a matrix; g is clipped.
      updates: gradients. params: parameters, same tree. statistics: as `init_statistics` gives them.
      dimension_numbers: see `init_statistics`.
      clip: what a gradient goes through first.

    Returns:
      The steps, in their parameters' shapes and dtypes, and the new statistics.

    Raises:
      ValueError: for a gradient of another shape than its parameter, or what `layouts.resolve` refuses.
    """
    treedef: Any
    boxed_treedef: Any
    boxes, boxed_treedef = jax.tree.flatten(updates, is_leaf=_is_box)
    updates, params, statistics = meta.unbox((updates, params, statistics))
    grads, treedef = jax.tree.flatten(updates)
    columns = [treedef.flatten_up_to(tree) for tree in (params, *statistics)]
    steps, accs = [], []
    layouts = resolve(dimension_numbers, updates)
    for g, box, layout, p, *fields in zip(grads, boxes, layouts, *columns, strict=True):
        shape, dtype = jnp.shape(p), jnp.result_type(p)
        check_shape(g, p)
        g, p = (x.reshape(as_is(shape)) for x in (clip(g), jnp.asarray(p, jnp.float32)))
        acc = accumulators.Accumulators(*fields)
        if layout is None:
            acc = _in_shape(acc, as_is(shape))
            value, acc = step(g, p, acc)
        else:
            acc = acc._replace(m=layout.apart(acc.m, lead=1), **_map_own(layout.apart, acc))
            value, acc = _per_matrix(step, layout, (0, 0, _BATCH_AXES))(layout.apart(g), layout.apart(p), acc)
            value = layout.together(value, shape)
        value = value.reshape(shape).astype(dtype)
        steps.append(box.replace_boxed(value) if _is_box(box) else value)
        accs.append(_boxed(_stored(acc, shape, layout), box, layout))
    return boxed_treedef.unflatten(steps), _columns(boxed_treedef, accs)


# Behind the axis of the decays, where there is one.
_BATCH_AXES = accumulators.Accumulators(m=1, v=0, row=1, col=1, diag=1, nu=0, output=0)  # type: ignore[arg-type]


def _per_matrix(function: Callable[..., Any], layout: Layout, in_axes: tuple[Any, ...]) -> Callable[..., Any]:
    """The function for every matrix of a layout on its own, so that stacked layers learn what separate ones do."""
    if layout.batch is None:
        return function
    with_step = len(in_axes) > 1
    return jax.vmap(function, in_axes=in_axes, out_axes=(0, _BATCH_AXES) if with_step else _BATCH_AXES)


def _map_own(change: Callable[..., jax.Array], acc: accumulators.Accumulators) -> dict[str, Any]:
    """The second moments, which have the parameter's own shape, changed."""
    return {"v": change(acc.v), "nu": None if acc.nu is None else change(acc.nu)}


def _stored(acc: accumulators.Accumulators, shape: Shape, layout: Layout | None) -> accumulators.Accumulators:
    """Statistics as the state has them: momenta and second moments in the shape of the parameter."""
    if layout is None:
        return _in_shape(acc, as_is(shape))
    own = _map_own(lambda x: layout.together(x, shape), acc)
    return acc._replace(m=layout.together(acc.m, shape, lead=1), **own)


def _in_shape(acc: accumulators.Accumulators, shape: Shape) -> accumulators.Accumulators:
    return acc._replace(m=acc.m.reshape(-1, *shape), **_map_own(lambda x: x.reshape(shape), acc))


def _is_box(x: Any) -> bool:
    """Whether it is a box of flax around a tensor; one around nothing, which `optax.partition` leaves, is none."""
    return isinstance(x, meta.AxisMetadata) and bool(jax.tree.leaves(x))


def _boxed(acc: accumulators.Accumulators, box: Any, layout: Layout | None) -> Any:
    """Statistics in boxes like their parameter's (`flax.linen.with_partitioning`), where it is in one.

    So `flax.linen.get_partition_spec` of a state lays them out as the parameter, the axis of the decays whole.
    """
    if not _is_box(box):
        return acc
    stacked = box.add_axis(0, {meta.PARTITION_NAME: None})

    def factored(x: jax.Array | None) -> Any:
        names = getattr(stacked, "names", None)
        if x is None or names is None or layout is not None:
            return x  # of other axes than the parameter's
        padded = (*names, *[None] * x.ndim)[: x.ndim]
        kept = tuple(name if size > 1 else None for name, size in zip(padded, x.shape, strict=True))
        return stacked.replace(value=x, names=kept)

    return acc._replace(
        m=stacked.replace_boxed(acc.m),
        v=box.replace_boxed(acc.v),
        nu=None if acc.nu is None else box.replace_boxed(acc.nu),
        row=factored(acc.row),
        col=factored(acc.col),
        diag=None if acc.diag is None else stacked.replace_boxed(acc.diag),
    )


def _columns(treedef: Any, accs: list[accumulators.Accumulators]) -> accumulators.Accumulators:
    fields = accumulators.Accumulators._fields
    return accumulators.Accumulators(*(treedef.unflatten([getattr(acc, name) for acc in accs]) for name in fields))
