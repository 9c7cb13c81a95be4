"""Robots of brax (Freeman et al., arXiv 2106.13281), physics in JAX; episodes of 1,000 steps, as brax cuts them."""

from typing import Any

import jax
from brax import envs as brax_envs

from envs.suites.adapter import Adapter, unit_box

TIME_LIMIT = 1000


def knows(name: str) -> bool:
    """Whether the package has an environment of the name."""
    return name in brax_envs._envs


def make(name: str, **arguments: Any) -> Adapter:
    """arguments: as of brax, such as `backend='mjx'`; and `time_limit`."""
    time_limit = arguments.pop("time_limit", TIME_LIMIT)
    return adapted(brax_envs.get_environment(name, **arguments), time_limit)


def adapted(env: Any, time_limit: int) -> Adapter:
    """An environment of brax's kind: `reset(key) -> state`, `step(state, action) -> state`."""

    def shown(state: Any) -> Any:
        # What only a critic may see is left out.
        return state.obs["state"] if isinstance(state.obs, dict) else state.obs

    def reset(key: jax.Array) -> tuple[Any, Any]:
        state = env.reset(key)
        return shown(state), state

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, ...]:
        del key
        state = env.step(state, action)
        return shown(state), state, state.reward, state.done > 0, False

    return Adapter(reset, step, unit_box(env.action_size), time_limit)
