"""A population as one program: where each of its members is trained, and how states are made and advanced."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import agents
from agents.hyperparameters import with_options
from rlopt.training import runtime, trials
from rlopt.training.config import TrainConfig

AXIS = "members"
# On a CPU core, seeds together (vmap) save overhead while what a gradient step reads is small, and leave the cache when
# it is large. Steps per second together over in turn, 8 seeds on a core, by numbers of observations per gradient step:
# CartPole 1.30 (PPO, 512), 1.02 and 1.05 (DQN, PQN, 512); Pendulum 1.01 (PPO, 1,536); Breakout-MinAtar 1.06 (DQN,
# 51,200), 0.77 (PQN, 102,400), 0.79 (PPO, 409,600).
VMAP_BELOW = 2**16


def initial_state(agent: agents.Agent, config: TrainConfig, mesh: Mesh, salt: int | None = None) -> Any:
    """The states of all members, leading axis M, each on its device; with a salt, others of the same seeds.

    Members are ordered by cell (learning rate or trial), then by seed; a seed begins alike in every cell.
    """
    rates = np.repeat([cell.handed_rate for cell in config.cells], config.seeds).astype(np.float32)
    keys = jax.vmap(jax.random.key)(seeds_of(config))
    if salt is not None:
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, salt)
    differing = jax.tree.map(
        lambda values: np.repeat(np.asarray(values, np.float32), config.seeds),
        trials.of_members(config) if config.trials else ({}, {}),
        is_leaf=lambda x: isinstance(x, list),
    )
    members = jax.device_put((keys, rates, differing), NamedSharding(mesh, PartitionSpec(AXIS)))

    def init(members: tuple[jax.Array, jax.Array, Any], scalars: Any) -> Any:
        def one(key: jax.Array, rate: jax.Array, differing: tuple[dict[str, Any], dict[str, Any]]) -> Any:
            settings, options = differing
            return agent.init(key, with_options(scalars._replace(learning_rate=rate, **settings), options))

        return jax.vmap(one)(*members)

    # Constants under jit would be baked into the program; as arguments, other rates need no recompilation.
    return _over_members(mesh, init, 1)(members, agent.hyperparams(rates[0]))


def seeds_of(config: TrainConfig) -> np.ndarray:
    """The seed of each member, uint32 [M]."""
    return np.tile(np.arange(config.seed, config.seed + config.seeds, dtype=np.uint32), len(config.cells))


def subset(state: Any, positions: np.ndarray) -> Any:
    """The states of some members, on as many devices as share them."""
    sharding = NamedSharding(mesh_for(len(positions)), PartitionSpec(AXIS))
    # One program, where leaf by leaf there would be one for every shape.
    chosen = jax.jit(lambda state: jax.tree.map(lambda x: x[positions], state))(state)
    return jax.device_put(chosen, sharding)


def mesh_for(members: int) -> Mesh:
    """The devices that share a population."""
    available = jax.devices()
    return Mesh(np.asarray(available[: runtime.devices_for(members, len(available))]), (AXIS,))


def _over_members(mesh: Mesh, function: Callable[..., Any], num_replicated: int = 0) -> Callable[..., Any]:
    """Jit of a function whose first argument and results have a leading member axis, each device taking its share."""
    spec = PartitionSpec(AXIS)
    in_specs = (spec, *(PartitionSpec() for _ in range(num_replicated)))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=spec, check_vma=False))


def trains_in_turn(config: TrainConfig, members: int, mesh: Mesh, observation_shape: tuple[int, ...]) -> bool:
    """Whether a device trains its members one after the other (within the same program) instead of side by side."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    numbers = config.hyper.minibatch_size * math.prod(observation_shape)
    return on_cpu and (members == mesh.size or numbers >= VMAP_BELOW)


def compile_chunk(
    mesh: Mesh, agent: agents.Agent, length: int, state: Any, in_turn: bool
) -> Callable[[Any], tuple[Any, Any]]:
    """The program that advances all states by some iterations: states -> states, metrics [M, length]; donates."""
    spec = PartitionSpec(AXIS)

    def train_one(state: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda s, _: agent.step(s), state, None, length=length)

    @partial(jax.jit, donate_argnums=0)
    @partial(jax.shard_map, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    def chunk(state: Any) -> tuple[Any, Any]:
        if jax.tree.leaves(state)[0].shape[0] == 1:
            # Not a map over one: that would copy the state, gigabytes of replay maybe, before and after.
            return jax.tree.map(lambda x: x[None], train_one(jax.tree.map(lambda x: x[0], state)))
        return jax.lax.map(train_one, state) if in_turn else jax.vmap(train_one)(state)

    return chunk.lower(state).compile()
