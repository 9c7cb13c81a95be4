"""Craftax and Craftax-Classic (Matthews et al., arXiv 2402.16801)."""

from typing import Any

import jax
from craftax.craftax_env import make_craftax_env_from_name

from envs.base import Discrete
from envs.suite_ids import SUITES
from envs.suites.adapter import Adapter


def knows(name: str) -> bool:
    """Whether the package has an environment of the name."""
    return name in SUITES["craftax"].ids


def make(name: str, **arguments: Any) -> Adapter:
    """arguments: changes of the environment's parameters, such as `max_timesteps=1000`."""
    env = make_craftax_env_from_name(name, auto_reset=False)
    params = env.default_params.replace(**arguments)
    limit = int(params.max_timesteps)
    # Its own end is death, victory or the time limit; with the limit out of the way, what is left is an end.
    endless = params.replace(max_timesteps=2**30)

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, ...]:
        obs, state, reward, terminated, _ = env.step_env(key, state, action, endless)
        return obs, state, reward, terminated, False

    return Adapter(lambda key: env.reset_env(key, params), step, Discrete(env.num_actions), limit)
