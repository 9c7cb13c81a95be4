"""Initial weights."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]


def orthogonal(gain: float) -> Initializer:
    """Random orthogonal matrices times `gain`: the rows or the columns, whichever are fewer, are orthonormal.

    The same distribution as `jax.nn.initializers.orthogonal`, by Gram-Schmidt instead of LAPACK's QR. A batched
    QR (such as initialising under `vmap` over seeds) waits inside XLA's CPU thread pool for work that it queues to
    that same pool; when as many of them run as the pool has threads, the program hangs for ever.

    Args:
      gain: multiplies the matrix.

    Returns:
      init(key, shape, dtype=float32); shape [..., n_out], leading axes are fan-in (HWIO kernels too).

    Reference: Saxe et al., arXiv 1312.6120.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, **kwargs: Any) -> jax.Array:
        del kwargs  # flax passes out_sharding
        rows, columns = math.prod(shape[:-1]), shape[-1]
        gaussian = jax.random.normal(key, (max(rows, columns), min(rows, columns)), jnp.float32)

        def add_column(i: jax.Array, basis: jax.Array) -> jax.Array:
            column = gaussian[:, i]
            for _ in range(2):  # the second pass removes what rounding left of the first
                column = column - basis @ (basis.T @ column)
            return basis.at[:, i].set(column / jnp.linalg.norm(column))

        basis = jax.lax.fori_loop(0, gaussian.shape[1], add_column, jnp.zeros_like(gaussian))
        matrix = basis if rows >= columns else basis.T
        return (gain * matrix).reshape(shape).astype(dtype)

    return init
