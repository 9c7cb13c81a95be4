"""Trains one population: all seeds in one compiled program, in chunks, split over the devices."""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import agents
import envs
from celo2.names import check_known
from rlopt import optimizers, runtime, watchdog
from rlopt.catalog import OPTIMIZERS
from rlopt.config import TrainConfig
from rlopt.presets import AGENTS
from rlopt.statistics import lowest

AXIS = "seeds"
# Logging intervals of a run, roughly; each is one call of the compiled program.
NUM_CHUNKS = 50
# "Final" is the last tenth of training.
FINAL_SHARE = 0.1
# On a CPU core, seeds together (vmap) save overhead while what a gradient step reads is small, and leave the cache when
# it is large. Steps per second together over in turn, 8 seeds on a core, by numbers of observations per gradient step:
# CartPole 1.30 (PPO, 512), 1.02 and 1.05 (DQN, PQN, 512); Pendulum 1.01 (PPO, 1,536); Breakout-MinAtar 1.06 (DQN,
# 51,200), 0.77 (PQN, 102,400), 0.79 (PPO, 409,600).
VMAP_BELOW = 2**16


class History(NamedTuple):
    """What a population did; S seeds, T logging intervals.

    steps: int64 [T], environment steps per seed at the end of each interval.
    returns: float32 [S, T], mean raw return of the training episodes that ended in the interval; NaN: none did.
    lengths: float32 [S, T], their mean length.
    final: float32 [S], mean return over the episodes of the last tenth of training; NaN: none ended there. A stopped
      seed counts as the lowest return in `returns`: to leave it out would favour optimizers that break.
    stopped: int64 [S], environment steps after which a seed was stopped since its loss was not finite; -1: it was not.
      What it logged before stays, what would come after is NaN.
    metrics: {name: float32 [S, T]}, means over the interval of what the agent reports.
    params: tree of NumPy arrays with leading axis S, the trained networks.
    compile_seconds, train_seconds: wall-clock time. cpu_seconds: processor time of training, over all cores.
    """

    steps: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    final: np.ndarray
    stopped: np.ndarray
    metrics: dict[str, np.ndarray]
    params: Any
    compile_seconds: float
    train_seconds: float
    cpu_seconds: float


def build(config: TrainConfig) -> agents.Agent:
    """The agent of a configuration; every check that needs no compilation happens here.

    Raises:
      ValueError: for unknown names, impossible settings, a foreign weight file, or an unfit environment.
      FileNotFoundError: if the weight file does not exist.
    """
    check_known("agent", config.agent, AGENTS)
    check_known("optimizer", config.optimizer, OPTIMIZERS)
    envs.check_id(config.env)
    config.check()
    optimizer = optimizers.make(config.optimizer, config.theta)
    return agents.make(make_env(config, config.hyper.num_envs), config.hyper, optimizer)


def make_env(config: TrainConfig, num_envs: int, **changes: Any) -> envs.VectorEnv:
    """num_envs copies of a configuration's environment; changes: of the settings of Atari games."""
    if not envs.is_atari(config.env):
        return envs.make(config.env, num_envs)
    return envs.make(config.env, num_envs, dataclasses.replace(config.atari, **changes))


def hyperparams(config: TrainConfig) -> Any:
    """The traced scalars of a configuration, which `init` of its agent takes."""
    # A rule without a learning rate gets a number all the same, and ignores it.
    return agents.hyperparams(config.hyper, config.resolved_learning_rate or 0.0)


def train(
    config: TrainConfig, *, progress: bool = True, on_interval: Callable[[dict[str, Any]], None] | None = None
) -> History:
    """Trains every seed of a configuration.

    Args:
      config: what to train.
      progress: show a progress bar.
      on_interval: called with one row per logging interval (per-seed returns and metrics as lists).

    Warns:
      RuntimeWarning: when the loss of a seed is not finite: that seed is stopped, the others go on.

    Raises:
      What `build` raises, before anything is compiled.
    """
    agent = build(config)
    label = f"{config.optimizer} on {config.env}"
    with watchdog.watch(label, enabled=jax.default_backend() == "cpu"):
        return _train(agent, config, label, progress, on_interval)


def _train(
    agent: agents.Agent,
    config: TrainConfig,
    label: str,
    progress: bool,
    on_interval: Callable[[dict[str, Any]], None] | None,
) -> History:
    hyper = config.hyper
    started = time.monotonic()
    mesh = _mesh(config.seeds)
    keys = jax.vmap(jax.random.key)(np.arange(config.seed, config.seed + config.seeds, dtype=np.uint32))
    keys = jax.device_put(keys, NamedSharding(mesh, PartitionSpec(AXIS)))
    scalars = hyperparams(config)
    # Constants under jit would be baked into the program; as an argument, another rate needs no recompilation.
    state = _over_seeds(mesh, lambda keys, scalars: jax.vmap(agent.init, (0, None))(keys, scalars), 1)(keys, scalars)
    in_turn = _in_turn(config, mesh, state.obs.shape[2:])
    run = {n: _compile_chunk(mesh, agent, n, state, in_turn) for n in sorted(set(_chunk_lengths(hyper.num_iterations)))}
    compile_seconds = time.monotonic() - started

    steps, rows = [], []
    per_iteration: list[Any] = []
    done = 0
    stopped = np.full(config.seeds, -1, np.int64)
    started, cpu_started = time.monotonic(), time.process_time()
    with tqdm.tqdm(
        total=hyper.num_iterations * hyper.batch_size,
        unit="step",
        unit_scale=True,
        desc=label,
        disable=not progress,
        mininterval=1.0,
    ) as bar:
        for length in _chunk_lengths(hyper.num_iterations):
            state, metrics = run[length](state)
            metrics = jax.tree.map(lambda x: np.asarray(x).T, metrics)  # leaves [length, S]; waits for the device
            per_iteration.append(metrics)
            done += length
            steps.append(done * hyper.batch_size)
            row = _interval(metrics)
            for values in row.values():
                values[stopped >= 0] = np.nan
            rows.append(row)
            _stop_broken(stopped, row["loss"], steps[-1], label, config.seed)
            bar.set_postfix_str(f"median return {_nan_median(row['return']):.1f}", refresh=False)
            bar.update(length * hyper.batch_size)
            if on_interval is not None:
                on_interval({"step": steps[-1], **{name: values.tolist() for name, values in row.items()}})
            if np.all(stopped >= 0):
                break
    train_seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started

    params = jax.tree.map(np.asarray, agent.policy(state))
    # The last update's loss is one that came before it.
    unbroken = [np.all(np.isfinite(x), axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(params)]
    _stop_broken(stopped, np.where(np.all(unbroken, axis=0), 0.0, np.nan), steps[-1], label, config.seed)

    columns = {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
    sums = np.concatenate([m.return_sum for m in per_iteration])
    counts = np.concatenate([m.num_episodes for m in per_iteration])
    tail = max(1, round(FINAL_SHARE * len(sums)))
    returns = columns.pop("return")
    return History(
        steps=np.asarray(steps, np.int64),
        returns=returns,
        lengths=columns.pop("length"),
        final=np.where(stopped >= 0, lowest(returns), _ratio(sums[-tail:].sum(0), counts[-tail:].sum(0))),
        stopped=stopped,
        metrics=columns,
        params=params,
        compile_seconds=compile_seconds,
        train_seconds=train_seconds,
        cpu_seconds=cpu_seconds,
    )


def _mesh(seeds: int) -> Mesh:
    available = jax.devices()
    return Mesh(np.asarray(available[: runtime.devices_for(seeds, len(available))]), (AXIS,))


def _over_seeds(mesh: Mesh, function: Callable[..., Any], num_replicated: int = 0) -> Callable[..., Any]:
    """Jit of a function whose first argument and results have a leading seeds axis, each device taking its share."""
    spec = PartitionSpec(AXIS)
    in_specs = (spec, *(PartitionSpec() for _ in range(num_replicated)))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=spec, check_vma=False))


def _in_turn(config: TrainConfig, mesh: Mesh, observation_shape: tuple[int, ...]) -> bool:
    """Whether a device trains its seeds one after the other (within the same program) instead of side by side."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    numbers = config.hyper.learning_batch * math.prod(observation_shape)
    return on_cpu and (config.seeds == mesh.size or numbers >= VMAP_BELOW)


def _compile_chunk(
    mesh: Mesh, agent: agents.Agent, length: int, state: Any, in_turn: bool
) -> Callable[[Any], tuple[Any, Any]]:
    spec = PartitionSpec(AXIS)

    def train_one(state: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda s, _: agent.step(s), state, None, length=length)

    @partial(jax.jit, donate_argnums=0)
    @partial(jax.shard_map, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    def chunk(state: Any) -> tuple[Any, Any]:
        return jax.lax.map(train_one, state) if in_turn else jax.vmap(train_one)(state)

    return chunk.lower(state).compile()


def _chunk_lengths(iterations: int) -> list[int]:
    """Iterations per call of the program; equal lengths where some divisor is near, since each length is compiled."""
    target = max(1, round(iterations / NUM_CHUNKS))
    divisors = [n for n in range(1, iterations + 1) if iterations % n == 0 and target / 2 <= n <= target * 2]
    if divisors:
        length = min(divisors, key=lambda n: abs(n - target))
        return [length] * (iterations // length)
    return [target] * (iterations // target) + [iterations % target]


def _interval(metrics: Any) -> dict[str, np.ndarray]:
    """Per-seed means [S] over one interval."""
    episodes = metrics.num_episodes.sum(0)
    row = {
        "return": _ratio(metrics.return_sum.sum(0), episodes),
        "length": _ratio(metrics.length_sum.sum(0), episodes),
        "episodes": episodes.astype(np.float32),
    }
    rest = metrics._asdict()
    for name in ("return_sum", "length_sum", "num_episodes"):
        rest.pop(name)
    return row | {name: value.mean(0) for name, value in rest.items()}


def _stop_broken(stopped: np.ndarray, loss: np.ndarray, step: int, label: str, first_seed: int) -> None:
    """Notes the step in `stopped` for seeds whose loss is not finite for the first time, and says so."""
    for index in np.flatnonzero(~np.isfinite(loss) & (stopped < 0)):
        stopped[index] = step
        warnings.warn(
            f"{label}: the loss of seed {first_seed + index} is not finite (at step {step:,}); this seed is stopped, "
            "the others go on",
            RuntimeWarning,
            stacklevel=4,
        )


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _nan_median(x: np.ndarray) -> float:
    return float(np.median(x[~np.isnan(x)])) if np.any(~np.isnan(x)) else float("nan")
