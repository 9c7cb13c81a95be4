"""Acting for some steps, the same way for every agent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs import TimeStep, VectorEnv


class Rollout(NamedTuple):
    """T steps of N environments.

    steps: `envs.TimeStep`, leaves [T, N, ...]; obs is what was acted on, not what came next.
    action: [T, N, ...], as the agent stores it. extras: whatever `act` returned besides, [T, N, ...].
    """

    steps: TimeStep
    action: jax.Array
    extras: Any


def rollout(
    env: VectorEnv,
    act: Callable[[jax.Array, Any], tuple[jax.Array, Any]],
    env_state: Any,
    obs: jax.Array,
    noise: Any,
    keys: tuple[jax.Array, jax.Array],
    to_env: Callable[[jax.Array], jax.Array] = lambda action: action,
) -> tuple[Any, jax.Array, Rollout]:
    """Acts for T steps with a fixed policy.

    Args:
      env: where.
      act: (obs [N, *shape], noise of one step) -> (action [N, ...], extras).
      env_state, obs: where the environments stand, and what the agent sees.
      noise: tree with leaves [T, ...]: all random numbers of acting. On a CPU, a few draws at every step would take
        longer than acting itself.
      keys: for first states of new episodes, and for the steps.
      to_env: from the agent's actions to the environment's units.

    Returns:
      The environment's state, what the agent sees next [N, *shape], and the rollout.
    """
    resets_key, steps_key = keys
    length = jax.tree.leaves(noise)[0].shape[0]

    def act_and_step(carry: tuple[Any, jax.Array], inputs: tuple[jax.Array, Any]) -> Any:
        (env_state, obs), (step_key, noise_t) = carry, inputs
        action, extras = act(obs, noise_t)
        env_state, timestep = env.step(step_key, env_state, to_env(action))
        # The next observation is in the carry; keeping it in the rollout too would only cost memory.
        return (env_state, timestep.obs), Rollout(timestep._replace(obs=obs), action, extras)

    start = (env.prepare(resets_key, env_state, length), obs)
    (env_state, obs), found = jax.lax.scan(act_and_step, start, (jax.random.split(steps_key, length), noise))
    return env.release(env_state), obs, found


def next_values(
    env: VectorEnv, value: Callable[[jax.Array], jax.Array], steps: TimeStep, obs: jax.Array, values: jax.Array
) -> jax.Array:
    """V of the state that each action led to, [T, N]: right at time limits, where obs is already a new episode's.

    Args:
      value: [B, *shape] -> [B]. steps: of the rollout. obs: what is seen after it, [N, *shape].
      values: V of the states that were acted on, [T, N].
    """
    if env.spec.next_step_reset:
        return jnp.concatenate([values[1:], over_steps(value, obs[None])])
    return over_steps(value, steps.final_obs)


def over_steps(value: Callable[[jax.Array], jax.Array], obs: jax.Array) -> jax.Array:
    """The value of all observations of a rollout at once: [T, N, *shape] -> [T, N]."""
    return value(obs.reshape(-1, *obs.shape[2:])).reshape(obs.shape[:2])
