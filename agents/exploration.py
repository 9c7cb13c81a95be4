"""Random actions now and then. Random numbers are an argument, so that a rollout can draw them all at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Noise(NamedTuple):
    """chance: float32 in [0, 1). action: int32, the random action."""

    chance: jax.Array
    action: jax.Array


def draw(key: jax.Array, shape: tuple[int, ...], num_actions: int) -> Noise:
    """Noise of the given shape."""
    chance_key, action_key = jax.random.split(key)
    return Noise(jax.random.uniform(chance_key, shape), jax.random.randint(action_key, shape, 0, num_actions))


def epsilon_greedy(values: jax.Array, noise: Noise, epsilon: jax.Array) -> jax.Array:
    """The random action with probability epsilon, else the one of highest value; int32 [N] from values [N, A]."""
    best = jnp.argmax(values, axis=-1).astype(jnp.int32)
    return jnp.where(noise.chance < epsilon, noise.action, best)


def linear(start: jax.Array | float, end: jax.Array | float, fraction: jax.Array) -> jax.Array:
    """From start to end as fraction goes from 0 to 1, and end after that."""
    return start + (end - start) * jnp.clip(fraction, 0.0, 1.0)
