"""Environments of gymnasium (Towers et al., arXiv 2407.17032; version 1.1 or later) behind `VectorEnv`, on the host.

`gymnasium:ID` is gymnasium's own vector environment where an id has one (`vector_entry_point`), else copies stepped in
turn (`SyncVectorEnv`). When the next episode starts is told by the mode in the environment's metadata:
  next step: in a step of its own, whose action is ignored and which is not `valid`;
  same step: at once; the true last observation is in the infos;
  disabled: when we reset those environments that ended, which we do at once.
Copies are asked for the same step, so that no step is lost.
"""

from typing import Any

import gymnasium
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode

from envs import host, names, own_code
from envs.base import Box, Discrete, EnvSpec, VectorEnv


def ids() -> tuple[str, ...]:
    """Every id that gymnasium has registered, `gymnasium:` before each; some need packages that are not installed."""
    return tuple(names.GYMNASIUM + name for name in gymnasium.registry)


def check_id(env_id: str) -> None:
    """Refuses an id that gymnasium does not know; that of a module of one's own is not looked up yet."""
    name, _ = names.called(env_id.removeprefix(names.GYMNASIUM))
    if ":" not in name:
        _found(name)


def make(env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of what `gymnasium:ID` or `gymnasium:ID(argument=1)` names.

    Observations are float32, or bytes or truth values where they are such; those that are not one array are flattened
    as gymnasium does it, a single whole number becomes one-hot. Copy i is seeded with seed + i; each call of `reset`
    makes an environment of its own.

    Raises:
      ValueError: for an unknown id, or an environment that cannot be made or has spaces that agents have no use for.
    """
    name, arguments = names.called(env_id.removeprefix(names.GYMNASIUM))
    told = _found(name)
    one = _made(env_id, told, 1, arguments)
    try:
        spec = _spec(env_id, num_envs, one, arguments.get("max_episode_steps", told.max_episode_steps))
        mode, actions = one.metadata["autoreset_mode"], one.single_action_space
    finally:
        one.close()
    kind = spec.observation_dtype

    def start(seed: int) -> host.Started:
        environments = _made(env_id, told, num_envs, arguments)
        obs = np.array(environments.reset(seed=seed)[0], kind)
        return host.Started(environments, obs, np.zeros(num_envs, bool))

    def step(environments: Any, action: np.ndarray) -> host.HostStep:
        moved = action + actions.start if isinstance(actions, gymnasium.spaces.Discrete) else action
        obs, reward, terminated, truncated, info = environments.step(moved.astype(actions.dtype))
        obs, reward = np.array(obs, kind), np.asarray(reward, np.float32)
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        over, final = terminated | truncated, None
        if mode == AutoresetMode.DISABLED:
            final = obs
            if over.any():
                obs = np.array(environments.reset(options={"reset_mask": over.copy()})[0], kind)
        elif mode == AutoresetMode.SAME_STEP:
            final = obs.copy()
            for i in np.flatnonzero(over):
                final[i] = info["final_obs"][i]
        return host.HostStep(obs, reward, reward, terminated, truncated, over, over, final)

    return host.vector_env(spec, start, step)


def _found(name: str) -> Any:
    """What gymnasium knows of an id, whose module is imported first if it names one."""
    module, _, own = name.rpartition(":")
    if module:
        try:
            own_code.module(module)
        except Exception as error:  # somebody's own module may raise anything
            raise ValueError(f"cannot import {module!r} of 'gymnasium:{name}': {error}") from error
    if own in gymnasium.registry:
        return gymnasium.spec(own)
    close = ", ".join(names.GYMNASIUM + other for other in names.nearest(own, gymnasium.registry))
    raise ValueError(
        f"unknown environment 'gymnasium:{name}'; the nearest are {close}; one that a package of yours registers when "
        "it is imported is gymnasium:module:ID"
    )


def _made(env_id: str, told: Any, num_envs: int, arguments: dict[str, Any]) -> Any:
    """A vector environment of gymnasium's.

    Raises:
      ValueError: for whatever it raises.
    """
    try:
        if told.vector_entry_point is not None:
            return gymnasium.make_vec(told, num_envs, "vector_entry_point", **arguments)
        one = gymnasium.make(told, **arguments)
        plain = isinstance(one.observation_space, gymnasium.spaces.Box)
        one.close()
        return gymnasium.make_vec(
            told,
            num_envs,
            "sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
            wrappers=[] if plain else [gymnasium.wrappers.FlattenObservation],
            **arguments,
        )
    except Exception as error:  # somebody's own environment may raise anything
        raise ValueError(f"{env_id}: gymnasium cannot make it: {error}") from error


def _spec(env_id: str, num_envs: int, one: Any, time_limit: int | None) -> EnvSpec:
    space, mode = one.single_observation_space, one.metadata.get("autoreset_mode")
    if not isinstance(space, gymnasium.spaces.Box):
        raise ValueError(f"{env_id}: observations must be one array, got {space}")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"{env_id}: metadata['autoreset_mode'] must be one of gymnasium's AutoresetMode, got {mode!r}; without it "
            "it is not known which observation belongs to which episode"
        )
    dtype = space.dtype if space.dtype in (np.uint8, np.bool_) else np.float32
    return EnvSpec(
        id=env_id,
        num_envs=num_envs,
        observation_shape=tuple(space.shape),
        observation_dtype=jnp.dtype(dtype),
        action_space=_action_space(env_id, one.single_action_space),
        time_limit=time_limit,
        next_step_reset=mode == AutoresetMode.NEXT_STEP,
        restorable=False,
    )


def _action_space(env_id: str, space: Any) -> Discrete | Box:
    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return Box(np.asarray(space.low, np.float32), np.asarray(space.high, np.float32), tuple(space.shape))
    raise ValueError(f"{env_id}: actions must be Discrete or a Box of real numbers, got {space}")
