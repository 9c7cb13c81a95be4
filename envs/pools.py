"""What envpool (Weng et al., arXiv 2206.10558) has, and its MuJoCo and Box2D tasks behind `VectorEnv`.

They run on the host (`envs.host`). envpool starts the next episode in the step after an end, whose action it ignores:
that step is not `valid`. Observations of several parts, as those of DeepMind's control suite, become one vector.
"""

import math
import os
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from envs import host, pool_ids
from envs.base import Box, Discrete, EnvSpec, VectorEnv
from envs.cores import num_cores


def why_not() -> str | None:
    """Why envpool cannot be imported, such as for want of a library of the system; None: it can."""
    try:
        os.getcwd()  # without one, envpool ends the process
    except OSError:
        return "the current folder has been removed"
    try:
        import envpool.registration  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def suite(env_id: str) -> str | None:
    """Which part of envpool an id belongs to, such as `envpool.atari`; None: not to envpool."""
    return _suites().get(env_id)


def ids_of(suite: str) -> tuple[str, ...]:
    """Every id of a part of envpool; () where envpool cannot be imported."""
    return tuple(name for name, of in _suites().items() if of == suite)


def ids() -> tuple[str, ...]:
    """Every id that `make` knows; () where envpool cannot be imported."""
    return tuple(name for name in _suites() if name in pool_ids.ALL)


def make(env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of a task, such as `HalfCheetah-v4`, stepped together; copy i is seeded with seed + i.

    Observations are float32, or uint8 where they are pictures [N, H, W, C]. Each call of `reset` starts a pool of its
    own.
    """
    import envpool

    with warnings.catch_warnings():  # of bounds of observations, which are infinite, in float32
        warnings.filterwarnings("ignore", message=".*precision lowered by casting", category=UserWarning)
        told = envpool.make_spec(env_id)
        space, actions = told.observation_space, told.action_space
    parts = getattr(space, "spaces", None)
    if parts is None:
        shape, is_picture = tuple(space.shape), space.dtype == np.uint8
    else:
        shape, is_picture = (sum(math.prod(part.shape) for part in parts.values()),), False
    dtype: Any = np.uint8 if is_picture else np.float32
    kind = np.int32 if hasattr(actions, "n") else actions.dtype

    def shown(obs: Any) -> np.ndarray:
        if parts is None:
            return np.array(obs, dtype)
        return np.concatenate([np.asarray(obs[name], dtype).reshape(num_envs, -1) for name in parts], axis=1)

    def start(seed: int) -> host.Started:
        threads = min(num_envs, num_cores())
        pool = envpool.make(env_id, env_type="gymnasium", num_envs=num_envs, num_threads=threads, seed=seed)
        return host.Started(pool, shown(pool.reset()[0]), np.zeros(num_envs, bool))

    def step(pool: Any, action: np.ndarray) -> host.HostStep:
        obs, reward, terminated, truncated, _ = pool.step(action.astype(kind))
        terminated, truncated = terminated.astype(bool), truncated.astype(bool)
        reward = reward.astype(np.float32)
        over = terminated | truncated
        return host.HostStep(shown(obs), reward, reward, terminated, truncated, over, over)

    spec = EnvSpec(
        id=env_id,
        num_envs=num_envs,
        observation_shape=shape,
        observation_dtype=jnp.dtype(dtype),
        action_space=_action_space(actions),
        time_limit=int(told.config.max_episode_steps),
        next_step_reset=True,
        restorable=False,
    )
    return host.vector_env(spec, start, step)


def _action_space(space: Any) -> Discrete | Box:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    return Box(np.asarray(space.low, np.float32), np.asarray(space.high, np.float32), tuple(space.shape))


def _suites() -> dict[str, str]:
    if why_not() is not None:
        return {}
    import envpool.registration

    return {name: spec[0] for name, spec in envpool.registration.registry.specs.items()}
