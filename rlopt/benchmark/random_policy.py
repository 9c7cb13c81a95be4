"""What a policy that acts at random reaches: the zero of normalised scores."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import agents
from envs import Discrete, VectorEnv, is_atari
from envs.atari_config import FULL_GAMES
from rlopt.training import evaluations, loop
from rlopt.training.config import TrainConfig


def play(config: TrainConfig, episodes: int | None = None, seed: int = 0) -> np.ndarray:
    """Raw returns of full episodes of uniformly random actions, float32 [episodes]; of those that end in time.

    Args:
      config: names the environment.
      episodes: default: 200, of Atari games 20.
      seed: of actions and environments.
    """
    episodes = episodes or (20 if is_atari(config.env) else 200)
    env = loop.make_env(config, episodes, **FULL_GAMES)
    agent = agents.Agent(_nothing, _nothing, _act_randomly(env), policy=_nothing, hyperparams=_nothing)

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        return agents.evaluate(agent, env, (), key, max_steps=evaluations.limit(env)).returns

    returns = np.asarray(run(jax.random.key(seed)))
    return returns[np.isfinite(returns)]


def _act_randomly(env: VectorEnv) -> Any:
    space = env.spec.action_space

    def act(policy: Any, obs: jax.Array, key: jax.Array, greedy: bool = True) -> jax.Array:
        del policy, greedy
        if isinstance(space, Discrete):
            return jax.random.randint(key, obs.shape[:1], 0, space.n)
        low, high = jnp.asarray(space.low), jnp.asarray(space.high)
        return jax.random.uniform(key, (len(obs), *space.shape), minval=low, maxval=high)

    return act


def _nothing(*_: Any) -> Any:
    raise NotImplementedError("a random policy does not learn")
