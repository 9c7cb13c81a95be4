"""What a training step costs: floating-point operations, counted in the program, and seconds, estimated from them."""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend import core

from agents import OptimizerFactory
from rlopt.metatest.task import Task

_STEPS = 1000
_SIDE, _LENGTH = 512, 1 << 22
# Of the parameters, in the guess of a time.
_PASSES = 3


class Costs(NamedTuple):
    """Of one training step: operations of the loss and its gradient, those of the update, numbers that are updated."""

    gradient: float
    update: float
    parameters: int


def num_parameters(params: Any) -> int:
    """Numbers in a tree of arrays or shapes."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(params))


def of_task(task: Task) -> tuple[float, Any]:
    """Operations of a batch's loss and gradient, and the shapes of the parameters. Compiles nothing."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(task.init, key)
    given = () if task.arrays is None else (jax.eval_shape(lambda x: x, task.arrays),)
    batch = jax.eval_shape(task.sample, key, *given)
    return counted(jax.value_and_grad(task.loss), params, batch), params


def of_update(factory: OptimizerFactory, params: Any) -> float:
    """Operations of one update of parameters of these shapes. Compiles nothing."""
    optimizer = optax.with_extra_args_support(factory(1e-3, _STEPS))
    state = jax.eval_shape(optimizer.init, params)

    def update(grads: Any, state: Any, params: Any, value: jax.Array) -> Any:
        updates, state = optimizer.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    return counted(update, params, state, params, jax.ShapeDtypeStruct((), jnp.float32))


def counted(function: Any, *shapes: Any) -> float:
    """Operations of a function, by XLA's analysis of the program before it is optimised.

    That counts what is in a loop once; here it counts as often as a `lax.scan` goes round. Loops whose length is found
    out at run time still count once.
    """
    return _counted(jax.make_jaxpr(function)(*shapes))


def _counted(program: core.ClosedJaxpr) -> float:
    arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in program.in_avals]
    analysis = jax.jit(core.jaxpr_as_fun(program)).lower(*arguments).cost_analysis()
    total = float((analysis or {}).get("flops", 0.0))
    return total + sum((length - 1) * _counted(body) for body, length in _loops(program.jaxpr))


def _loops(jaxpr: Any) -> Iterator[tuple[core.ClosedJaxpr, int]]:
    """Bodies of the outermost scans and how often each is run; what lies in a body is found when that is counted."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            body = equation.params["jaxpr"]
            yield body, equation.params["length"]
            # One round is in the count already, and with it one of every loop within.
            yield from _loops(body.jaxpr)
            continue
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if hasattr(part, "jaxpr"):
                    yield from _loops(part.jaxpr)
                elif hasattr(part, "eqns"):
                    yield from _loops(part)


class Speed(NamedTuple):
    """Operations per second in products of matrices; numbers per second that are read, changed a little and written."""

    operations: float
    numbers: float

    def seconds(self, costs: Costs) -> float:
        """A guess of the duration of a step, in which an optimizer goes over its parameters a few times."""
        return (costs.gradient + costs.update) / self.operations + _PASSES * costs.parameters / self.numbers


def measure_speed() -> Speed:
    """Of this machine as busy as it is now; takes about a second."""
    matrix = jnp.ones((_SIDE, _SIDE))
    vector = jnp.ones(_LENGTH)
    products = _median(jax.jit(lambda x: x @ x), matrix)
    numbers = _median(jax.jit(lambda x: (0.9 * x + 0.1) * jax.lax.rsqrt(x * x + 1e-8)), vector)
    return Speed(2 * _SIDE**3 / products, _LENGTH / numbers)


def _median(function: Any, argument: jax.Array) -> float:
    function(argument).block_until_ready()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        function(argument).block_until_ready()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def as_time(seconds: float) -> str:
    """Of about that length: "40 s", "12 min", "3.5 h", "6 days"."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:,.0f} {unit}"
    return f"{math.ceil(seconds)} s"
