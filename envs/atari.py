"""Atari games of envpool (Weng et al., arXiv 2206.10558) behind `VectorEnv`.

A pool of emulators is state that no array can hold. What a program carries is the pool's number, and every step calls
back to the host with it. So one program serves any number of pools: seeds side by side, in turn, or on several devices
each play games of their own, seeded from the key that `reset` is given. (envpool's bridge to XLA has the address of one
pool written into the program, which can then be neither mapped over seeds nor kept in the cache of compiled programs.)

envpool starts the next game in the step after an end, whose action it ignores: that step is not `valid`.
"""

import dataclasses
import os
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from envs.atari_config import FULL_GAMES, AtariConfig
from envs.base import Discrete, EnvSpec, TimeStep, VectorEnv
from envs.cores import num_cores

SUITE = "envpool.atari"


class AtariState(NamedTuple):
    """pool: int32, number of the pool. ended: bool [N], the last step ended a life or a game.

    episode_return: float32 [N], raw. episode_length: int32 [N]. Both of the full game so far.
    """

    pool: jax.Array
    ended: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array


def _start(env_id: str, num_envs: int, config: AtariConfig, seed: int, **more: Any) -> Any:
    """A pool of envpool's; game i of it is seeded with seed + i."""
    import envpool

    return envpool.make(
        env_id,
        env_type="gymnasium",
        num_envs=num_envs,
        num_threads=min(num_envs, config.num_threads or num_cores()),
        img_height=config.image_size,
        img_width=config.image_size,
        stack_num=config.stack,
        frame_skip=config.frame_skip,
        noop_max=config.noop_max,
        repeat_action_probability=config.sticky_actions,
        full_action_space=config.full_action_space,
        episodic_life=config.episodic_life,
        reward_clip=config.clip_rewards,
        max_episode_steps=config.max_steps,
        seed=seed,
        **more,
    )


class _Pools:
    """The running pools of one `VectorEnv`; they live as long as it does, or until they are closed.

    Beside each, which of its games began before training (bool [N]): an agent never played their beginnings.
    """

    def __init__(self, env_id: str, num_envs: int, config: AtariConfig) -> None:
        self._settings = (env_id, num_envs, config)
        self._pools: list[tuple[Any, np.ndarray]] = []

    def start(self, seed: np.ndarray) -> tuple[Any, ...]:
        """A new pool: its number, first observations [N, stack, H, W], and whose next step only resets it, bool [N]."""
        _, num_envs, config = self._settings
        pool = _start(*self._settings, seed=int(seed) % 2**30)
        obs, _ = pool.reset()
        obs, ended, begun = _staggered(pool, obs, num_envs, config.stagger, int(seed))
        self._pools.append((pool, begun))
        return np.int32(len(self._pools) - 1), obs, ended

    def step(self, number: np.ndarray, action: np.ndarray) -> tuple[Any, ...]:
        """The same number, observations, rewards as learned from, raw rewards, ends, cuts, ends of games; which count.

        Every end of a game counts, but for that of a game that began before training.
        """
        pool, begun = self._pools[int(number)]
        obs, reward, terminated, truncated, info = pool.step(np.asarray(action, np.int32))
        over = info["terminated"].astype(bool) | truncated.astype(bool)
        counts = over & ~begun
        begun &= ~over
        return (
            *(np.int32(number), obs, reward.astype(np.float32), info["reward"].astype(np.float32)),
            *(terminated.astype(bool), truncated.astype(bool), over, counts),
        )

    def close(self) -> None:
        """Ends all games; their numbers are given anew."""
        self._pools.clear()


def _staggered(
    pool: Any, obs: np.ndarray, num_envs: int, steps: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moves game i of a pool on by i / N of so many steps, with random actions.

    Returns:
      What is seen then [N, stack, H, W]; bool [N], where a life or a game has just ended; likewise, which games go on.
    """
    ended, begun = np.zeros(num_envs, bool), np.zeros(num_envs, bool)
    lengths = np.arange(num_envs) * steps // num_envs
    random, obs = np.random.default_rng(seed), obs.copy()
    for t in range(lengths[-1]):
        some = np.flatnonzero(lengths > t).astype(np.int32)
        action = random.integers(0, pool.action_space.n, len(some)).astype(np.int32)
        seen, _, terminated, truncated, info = pool.step(action, some)
        place = info["env_id"]  # those that are ready first come first
        obs[place], ended[place] = seen, terminated | truncated
        begun[place] = ~(info["terminated"].astype(bool) | truncated.astype(bool))
    return obs, ended, begun


def ids() -> tuple[str, ...]:
    """Every game of envpool; () where envpool cannot be imported."""
    return tuple(name for name, suite in _suites().items() if suite == SUITE)


def suite(env_id: str) -> str | None:
    """Which part of envpool an id belongs to, such as `envpool.atari`; None: not to envpool."""
    return _suites().get(env_id)


def make(env_id: str, num_envs: int, config: AtariConfig | None = None) -> VectorEnv:
    """num_envs copies of a game, such as `Pong-v5`, stepped together.

    Observations are uint8 [N, size, size, stack], the newest frame last. Each call of `reset` starts a pool of its own.

    Raises:
      ValueError: for impossible settings.

    Warns:
      RuntimeWarning: for more threads than cores.
    """
    config = config or AtariConfig()
    config.check()
    if config.num_threads > num_cores():
        text = f"num_threads={config.num_threads} on {num_cores()} cores: games will wait for each other"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    pools = _Pools(env_id, num_envs, config)
    size = config.image_size
    number = jax.ShapeDtypeStruct((), jnp.int32)
    frames = jax.ShapeDtypeStruct((num_envs, config.stack, size, size), jnp.uint8)
    flags = jax.ShapeDtypeStruct((num_envs,), jnp.bool_)
    floats = jax.ShapeDtypeStruct((num_envs,), jnp.float32)

    def channels_last(obs: jax.Array) -> jax.Array:
        return jnp.moveaxis(obs, 1, -1)

    def reset(key: jax.Array) -> tuple[AtariState, jax.Array]:
        seed = jax.random.bits(key, (), jnp.uint32)
        pool, obs, ended = io_callback(pools.start, (number, frames, flags), seed)
        zeros = jnp.zeros(num_envs, jnp.float32)
        return AtariState(pool, ended, zeros, zeros.astype(jnp.int32)), channels_last(obs)

    def step(key: jax.Array, state: AtariState, action: jax.Array) -> tuple[AtariState, TimeStep]:
        del key  # the games draw their own random numbers
        # The number comes back from the host, so that the next step cannot be moved before this one.
        pool, obs, reward, raw, terminated, truncated, over, counts = io_callback(
            pools.step, (number, frames, floats, floats, flags, flags, flags, flags), state.pool, action
        )
        valid = ~state.ended
        ended = terminated | truncated
        episode_return, episode_length = state.episode_return + raw, state.episode_length + valid
        timestep = TimeStep(
            obs=channels_last(obs),
            reward=reward,
            terminated=terminated & ~truncated,
            truncated=truncated,
            final_obs=channels_last(obs),
            valid=valid,
            episode_return=jnp.where(counts, episode_return, 0.0),
            episode_length=jnp.where(counts, episode_length, 0),
        )
        after = AtariState(
            pool, ended, jnp.where(over, 0.0, episode_return), jnp.where(over, 0, episode_length).astype(jnp.int32)
        )
        return after, timestep

    return VectorEnv(_spec(env_id, num_envs, config), reset, step, close=pools.close)


def _spec(env_id: str, num_envs: int, config: AtariConfig) -> EnvSpec:
    import envpool

    actions = envpool.make_spec(env_id, full_action_space=config.full_action_space).action_space.n
    return EnvSpec(
        id=env_id,
        num_envs=num_envs,
        observation_shape=(config.image_size, config.image_size, config.stack),
        observation_dtype=jnp.uint8,
        action_space=Discrete(int(actions)),
        time_limit=config.max_steps,
        next_step_reset=True,
        frame_stack=config.stack,
        restorable=False,
    )


class Screen:
    """One game stepped by hand, with the picture that a person would see; lives and rewards are those of the game.

    obs: uint8 [1, size, size, stack], what an agent is shown. picture: uint8 [210, 160, 3].
    """

    def __init__(self, env_id: str, config: AtariConfig, seed: int) -> None:
        """Starts a game; the same seed and actions give the same pictures."""
        raw = dataclasses.replace(config, **FULL_GAMES)
        self._pool: Any = _start(env_id, 1, raw, seed, render_mode="rgb_array")
        self._show(self._pool.reset()[0])

    def step(self, action: int) -> tuple[float, bool]:
        """The raw reward, and whether the game is over."""
        obs, reward, terminated, truncated, _ = self._pool.step(np.asarray([action], np.int32))
        self._show(obs)
        return float(reward[0]), bool(terminated[0] or truncated[0])

    def _show(self, obs: np.ndarray) -> None:
        self.obs = np.moveaxis(obs, 1, -1)
        self.picture = self._pool.render()[0]


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


def _suites() -> dict[str, str]:
    if why_not() is not None:
        return {}
    import envpool.registration

    return {name: spec[0] for name, spec in envpool.registration.registry.specs.items()}
