"""Dense layers and an LSTM as the published weights have them: of the schedule, and of the learned baselines."""

from typing import Any

import jax
import jax.numpy as jnp

from celo2.update_mlp import Theta


def array(x: Any) -> jax.Array:
    """A part of theta in float32."""
    return jnp.asarray(x, jnp.float32)


def dense(layer: Theta, x: jax.Array) -> jax.Array:
    """[..., inputs] -> [..., outputs]."""
    return x @ array(layer["w"]) + array(layer["b"])


def step(layer: Theta, x: jax.Array, hidden: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One step: the new hidden state and cell, [..., H]; x: [..., inputs].

    Gates in the order input, cell, forget (plus 1), output.
    """
    gates = dense(layer, jnp.concatenate([x, hidden], axis=-1))
    i, g, f, o = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f + 1) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell
