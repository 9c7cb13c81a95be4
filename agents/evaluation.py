"""Evaluation: full episodes with frozen weights, on environments of their own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.base import Agent, recurrence
from agents.rollout import episode_over, forget
from envs import VectorEnv


class Episodes(NamedTuple):
    """Full episodes that were played.

    Attributes:
      returns: float32 [episodes], raw and undiscounted; NaN where the episode did not end in time.
      lengths: int32 [episodes]; 0 likewise.
    """

    returns: jax.Array
    lengths: jax.Array


def evaluate(
    agent: Agent, env: VectorEnv, policy: Any, key: jax.Array, *, max_steps: int, greedy: bool = True
) -> Episodes:
    """The first episode of each of the environments, from reset to end; nothing is learned.

    Only first episodes count: among all that end within some time, short ones would be overrepresented. Under
    `jax.vmap` over policies and keys it evaluates a population.

    Args:
      agent: whose `act` to follow, with its memory if it has one.
      env: as many environments as episodes are wanted.
      policy: as `agent.policy` gives it.
      key: fixes first states and everything random; the same key gives the same episodes.
      max_steps: steps after which an episode is given up; the environment's own time limit, or more, misses none.
      greedy: False samples actions as at the end of training (PPO from its distribution, DQN and PQN with their last
        share of random ones).

    Raises:
      ValueError: for max_steps below 1.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    reset_key, steps_key = jax.random.split(key)
    state, obs = env.reset(reset_key)
    how = recurrence(agent)
    nothing = Episodes(jnp.full(env.spec.num_envs, jnp.nan), jnp.zeros(env.spec.num_envs, jnp.int32))

    def unfinished(carry: tuple[jax.Array, Any, jax.Array, Any, Episodes]) -> jax.Array:
        t, *_, found = carry
        return (t < max_steps) & jnp.any(found.lengths == 0)

    def step(carry: tuple[jax.Array, Any, jax.Array, Any, Episodes]) -> tuple[jax.Array, Any, jax.Array, Any, Episodes]:
        t, state, obs, memory, found = carry
        act_key, env_key = jax.random.split(jax.random.fold_in(steps_key, t))
        memory, action = how.act(policy, memory, obs, act_key, greedy)
        state, timestep = env.step(env_key, state, action)
        memory = forget(memory, episode_over(env.spec, timestep))
        first = (timestep.episode_length > 0) & (found.lengths == 0)
        found = Episodes(
            jnp.where(first, timestep.episode_return, found.returns),
            jnp.where(first, timestep.episode_length, found.lengths),
        )
        return t + 1, state, timestep.obs, memory, found

    start = (jnp.int32(0), state, obs, how.start(env.spec.num_envs), nothing)
    return jax.lax.while_loop(unfinished, step, start)[-1]
