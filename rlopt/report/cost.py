"""What an optimizer costs: time and memory of an update on the networks of a report's first environment."""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import telling
from agents.base import make_optimizer
from rlopt import typed
from rlopt.optimizers import factory
from rlopt.report.cells import Evidence
from rlopt.report.formats import Table, Value
from rlopt.runs import results
from rlopt.training import loop, machine
from rlopt.training.config import TrainConfig

UPDATES, ROUNDS = 50, 7
# Bytes of parameters that are timed without asking whether the run has as many.
LARGE = 256 << 20


class _Update(NamedTuple):
    """call: makes `UPDATES` updates. state_bytes: of the optimizer's state. size: number of parameters."""

    call: Callable[[], None]
    state_bytes: int
    size: int


class _Made(NamedTuple):
    """What can be timed on the network for an environment, by optimizer, and sentences on what cannot."""

    environment: str
    updates: dict[str, _Update]
    problems: list[str]


def measure(evidence: Evidence, trust: bool | Container[str]) -> tuple[Table, list[str]]:
    """Times every optimizer's update here and now, in turn; and adds what the runs themselves took.

    trust: also of optimizers and environments that are named as code (`module:name`), which is imported for it.

    Returns:
      The table, and a sentence for each optimizer that cannot be made or timed here, whose cells are empty.
    """
    made = _Made("", {}, [])
    for environment in evidence.environments:
        made = _make(evidence, environment, trust)
        if made.updates:  # else there is another network that something can be made for
            break
    times: dict[Callable[[], None], list[float]] = {update.call: [] for update in made.updates.values()}
    for _ in range(ROUNDS):
        for call, taken in times.items():
            started = time.perf_counter()
            call()
            taken.append(1e6 * (time.perf_counter() - started) / UPDATES)
    middle = {name: statistics.median(times[update.call]) for name, update in made.updates.items()}
    yardstick = middle.get(evidence.yardstick or "")
    rows: list[tuple[Value, ...]] = [
        (
            name,
            middle.get(name),
            middle[name] / yardstick if name in middle and yardstick else None,
            made.updates[name].state_bytes / made.updates[name].size / 4 if name in middle else None,
            *_seconds(evidence, name),
        )
        for name in evidence.optimizers
    ]
    sizes = [update.size for update in made.updates.values()]
    parameters = f"{sizes[0]:,} parameters" if sizes else "none of which could be made here"
    table = Table(
        name="cost",
        title="Cost",
        note=f"An update of one seed in a compiled loop, on the network for {made.environment} ({parameters}), timed "
        f"when this report was made, on {machine.processor()}: the median of {ROUNDS} rounds; the optimizer's state in "
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
    return table, made.problems


def _make(evidence: Evidence, environment: str, trust: bool | Container[str]) -> _Made:
    """The updates of every optimizer on the network for an environment."""
    made = _Made(environment, {}, [])
    alike: dict[str, _Update] = {}
    for optimizer in evidence.optimizers:
        cell = evidence.chosen(environment, optimizer, "tuned")
        if cell is None or (cell.config.code and not results.is_trusted(cell.config, trust)):
            continue
        try:
            if (key := _what_is_timed(cell.config)) not in alike:
                agent = loop.make_agent(cell.config)
                hyperparams = agent.hyperparams(cell.config.handed_rate)
                shapes = jax.eval_shape(agent.init, jax.random.key(0), hyperparams).params
                if _is_pretended(cell.config, cell.folders[0], shapes):
                    made.problems.append(f"{optimizer} was not timed: its settings speak of more weights than it has.")
                    continue
                # Settings that are none of these make another agent, whose optimizer and network may be the same.
                program = _program(cell.config, shapes)
                if program not in alike:
                    alike[program] = _update(cell.config, hyperparams, shapes)
                alike[key] = alike[program]
            made.updates[optimizer] = alike[key]
            if cell.config.optimizer_of:
                own = ", ".join(cell.config.optimizer_of)
                made.problems.append(f"{optimizer} was timed as if its {own} had no optimizer of their own.")
        # Whatever an optimizer, a network or an environment raises that is of another version, or somebody's own.
        except Exception as error:
            made.problems.append(f"{optimizer} could not be timed, since it cannot be made here: {_line(error)}.")
    return made


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


def _what_is_timed(config: TrainConfig) -> str:
    """The same for runs whose updates are one program: seeds, rates, lengths and traced settings make no difference."""
    found = typed.plain(dataclasses.replace(config, learning_rate=None, rates=(), seeds=1, seed=0, arm=None))
    traced = {field.name for field in dataclasses.fields(config.hyper) if field.metadata.get("traced")}
    found["hyper"] = {name: x for name, x in found["hyper"].items() if name not in traced | {"total_steps"}}
    return json.dumps(found, sort_keys=True)


def _program(config: TrainConfig, shapes: Any) -> str:
    """All that an update depends on; alike for more runs than `_what_is_timed`, but an agent has to be made first."""
    found = typed.plain(config)
    named = {name: found[name] for name in ("optimizer", "theta", "options")} | {"anneal": config.hyper.anneal}
    return f"{json.dumps(named, sort_keys=True)} {shapes}"


def _is_pretended(config: TrainConfig, folder: Path, shapes: Any) -> bool:
    """Whether settings speak of a large network that the run's own file is too small for: they may be anybody's."""
    nbytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    file = folder / results.PARAMS
    return nbytes > LARGE and (not file.is_file() or nbytes * config.seeds > file.stat().st_size)


def _update(config: TrainConfig, hyperparams: Any, shapes: Any) -> _Update:
    """The update of a configuration's optimizer on parameters of the given shapes."""
    sizes = config.hyper.updates_per_target, (), config.hyper.epochs_per_target
    make = factory.make(config.optimizer, config.theta, config.options, *sizes)
    tx = make_optimizer(make, config.hyper, hyperparams, 0.0)
    leaves, treedef = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = jax.tree.unflatten(
        treedef, [0.1 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )

    @jax.jit
    def run(params: Any, state: Any) -> Any:
        grads = jax.tree.map(lambda x: 0.01 * x, params)

        def update(i: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, state = carry
            told = telling.extra_args(
                params,
                value=1.0 / (1.0 + i),
                progress=i / UPDATES,
                epoch=jnp.float32(0),
                key=jax.random.key(i),
                dormancy=lambda: jax.tree.map(lambda _: jnp.ones([]), params),
            )
            updates, state = tx.update(grads, state, params, **told)
            return jax.tree.map(jnp.add, params, updates), state

        return jax.lax.fori_loop(0, UPDATES, update, (params, state))

    state = tx.init(params)
    jax.block_until_ready(run(params, state))
    nbytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return _Update(lambda: jax.block_until_ready(run(params, state)), nbytes, sum(x.size for x in leaves))
