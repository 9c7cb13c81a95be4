"""Rooms of navix (Pignatelli et al., arXiv 2407.19396), MiniGrid in JAX. All of the grid is seen: float32 [H, W, 3]."""

from typing import Any

import jax
import jax.numpy as jnp
import navix

from envs.base import Discrete
from envs.suites.adapter import Adapter


def knows(name: str) -> bool:
    """Whether the package has an environment of the name."""
    return name in navix.registry()


def make(name: str, **arguments: Any) -> Adapter:
    """arguments: as of `navix.make`, such as `max_steps=50`."""
    env = navix.make(name, **arguments)

    def shown(timestep: Any) -> jax.Array:
        # Tags from 0 to 10, not shades from 0 to 255.
        return timestep.observation.astype(jnp.float32)

    def reset(key: jax.Array) -> tuple[Any, Any]:
        timestep = env.reset(key)
        return shown(timestep), timestep

    def step(key: jax.Array, timestep: Any, action: jax.Array) -> tuple[Any, ...]:
        del key
        timestep = env._step(timestep, action)  # `step` would compute a reset each time besides
        return shown(timestep), timestep, timestep.reward, timestep.is_termination(), timestep.is_truncation()

    return Adapter(reset, step, Discrete(len(env.action_set)), env.max_steps)
