"""What several baselines are built of: LSTM rows per tensor, means and variances."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from celo2 import lstm, trees
from celo2.update_mlp import Theta


class Rows(NamedTuple):
    """State of an LSTM of size H with a row for each of n tensors: hidden, cell, float32 [n, H]."""

    hidden: jax.Array
    cell: jax.Array


def start_rows(theta: Theta, count: int) -> Rows:
    """Every tensor's row as theta has it."""
    start = theta["lstm_init_state"]
    return Rows(*(jnp.tile(lstm.array(start[name]), (count, 1)) for name in Rows._fields))


def spread(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of all elements."""
    mean = jnp.mean(x)
    return mean, jnp.mean(jnp.square(x - mean))


def finite(g: jax.Array) -> jax.Array:
    """A gradient in float32, not clipped: NaN counts as 0, infinite entries as +-1000."""
    g = jnp.asarray(g, jnp.float32)
    return jnp.nan_to_num(g, nan=0.0, posinf=trees.GRADIENT_CLIP, neginf=-trees.GRADIENT_CLIP)


def steps_like(params: Any, steps: Sequence[jax.Array]) -> Any:
    """Steps, in the order of the leaves, as a tree in the parameters' shapes and dtypes."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(params)
    shaped = [s.reshape(jnp.shape(p)).astype(jnp.result_type(p)) for s, p in zip(steps, leaves, strict=True)]
    return treedef.unflatten(shaped)


def check_shapes(updates: Any, params: Any, rule: str) -> None:
    """Refuses missing parameters and gradients of other shapes.

    Raises:
      ValueError: naming the shapes.
    """
    if params is None:
        raise ValueError(f"{rule} reads the parameters: call update(grads, state, params)")
    for g, p in zip(jax.tree.leaves(updates), jax.tree.leaves(params), strict=True):
        trees.check_shape(g, p)
