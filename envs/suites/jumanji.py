"""Puzzles, games and routing of jumanji (Bonnet et al., arXiv 2306.09884).

Observations of several parts, action masks among them, become one vector. An action of several whole numbers becomes
one number. What an illegal action does is for the environment: no action is masked.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jumanji
import numpy as np

from envs.base import Box, Discrete
from envs.suites.adapter import Adapter

# Loads its levels from Hugging Face when it is made.
NEEDS_NETWORK = ("Sokoban-v0",)
# Combinations of whole numbers that are one action.
MOST_ACTIONS = 10_000


def knows(name: str) -> bool:
    """Whether the package has an environment of the name."""
    return name in jumanji.registered_environments()


def make(name: str, **arguments: Any) -> Adapter:
    """arguments: as of the environment's class, such as `time_limit=100`.

    Raises:
      ValueError: for levels that would be downloaded, or actions that agents have no use for.
    """
    if name in NEEDS_NETWORK and "generator" not in arguments:
        raise ValueError(
            f"jumanji:{name} downloads its levels from Hugging Face when it is made, and is not offered; a function of "
            "yours that makes it with a generator of your own can be (`--env module:name`)"
        )
    env = jumanji.make(name, **arguments)
    space, to_env = _actions(name, env.action_spec)

    def reset(key: jax.Array) -> tuple[Any, Any]:
        state, timestep = env.reset(key)
        return timestep.observation, state

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, ...]:
        del key
        state, timestep = env.step(state, to_env(action))
        over = timestep.last()
        # A last step with a future was cut off.
        terminated = over & jnp.all(timestep.discount == 0)
        return timestep.observation, state, jnp.sum(timestep.reward), terminated, over & ~terminated

    return Adapter(reset, step, space, getattr(env, "time_limit", None))


def _actions(name: str, spec: Any) -> tuple[Discrete | Box, Any]:
    """What agents choose from, and how it becomes an action of the environment."""
    values = getattr(spec, "num_values", None)
    if values is None and np.issubdtype(spec.dtype, np.floating):
        low, high = (np.broadcast_to(np.asarray(x, np.float32), spec.shape) for x in (spec.minimum, spec.maximum))
        return Box(low, high, tuple(spec.shape)), lambda action: action.astype(spec.dtype)
    if values is not None and np.ndim(values) == 0:
        return Discrete(int(values)), lambda action: action.astype(spec.dtype)
    counts = tuple(int(n) for n in np.ravel(values)) if values is not None else ()
    if not counts or math.prod(counts) > MOST_ACTIONS:
        raise ValueError(
            f"jumanji:{name}: actions must be real numbers or at most {MOST_ACTIONS:,} combinations of whole numbers, "
            f"got {spec}"
        )

    def joined(action: jax.Array) -> jax.Array:
        parts = jnp.stack(jnp.unravel_index(action, counts), axis=-1)
        return parts.reshape(spec.shape).astype(spec.dtype)

    return Discrete(math.prod(counts)), joined
