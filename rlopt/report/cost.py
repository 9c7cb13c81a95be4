"""What an optimizer costs: time and memory of an update on the networks of a report's first environment."""

import statistics
import time
from collections.abc import Callable, Container
from typing import Any

import jax
import jax.numpy as jnp

from agents.base import make_optimizer
from rlopt.benchmark.plan import YARDSTICK
from rlopt.optimizers import factory
from rlopt.report.evidence import Evidence
from rlopt.report.tables import Table, Value
from rlopt.runs import results
from rlopt.training import loop
from rlopt.training.config import TrainConfig

UPDATES, ROUNDS = 50, 7


def measure(evidence: Evidence, trust: bool | Container[str]) -> Table:
    """Times every optimizer's update here and now, in turn; and adds what the runs themselves took.

    trust: also of optimizers and environments that are named as code (`module:name`), which is imported for it.
    """
    environment = evidence.environments[0]
    calls, state_bytes, sizes = {}, {}, {}
    for optimizer in evidence.optimizers:
        cell = evidence.chosen(environment, optimizer, "tuned")
        if cell is not None:
            config = results.read_config(cell.run.folder)
            if config.code and not results.is_trusted(config, trust):
                continue
            calls[optimizer], state_bytes[optimizer], sizes[optimizer] = _updates(config)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(1e6 * (time.perf_counter() - started) / UPDATES)
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
    seconds = [cell.run.summary["wall_seconds"] - cell.run.summary["compile_seconds"] for cell in cells]
    return float(sum(seconds) / sum(len(cell.seeds) for cell in cells))


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
