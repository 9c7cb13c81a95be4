"""Environments of gymnax (R. T. Lange, 2022; version 1.0 or later) behind `VectorEnv`.

gymnax resets within the step that ends an episode and hands out the true last observation; time limits are
reported as truncations.
"""

from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces

from envs.base import Box, Discrete, EnvSpec, TimeStep, VectorEnv

# Downloads its images when it is made, so it is of no use offline.
NEEDS_NETWORK = ("MNISTBandit-bsuite",)


class GymnaxState(NamedTuple):
    """env: gymnax's state, leaves [N, ...]. episode_return: float32 [N]. episode_length: int32 [N]; both so far."""

    env: Any
    episode_return: jax.Array
    episode_length: jax.Array


def ids() -> tuple[str, ...]:
    """Every gymnax environment that can be made without a network."""
    return tuple(name for name in gymnax.registered_envs if name not in NEEDS_NETWORK)


def make(env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of a registered gymnax environment, with its default parameters."""
    env, params = gymnax.make(env_id)
    return from_env(env, params, env_id, num_envs)


def from_env(env: Any, params: Any, env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of any environment that follows gymnax's interface (six values from `step`)."""
    observation = jax.eval_shape(lambda key: env.reset(key, params)[0], jax.random.key(0))
    limit = getattr(params, "max_steps_in_episode", None)
    spec = EnvSpec(
        id=env_id,
        num_envs=num_envs,
        observation_shape=tuple(observation.shape),
        observation_dtype=observation.dtype,
        action_space=_action_space(env.action_space(params), env_id),
        time_limit=None if limit is None else int(limit),
    )
    reset_all = jax.vmap(env.reset, in_axes=(0, None))
    step_all = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    def reset(key: jax.Array) -> tuple[GymnaxState, jax.Array]:
        obs, state = reset_all(jax.random.split(key, num_envs), params)
        zeros = jnp.zeros(num_envs, jnp.float32)
        return GymnaxState(state, zeros, zeros.astype(jnp.int32)), obs

    def step(key: jax.Array, state: GymnaxState, action: jax.Array) -> tuple[GymnaxState, TimeStep]:
        keys = jax.random.split(key, num_envs)
        obs, env_state, reward, terminated, truncated, info = step_all(keys, state.env, action, params)
        reward = jnp.asarray(reward, jnp.float32)  # some environments reward in int32
        terminated, truncated = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
        done = terminated | truncated
        episode_return = state.episode_return + reward
        episode_length = state.episode_length + 1
        timestep = TimeStep(
            obs=obs,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_obs=info["final_observation"],
            valid=jnp.ones(num_envs, bool),
            episode_return=jnp.where(done, episode_return, 0.0),
            episode_length=jnp.where(done, episode_length, 0),
        )
        new_state = GymnaxState(env_state, jnp.where(done, 0.0, episode_return), jnp.where(done, 0, episode_length))
        return new_state, timestep

    return VectorEnv(spec, reset, step)


def _action_space(space: Any, env_id: str) -> Discrete | Box:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        shape = tuple(space.shape)
        low, high = (np.broadcast_to(np.asarray(x, np.float32), shape) for x in (space.low, space.high))
        return Box(low, high, shape)
    raise ValueError(f"{env_id}: action space {type(space).__name__} is not supported; Discrete and Box are")
