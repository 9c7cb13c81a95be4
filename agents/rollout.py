"""Acting for some steps, the same way for every agent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs import EnvSpec, TimeStep, VectorEnv


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

    def forgetful(memory: None, obs: jax.Array, noise_t: Any) -> tuple[None, jax.Array, Any]:
        return (memory, *act(obs, noise_t))

    return recurrent_rollout(env, forgetful, None, env_state, obs, noise, keys, to_env)[1:]


def recurrent_rollout(
    env: VectorEnv,
    act: Callable[[Any, jax.Array, Any], tuple[Any, jax.Array, Any]],
    memory: Any,
    env_state: Any,
    obs: jax.Array,
    noise: Any,
    keys: tuple[jax.Array, jax.Array],
    to_env: Callable[[jax.Array], jax.Array] = lambda action: action,
) -> tuple[Any, Any, jax.Array, Rollout]:
    """`rollout` with a memory, which is carried from step to step and emptied between episodes.

    Args:
      act: (memory, obs [N, *shape], noise of one step) -> (memory, action [N, ...], extras).
      memory: tree, leaves [N, ...]. The others: as of `rollout`.

    Returns:
      The memory after the last step, and what `rollout` returns.
    """
    resets_key, steps_key = keys
    length = jax.tree.leaves(noise)[0].shape[0]

    def act_and_step(carry: tuple[Any, jax.Array, Any], inputs: tuple[jax.Array, Any]) -> Any:
        (env_state, obs, memory), (step_key, noise_t) = carry, inputs
        memory, action, extras = act(memory, obs, noise_t)
        env_state, timestep = env.step(step_key, env_state, to_env(action))
        memory = forget(memory, episode_over(env.spec, timestep))
        # The next observation is in the carry; keeping it in the rollout too would only cost memory.
        return (env_state, timestep.obs, memory), Rollout(timestep._replace(obs=obs), action, extras)

    start = (env.prepare(resets_key, env_state, length), obs, memory)
    (env_state, obs, memory), found = jax.lax.scan(act_and_step, start, (jax.random.split(steps_key, length), noise))
    return memory, env.release(env_state), obs, found


def episode_over(spec: EnvSpec, steps: TimeStep) -> jax.Array:
    """Bool, of the shape of `steps.valid`: what is seen next belongs to another episode.

    Where the next episode starts in a step of its own, that is so after this step: before it, the end is seen, whose
    value counts at a time limit.
    """
    return ~steps.valid if spec.next_step_reset else steps.done | ~steps.valid


def forget(memory: Any, where: jax.Array) -> Any:
    """The memory with zeros where an episode is over; leaves [N, ...], where: bool [N]."""
    return jax.tree.map(lambda x: jnp.where(where.reshape(-1, *(1,) * (x.ndim - 1)), 0, x).astype(x.dtype), memory)


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
