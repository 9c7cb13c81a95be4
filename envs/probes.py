"""Probe environments: so small that the right values can be written down, each for one way an agent can be wrong.

The idea is Andy Jones's ("Debugging RL, Without the Agonizing Pain", 2021). All are of two actions and a
one-number observation; `VALUES` says what a critic must learn under discount gamma.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.base import Discrete, EnvSpec, TimeStep, VectorEnv


class ProbeState(NamedTuple):
    """obs: float32 [N, 1]. time: int32 [N]. episode_return: float32 [N]."""

    obs: jax.Array
    time: jax.Array
    episode_return: jax.Array


class _Probe(NamedTuple):
    """first(key) -> obs []; outcome(obs [], time [], action []) -> (next obs, reward, terminated, truncated)."""

    first: Callable[[jax.Array], jax.Array]
    outcome: Callable[[jax.Array, jax.Array, jax.Array], tuple[Any, Any, Any, Any]]
    time_limit: int | None


_TIME_LIMIT = 5


def _zero(key: jax.Array) -> jax.Array:
    del key
    return jnp.float32(0)


def _coin(key: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key), 1.0, -1.0).astype(jnp.float32)


_PROBES: dict[str, _Probe] = {
    # One step, reward 1: the value must become 1.
    "Probe-ConstantReward": _Probe(_zero, lambda obs, time, action: (obs, 1.0, True, False), None),
    # One step, reward = observation (+-1): the value must follow the observation.
    "Probe-ObservationReward": _Probe(_coin, lambda obs, time, action: (obs, obs, True, False), None),
    # Two steps (observations 0, then 1), reward 1 at the end: discounting and bootstrapping.
    "Probe-TwoStep": _Probe(
        _zero, lambda obs, time, action: (jnp.float32(1), jnp.where(time == 0, 0.0, 1.0), time > 0, False), None
    ),
    # One step, reward 1 for action 1 and -1 for action 0: the policy gradient's sign.
    "Probe-ActionReward": _Probe(
        _zero, lambda obs, time, action: (obs, jnp.where(action == 1, 1.0, -1.0), True, False), None
    ),
    # One step, reward 1 if the action is 1 exactly where the observation is +1: policy given observation.
    "Probe-ObservationActionReward": _Probe(
        _coin, lambda obs, time, action: (obs, jnp.where((action == 1) == (obs > 0), 1.0, -1.0), True, False), None
    ),
    # Reward 1 for ever, cut off every 5 steps: with the cut taken for an end, the value would be far too low.
    "Probe-TimeLimit": _Probe(_zero, lambda obs, time, action: (obs, 1.0, False, time + 1 >= _TIME_LIMIT), _TIME_LIMIT),
    # First observation 0 and no reward, then observation 1 and reward 1 for ever, cut off: bootstrapping from what is
    # shown after the cut, 0, instead of where the action led, 1, would make both values too low.
    "Probe-FinalObservation": _Probe(
        _zero,
        lambda obs, time, action: (jnp.float32(1), jnp.where(time == 0, 0.0, 1.0), False, time + 1 >= _TIME_LIMIT),
        _TIME_LIMIT,
    ),
}

# Value of each observation under the best policy: {id: {observation: value(gamma)}}.
VALUES: dict[str, dict[float, Callable[[float], float]]] = {
    "Probe-ConstantReward": {0.0: lambda gamma: 1.0},
    "Probe-ObservationReward": {1.0: lambda gamma: 1.0, -1.0: lambda gamma: -1.0},
    "Probe-TwoStep": {0.0: lambda gamma: gamma, 1.0: lambda gamma: 1.0},
    "Probe-ActionReward": {0.0: lambda gamma: 1.0},
    "Probe-ObservationActionReward": {1.0: lambda gamma: 1.0, -1.0: lambda gamma: 1.0},
    "Probe-TimeLimit": {0.0: lambda gamma: 1 / (1 - gamma)},
    "Probe-FinalObservation": {0.0: lambda gamma: gamma / (1 - gamma), 1.0: lambda gamma: 1 / (1 - gamma)},
}


def ids() -> tuple[str, ...]:
    """Names of the probe environments."""
    return tuple(_PROBES)


def make(env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of a probe environment."""
    probe = _PROBES[env_id]

    def reset_one(key: jax.Array) -> ProbeState:
        return ProbeState(probe.first(key)[None], jnp.int32(0), jnp.float32(0))

    def step_one(key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[ProbeState, TimeStep]:
        next_obs, reward, terminated, truncated = probe.outcome(state.obs[0], state.time, action)
        final_obs = jnp.float32(next_obs)[None]
        reward = jnp.float32(reward)
        terminated, truncated = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
        done = terminated | truncated
        played = ProbeState(final_obs, state.time + 1, state.episode_return + reward)
        new_state = jax.tree.map(lambda fresh, old: jnp.where(done, fresh, old), reset_one(key), played)
        return new_state, TimeStep(
            obs=new_state.obs,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_obs=final_obs,
            valid=jnp.ones([], bool),
            episode_return=jnp.where(done, played.episode_return, 0.0),
            episode_length=jnp.where(done, played.time, 0),
        )

    def reset(key: jax.Array) -> tuple[ProbeState, jax.Array]:
        state = jax.vmap(reset_one)(jax.random.split(key, num_envs))
        return state, state.obs

    def step(key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[ProbeState, TimeStep]:
        return jax.vmap(step_one)(jax.random.split(key, num_envs), state, action)

    spec = EnvSpec(env_id, num_envs, (1,), jnp.dtype("float32"), Discrete(2), probe.time_limit)
    return VectorEnv(spec, reset, step)
