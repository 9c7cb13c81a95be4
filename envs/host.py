"""Environments that run on the host, outside the compiled program, behind `VectorEnv`.

Such an environment is state that no array can hold. What a program carries is the number of a group of them, and every
step calls back to the host with it. So one program serves any number of groups: seeds side by side, in turn, or on
several devices each step environments of their own, seeded from the key that `reset` is given.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from envs.base import EnvSpec, TimeStep, VectorEnv


class HostState(NamedTuple):
    """group: int32, number of the group. ended: bool [N], the last step ended an episode, for the agent.

    episode_return: float32 [N], raw. episode_length: int32 [N]. Both of the full episode so far.
    """

    group: jax.Array
    ended: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array


class HostStep(NamedTuple):
    """A step of N environments: arrays of NumPy on the host, of JAX in the program.

    obs: [N, *sent], what is seen next. reward: float32 [N], learned from. raw: float32 [N], reported.
    terminated, truncated: bool [N], for the agent. over: bool [N], a whole episode ended; counts: bool [N], one that is
    reported.
    final_obs: [N, *sent], what the action led to; None where the next episode starts in a step of its own.
    """

    obs: Any
    reward: Any
    raw: Any
    terminated: Any
    truncated: Any
    over: Any
    counts: Any
    final_obs: Any | None = None


class Started(NamedTuple):
    """group: of N environments. obs: [N, *sent], what is seen first. ended: bool [N], the next step only resets."""

    group: Any
    obs: np.ndarray
    ended: np.ndarray


class _Groups:
    """The running groups of one `VectorEnv`; they live as long as it does, or until they are closed."""

    def __init__(self, start: Callable[[int], Started], step: Callable[[Any, np.ndarray], HostStep]):
        self._start, self._step = start, step
        self._groups: list[Any] = []
        self._lock = threading.Lock()  # several devices may start theirs at once

    def start(self, seed: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """A new group: its number, first observations, and whose next step only resets it."""
        group, obs, ended = self._start(int(seed) % 2**30)
        with self._lock:
            self._groups.append(group)
            return np.int32(len(self._groups) - 1), obs, ended

    def step(self, number: np.ndarray, action: np.ndarray) -> tuple[Any, ...]:
        """The same number, and the fields of a `HostStep` that there are."""
        found = self._step(self._groups[int(number)], np.asarray(action))
        return (np.int32(number), *(x for x in found if x is not None))

    def close(self) -> None:
        """Ends all groups; their numbers are given anew."""
        with self._lock:
            self._groups.clear()


def vector_env(
    spec: EnvSpec,
    start: Callable[[int], Started],
    step: Callable[[Any, np.ndarray], HostStep],
    sent: tuple[int, ...] | None = None,
    shown: Callable[[jax.Array], jax.Array] = lambda obs: obs,
) -> VectorEnv:
    """An environment that is stepped by calls to the host. Each call of `reset` starts a group of its own.

    Args:
      spec: with `next_step_reset`, a step after an end is not `valid`.
      start: seed (0 .. 2^30 - 1) -> a group of `spec.num_envs` environments, at the beginning of its episodes.
      step: (group, action [N, ...]) -> what happened. An exception ends the program with its message.
      sent: shape of an observation as the host sends it; None: as of the spec.
      shown: [N, *sent] -> [N, *observation_shape].
    """
    groups, num_envs = _Groups(start, step), spec.num_envs
    number = jax.ShapeDtypeStruct((), jnp.int32)
    obs_like = jax.ShapeDtypeStruct(
        (num_envs, *(spec.observation_shape if sent is None else sent)), spec.observation_dtype
    )
    flags = jax.ShapeDtypeStruct((num_envs,), jnp.bool_)
    floats = jax.ShapeDtypeStruct((num_envs,), jnp.float32)
    # In the order of HostStep.
    more = () if spec.next_step_reset else (obs_like,)
    answer = (number, obs_like, floats, floats, flags, flags, flags, flags, *more)

    def reset(key: jax.Array) -> tuple[HostState, jax.Array]:
        seed = jax.random.bits(key, (), jnp.uint32)
        group, obs, ended = io_callback(groups.start, (number, obs_like, flags), seed)
        zeros = jnp.zeros(num_envs, jnp.float32)
        return HostState(group, ended, zeros, zeros.astype(jnp.int32)), shown(obs)

    def take_step(key: jax.Array, state: HostState, action: jax.Array) -> tuple[HostState, TimeStep]:
        del key  # the environments draw their own random numbers
        # The number comes back from the host, so that the next step cannot be moved before this one.
        group, *found = io_callback(groups.step, answer, state.group, action)
        came = HostStep(*found)
        obs = shown(came.obs)
        valid = ~state.ended if spec.next_step_reset else jnp.ones(num_envs, bool)
        episode_return, episode_length = state.episode_return + came.raw, state.episode_length + valid
        timestep = TimeStep(
            obs=obs,
            reward=came.reward,
            terminated=came.terminated,
            truncated=came.truncated,
            final_obs=obs if came.final_obs is None else shown(came.final_obs),
            valid=valid,
            episode_return=jnp.where(came.counts, episode_return, 0.0),
            episode_length=jnp.where(came.counts, episode_length, 0),
        )
        after = HostState(
            group,
            came.terminated | came.truncated,
            jnp.where(came.over, 0.0, episode_return),
            jnp.where(came.over, 0, episode_length).astype(jnp.int32),
        )
        return after, timestep

    return VectorEnv(spec, reset, take_step, close=groups.close)
