"""How agents that learn action values act: randomly now and then.

Random numbers are an argument, so that a rollout can draw them all at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Noise(NamedTuple):
    """chance: float32 in [0, 1). action: int32, the random action."""

    chance: jax.Array
    action: jax.Array


def draw(key: jax.Array, shape: tuple[int, ...], num_actions: int) -> Noise:
    """Noise of the given shape, from one draw: each call of `jax.random` is a loop of small operations on a CPU."""
    words = jax.random.bits(key, (2, *shape), jnp.uint32)
    chance = (words[0] >> 8).astype(jnp.float32) * 2.0**-24
    return Noise(chance, (words[1] % num_actions).astype(jnp.int32))


def epsilon_greedy(values: jax.Array, noise: Noise, epsilon: jax.Array) -> jax.Array:
    """The random action with probability epsilon, else the one of highest value; int32 [N] from values [N, A]."""
    best = jnp.argmax(values, axis=-1).astype(jnp.int32)
    return jnp.where(noise.chance < epsilon, noise.action, best)


def epsilon(config: Any, hyperparams: Any, iteration: jax.Array) -> jax.Array:
    """Share of random actions: linear from epsilon_start to epsilon_end over exploration_fraction of training."""
    fraction = iteration / (hyperparams.exploration_fraction * config.num_iterations + 1e-9)
    return hyperparams.epsilon_start + (hyperparams.epsilon_end - hyperparams.epsilon_start) * jnp.clip(
        fraction, 0.0, 1.0
    )


def actor(values: Callable[[Any, jax.Array], jax.Array], num_actions: int, epsilon: float) -> Callable[..., jax.Array]:
    """The `act` of an agent with the given action values: greedy, or with a share epsilon of random actions."""

    def act(params: Any, obs: jax.Array, key: jax.Array, greedy: bool = True) -> jax.Array:
        noise = draw(key, obs.shape[:1], num_actions)
        return epsilon_greedy(values(params, obs), noise, jnp.float32(0.0 if greedy else epsilon))

    return act
