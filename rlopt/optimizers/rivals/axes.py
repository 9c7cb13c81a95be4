"""Matrices along the axes of a tensor, as Shampoo and SOAP have them: one [n, n] per axis of length n, or None."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Matrices = tuple[jax.Array | None, ...]


def chosen(shape: Sequence[int], most: int, least_rank: int) -> tuple[bool, ...]:
    """Which axes get a matrix: those of 2 to `most`, of tensors of at least `least_rank` axes."""
    return tuple(len(shape) >= least_rank and 1 < n <= most for n in shape)


def made(shape: Sequence[int], which: Sequence[bool], make: Callable[[int], jax.Array]) -> Matrices:
    """One matrix for each chosen axis."""
    return tuple(make(n) if yes else None for n, yes in zip(shape, which, strict=True))


def grams(x: jax.Array, which: Sequence[bool]) -> Matrices:
    """X x^T along each chosen axis: sums over all other axes."""

    def gram(axis: int) -> jax.Array:
        flat = jnp.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        return flat @ flat.T

    return tuple(gram(axis) if yes else None for axis, yes in enumerate(which))


def applied(x: jax.Array, matrices: Matrices, transpose: bool = False) -> jax.Array:
    """M x along each axis that has a matrix M; transpose: M^T x."""
    for axis, matrix in enumerate(matrices):
        if matrix is not None:
            x = jnp.moveaxis(jnp.tensordot(matrix, x, axes=(0 if transpose else 1, axis)), 0, axis)
    return x
