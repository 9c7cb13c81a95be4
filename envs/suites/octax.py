"""CHIP-8 games of octax (Radji et al., arXiv 2510.01764). An agent sees the last four pictures, bool [64, 32, 4]."""

from typing import Any

import jax
import jax.numpy as jnp
from octax.environments import create_environment

from envs.base import Discrete
from envs.suite_ids import SUITES
from envs.suites.adapter import Adapter


def knows(name: str) -> bool:
    """Whether the package has a game of the name."""
    return name in SUITES["octax"].ids


def make(name: str, **arguments: Any) -> Adapter:
    """arguments: as of octax, such as `frame_skip=2`."""
    env, _ = create_environment(name, **arguments)

    def shown(frames: jax.Array) -> jax.Array:
        return jnp.moveaxis(frames, 0, -1) != 0

    def reset(key: jax.Array) -> tuple[Any, Any]:
        state, obs, _ = env.reset(key)
        return shown(obs), state

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, ...]:
        del key
        state, obs, reward, terminated, truncated, _ = env.step(state, action)
        return shown(obs), state, reward, terminated, truncated

    return Adapter(reset, step, Discrete(env.num_actions), env.max_num_steps_per_episodes)
