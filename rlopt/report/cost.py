"""What an optimizer costs: time and memory of an update on the networks of a report's first environment."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents.base import make_optimizer
from rlopt.optimizers import factory
from rlopt.report.cells import Cell
from rlopt.report.evidence import Evidence
from rlopt.report.formats import Table, Value
from rlopt.training import loop, machine
from rlopt.training.config import TrainConfig

UPDATES, ROUNDS = 50, 7


def measure(evidence: Evidence, trust: bool) -> tuple[Table, list[str]]:
    """Times every optimizer's update here and now, in turn; and adds what the runs themselves took.

    trust: also of optimizers and environments that are named as code (`module:name`), which is imported for it.

    Returns:
      The table, and a sentence for each optimizer that cannot be made or timed here, whose cells are empty.
    """
    environment = next(
        (e for e in evidence.environments if any(_cells(evidence, o, e) for o in evidence.optimizers)), ""
    )
    calls, state_bytes, sizes, problems = {}, {}, {}, []
    for optimizer in evidence.optimizers:
        for cell in _cells(evidence, optimizer, environment):
            if cell.config.code and not trust:
                continue
            try:
                calls[optimizer], state_bytes[optimizer], sizes[optimizer] = _updates(cell.config)
            # Whatever an optimizer, a network or an environment raises that is of another version, or somebody's own.
            except Exception as error:
                problems.append(f"{optimizer} could not be timed, since it cannot be made here: {_line(error)}.")
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(1e6 * (time.perf_counter() - started) / UPDATES)
    middle = {name: statistics.median(found) for name, found in times.items()}
    yardstick = middle.get(evidence.yardstick or "")
    rows: list[tuple[Value, ...]] = [
        (
            name,
            middle.get(name),
            middle[name] / yardstick if name in middle and yardstick else None,
            state_bytes[name] / sizes[name] / 4 if name in sizes else None,
            *_seconds(evidence, name),
        )
        for name in evidence.optimizers
    ]
    parameters = f"{next(iter(sizes.values())):,} parameters" if sizes else "no run to take a network from"
    table = Table(
        name="cost",
        title="Cost",
        note=f"An update of one seed in a compiled loop, on the network for {environment} ({parameters}), timed when "
        f"this report was made, on {machine.processor()}: the median of {ROUNDS} rounds; the optimizer's state in "
        "floats per parameter; and the training time of the reported runs per seed, on the machine that they ran on, "
        "which other work there may have lengthened, and over all its cores.",
        columns=(
            "optimizer",
            "update, µs",
            f"times {evidence.baseline}'s",
            "state, floats per parameter",
            "training, s per seed",
            "processor, s per seed",
        ),
        rows=rows,
    )
    return table, problems


def _cells(evidence: Evidence, optimizer: str, environment: str) -> list[Cell]:
    cell = evidence.chosen(environment, optimizer, "tuned")
    return [] if cell is None else [cell]


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _seconds(evidence: Evidence, optimizer: str) -> tuple[float | None, float | None]:
    cells = [cell for cell in evidence.reported if cell.optimizer == optimizer]
    seeds = sum(len(cell.seeds) for cell in cells)
    if not seeds:
        return None, None
    processor = [cell.processor_seconds for cell in cells]
    known = [seconds for seconds in processor if seconds is not None]
    return sum(cell.wall_seconds for cell in cells) / seeds, sum(known) / seeds if len(known) == len(cells) else None


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
