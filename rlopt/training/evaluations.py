"""Evaluation of a population while it trains: full greedy episodes, all members in one program of their own."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import agents
from envs import VectorEnv
from rlopt.training import placement

# Steps of an episode at most, in environments without a time limit of their own.
MAX_STEPS = 10_000
# First states, and whatever else is random, come from the seeds folded with this: no episode is one of training.
_STREAM = 0x6576616C


class Scores(NamedTuple):
    """Per member; raw and undiscounted.

    returns, lengths: float32 [M], means over the episodes that were over in time; NaN: none was. episodes: int32 [M],
    how many were.
    """

    returns: jax.Array
    lengths: jax.Array
    episodes: jax.Array


def limit(env: VectorEnv) -> int:
    """Steps after which an episode is given up."""
    return env.spec.time_limit or MAX_STEPS


def program(
    mesh: Mesh, agent: agents.Agent, env: VectorEnv, policies: Any, seeds: np.ndarray, in_turn: bool
) -> Callable[[Any, int], Scores]:
    """What evaluates all members, compiled: (policies, number) -> Scores; every number gives other episodes.

    A program apart from that of training, which so is the same with it and without.

    Args:
      mesh: the devices that share the population.
      agent: whose policies they are. env: as many copies as there are to be episodes.
      policies: like those to come, leaves [M, ...]. seeds: uint32 [M], of the members.
      in_turn: one member after the other on a device.
    """
    split = PartitionSpec(placement.AXIS)

    def one(member: tuple[Any, jax.Array], number: jax.Array) -> Scores:
        policy, seed = member
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _STREAM), number)
        found = agents.evaluate(agent, env, policy, key, max_steps=limit(env))
        over = found.lengths > 0
        count = jnp.sum(over, dtype=jnp.int32)

        def mean(values: jax.Array) -> jax.Array:
            return jnp.where(count > 0, jnp.sum(jnp.where(over, values, 0)) / jnp.maximum(count, 1), jnp.nan)

        return Scores(mean(found.returns), mean(found.lengths).astype(jnp.float32), count)

    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(split, PartitionSpec()), out_specs=split, check_vma=False)
    def evaluate(members: tuple[Any, jax.Array], number: jax.Array) -> Scores:
        play = partial(one, number=number)
        return jax.lax.map(play, members) if in_turn else jax.vmap(play)(members)

    placed = jax.device_put(seeds, NamedSharding(mesh, split))
    compiled = evaluate.lower((policies, placed), np.int32(0)).compile()
    return lambda policies, number: compiled((policies, placed), np.int32(number))
