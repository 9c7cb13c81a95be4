"""What a task of a suite is: parameters, batches, a loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

# Runs of one device and call: all calls run the same program, whatever the number of runs.
BATCH = 3
Sample = Callable[..., Any]


class Samplers(NamedTuple):
    """train, test: (key) -> batch, or (key, arrays) -> batch where a task has arrays."""

    train: Sample
    test: Sample


class Task(NamedTuple):
    """init(key) -> params. sample(key) -> batch. loss(params, batch) -> float32 scalar. about: one line.

    test: as sample, from data that are not trained on. arrays: data, a tree that goes into the compiled program as an
    argument and is what `sample` and `test` get as their second one; None: they hold their data. source: what the data
    are. digest: of the data, part of the name of results; "": they never change. side_by_side: runs per device and
    call, fewer where one needs gigabytes.
    """

    name: str
    about: str
    init: Callable[[jax.Array], Any]
    sample: Sample
    loss: Callable[[Any, Any], jax.Array]
    test: Sample
    arrays: Any = None
    source: str = "packaged"
    digest: str = ""
    side_by_side: int = BATCH


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over all but the last axis of logits; labels int32."""
    # A one-hot product: the gradient of a gather is slow on CPUs.
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, logits.shape[-1]), axis=-1))


def of_network(
    name: str,
    about: str,
    network: nn.Module,
    samplers: Samplers,
    objective: Callable[[jax.Array, Any], jax.Array] = cross_entropy,
    **more: Any,
) -> Task:
    """A task of pairs (inputs, targets): a network's outputs for the inputs, judged by objective(outputs, targets).

    more: other fields of `Task`.
    """
    arrays = more.get("arrays")

    def init(key: jax.Array) -> Any:
        given = (key,) if arrays is None else (key, arrays)
        inputs = jax.eval_shape(samplers.train, *given)[0]
        return network.init(key, jnp.zeros(inputs.shape, inputs.dtype))["params"]

    def loss(params: Any, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        inputs, targets = batch
        outputs: Any = network.apply({"params": params}, inputs)
        return objective(outputs, targets)

    return Task(name, about, init, samplers.train, loss, samplers.test, **more)
