"""How tensors are made of matrices: dimension numbers, as `optax.contrib.muon` has them."""

import math
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from optax.contrib import MuonDimensionNumbers

from celo2.labels import path_name

# MuonDimensionNumbers, a tree of them and None, or a function from parameters to one.
DimensionNumbers: TypeAlias = Any
Shape = tuple[int, ...]


class Layout(NamedTuple):
    """A tensor as matrices. order: its axes, those of the batch first, then the input's, then the output's.

    batch: how many matrices lie side by side; None: there is one. fan_in, fan_out: of a matrix.
    """

    order: Shape
    batch: int | None
    fan_in: int
    fan_out: int

    @property
    def shape(self) -> Shape:
        """[fan_in, fan_out], or [batch, fan_in, fan_out]."""
        matrix = (self.fan_in, self.fan_out)
        return matrix if self.batch is None else (self.batch, *matrix)

    def apart(self, x: jax.Array, lead: int = 0) -> jax.Array:
        """The tensor, with `lead` axes of something else before it, as matrices: [*lead, *shape]."""
        order = (*range(lead), *(lead + axis for axis in self.order))
        return x.transpose(order).reshape(*x.shape[:lead], *self.shape)

    def together(self, x: jax.Array, shape: Shape, lead: int = 0) -> jax.Array:
        """The inverse of `apart`, for a tensor of this shape."""
        ordered = x.reshape(*x.shape[:lead], *(shape[axis] for axis in self.order))
        back = sorted(range(len(shape)), key=self.order.__getitem__)
        return ordered.transpose(*range(lead), *(lead + axis for axis in back))


def fan_in_fan_out(params: Any) -> Any:
    """Dimension numbers for kernels [..., in, out]: all axes but the last are the input, whatever the rank.

    So a convolution [height, width, in, out] is one matrix [height * width * in, out].

    Args:
      params: tree of parameters.

    Returns:
      A tree of `optax.contrib.MuonDimensionNumbers`; None below rank 2.
    """

    def numbers(x: Any) -> MuonDimensionNumbers | None:
        rank = jnp.ndim(x)
        return MuonDimensionNumbers(tuple(range(rank - 1)), rank - 1) if rank > 1 else None

    return jax.tree.map(numbers, params)


def resolve(numbers: DimensionNumbers | None, params: Any) -> list[Layout | None]:
    """The layout of every tensor, in the order of the tree; None: as published, the last two axes.

    Args:
      numbers: for all tensors of rank >= 2; or a tree of them, which may say None of a tensor and may have more
        tensors than params (of which `optax.partition` leaves some out); or a function from params to one.
      params: tree of parameters.

    Raises:
      ValueError: for a tensor that the tree does not know, or numbers that do not fit its shape; it names the tensor.
    """
    if callable(numbers):
        numbers = numbers(params)
    if numbers is None:
        return [None] * len(jax.tree.leaves(params))
    tensors = {path_name(path): jnp.shape(x) for path, x in jax.tree.leaves_with_path(params)}
    if isinstance(numbers, MuonDimensionNumbers):
        return [_layout(name, shape, numbers) if len(shape) > 1 else None for name, shape in tensors.items()]
    found = jax.tree.leaves_with_path(numbers, is_leaf=lambda x: x is None or isinstance(x, MuonDimensionNumbers))
    given = {path_name(path): x for path, x in found}
    layouts: list[Layout | None] = []
    for name, shape in tensors.items():
        if name not in given or not isinstance(given[name], MuonDimensionNumbers | None):
            raise ValueError(
                f"no dimension numbers are given for {name} of shape {shape}: they are "
                "optax.contrib.MuonDimensionNumbers, or None for the last two axes"
            )
        layouts.append(None if given[name] is None else _layout(name, shape, given[name]))
    return layouts


def _layout(name: str, shape: Shape, numbers: MuonDimensionNumbers) -> Layout:
    sides = [(x,) if isinstance(x, int) else tuple(x) for x in numbers]
    given = [axis for side in sides for axis in side]
    fine = all(-len(shape) <= axis < len(shape) for axis in given) and all(sides)
    fan_in, fan_out = (tuple(axis % len(shape) for axis in side) for side in sides) if fine else ((), ())
    if not fine or len({*fan_in, *fan_out}) < len(given):
        raise ValueError(f"{name} of shape {shape} cannot have {numbers}: axes must exist, and each is given once")
    batch = tuple(axis for axis in range(len(shape)) if axis not in {*fan_in, *fan_out})
    batch_size, rows, columns = (math.prod(shape[axis] for axis in axes) for axes in (batch, fan_in, fan_out))
    return Layout((*batch, *fan_in, *fan_out), batch_size if batch else None, rows, columns)
