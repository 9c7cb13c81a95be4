"""What an optimizer costs: time and memory of an update on the networks of a report's first environment."""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from agents.base import make_optimizer
from rlopt import typed
from rlopt.benchmark.plan import YARDSTICK
from rlopt.optimizers import factory
from rlopt.report.evidence import Evidence
from rlopt.report.tables import Table, Value
from rlopt.runs import results
from rlopt.training import loop
from rlopt.training.config import TrainConfig

UPDATES, ROUNDS = 50, 7
# Bytes of parameters that are timed without asking whether the run has as many.
LARGE = 256 << 20


def measure(evidence: Evidence, trust: bool | Container[str]) -> Table:
    """Times every optimizer's update here and now, in turn; and adds what the runs themselves took.

    trust: also of optimizers and environments that are named as code (`module:name`), which is imported for it.
    """
    environment = evidence.environments[0]
    calls, state_bytes, sizes = {}, {}, {}
    alike: dict[str, tuple[Callable[[], None], int, int]] = {}
    for optimizer in evidence.optimizers:
        cell = evidence.chosen(environment, optimizer, "tuned")
        if cell is not None:
            config = results.read_config(cell.run.folder)
            if config.code and not results.is_trusted(config, trust):
                continue
            if (key := _what_is_timed(config)) not in alike:
                if _is_pretended(config, cell.run.folder):
                    continue
                alike[key] = _updates(config)
            calls[optimizer], state_bytes[optimizer], sizes[optimizer] = alike[key]
    taken: dict[Callable[[], None], list[float]] = {call: [] for call, *_ in alike.values()}
    for _ in range(ROUNDS):
        for call in taken:
            started = time.perf_counter()
            call()
            taken[call].append(1e6 * (time.perf_counter() - started) / UPDATES)
    times = {name: taken[call] for name, call in calls.items()}
    rows: list[tuple[Value, ...]] = []
    for name in calls:
        ratio = None
        if YARDSTICK in times:
            ratio = statistics.median(a / b for a, b in zip(times[name], times[YARDSTICK], strict=True))
        rows.append(
            (name, statistics.median(times[name]), ratio, state_bytes[name] / sizes[name] / 4, _seconds(evidence, name))
        )
    parameters = f"{next(iter(sizes.values())):,} parameters" if sizes else "no run to take a network from"
    return Table(
        name="cost",
        title="Cost",
        note=f"An update of one seed in a compiled loop, on the network for {environment} ({parameters}), timed when "
        "this report was made; the optimizer's state in floats per parameter; and the training time of the reported "
        "runs per seed, which other work on the machine may have lengthened.",
        columns=("optimizer", "update, µs", "times Adam's", "state, floats per parameter", "training, s per seed"),
        rows=rows,
    )


def _seconds(evidence: Evidence, optimizer: str) -> float | None:
    cells = [cell for cell in evidence.reported if cell.optimizer == optimizer]
    if not cells:
        return None
    seconds = [cell.run.summary["wall_seconds"] - cell.run.summary.get("compile_seconds", 0.0) for cell in cells]
    return float(sum(seconds) / sum(len(cell.seeds) for cell in cells))


def _what_is_timed(config: TrainConfig) -> str:
    """The same for runs whose updates are one program: seeds, rates and lengths make no difference."""
    found = typed.plain(dataclasses.replace(config, learning_rate=None, rates=(), seeds=1, seed=0, arm=None))
    del found["hyper"]["total_steps"]
    return json.dumps(found, sort_keys=True)


def _is_pretended(config: TrainConfig, folder: Path) -> bool:
    """Whether settings speak of a large network that the run's own file is too small for: they may be anybody's."""
    agent = loop.build(config)
    shapes = jax.eval_shape(agent.init, jax.random.key(0), agent.hyperparams(config.handed_rate)).params
    nbytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    file = folder / results.PARAMS
    return nbytes > LARGE and (not file.is_file() or nbytes * config.seeds > file.stat().st_size)


def _updates(config: TrainConfig) -> tuple[Callable[[], None], int, int]:
    """A call that makes `UPDATES` updates; bytes of the optimizer's state, number of parameters."""
    agent = loop.build(config)
    hyperparams = agent.hyperparams(config.handed_rate)
    shapes = jax.eval_shape(agent.init, jax.random.key(0), hyperparams)
    make = factory.make(config.optimizer, config.theta, config.options, config.hyper.updates_per_target)
    tx = make_optimizer(make, config.hyper, hyperparams, 0.0)
    leaves, treedef = jax.tree.flatten(shapes.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = jax.tree.unflatten(
        treedef, [0.1 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )

    @jax.jit
    def run(params: Any, state: Any) -> Any:
        grads = jax.tree.map(lambda x: 0.01 * x, params)

        def update(i: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, state = carry
            updates, state = tx.update(grads, state, params, value=1.0 / (1.0 + i))
            return jax.tree.map(jnp.add, params, updates), state

        return jax.lax.fori_loop(0, UPDATES, update, (params, state))

    state = tx.init(params)
    jax.block_until_ready(run(params, state))
    nbytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return lambda: jax.block_until_ready(run(params, state)), nbytes, sum(x.size for x in leaves)
