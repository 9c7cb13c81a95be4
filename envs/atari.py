"""Atari games of envpool (Weng et al., arXiv 2206.10558) behind `VectorEnv`, on the host (`envs.host`).

envpool's bridge to XLA is not used: it has the address of one pool written into the program, which can then be neither
mapped over seeds nor kept in the cache of compiled programs.

envpool starts the next game in the step after an end, whose action it ignores: that step is not `valid`.
"""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs import host, pools
from envs.atari_config import FULL_GAMES, AtariConfig
from envs.base import Discrete, EnvSpec, VectorEnv
from envs.cores import num_cores

SUITE = "envpool.atari"


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


def _step(group: tuple[Any, np.ndarray], action: np.ndarray) -> host.HostStep:
    """group: a pool, and which of its games began before training, bool [N]: an agent never played their beginnings.

    Every end of a game counts, but for that of such a game.
    """
    pool, begun = group
    obs, reward, terminated, truncated, info = pool.step(np.asarray(action, np.int32))
    terminated, truncated = terminated.astype(bool), truncated.astype(bool)
    over = info["terminated"].astype(bool) | truncated
    counts = over & ~begun
    begun &= ~over
    return host.HostStep(
        obs=obs,
        reward=reward.astype(np.float32),
        raw=info["reward"].astype(np.float32),
        terminated=terminated & ~truncated,
        truncated=truncated,
        over=over,
        counts=counts,
    )


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
    return pools.ids_of(SUITE)


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
    size = config.image_size

    def start(seed: int) -> host.Started:
        pool = _start(env_id, num_envs, config, seed)
        obs, ended, begun = _staggered(pool, pool.reset()[0], num_envs, config.stagger, seed)
        return host.Started((pool, begun), obs, ended)

    def channels_last(obs: jax.Array) -> jax.Array:
        return jnp.moveaxis(obs, 1, -1)

    return host.vector_env(
        _spec(env_id, num_envs, config), start, _step, sent=(config.stack, size, size), shown=channels_last
    )


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
