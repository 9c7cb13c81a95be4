"""Inner tasks: small networks on 8x8 images that a learned rule is trained to train."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from celo2.names import check_known
from celo2.update_mlp import truncated_normal
from metatrain.datasets import NUM_CLASSES, NUM_PIXELS

Params = Any
Memory = Any
# Losses enter the meta-objective cut at this multiple of what a network has before training.
CAP = 1.5


class Batch(NamedTuple):
    """What one step of an inner problem is computed from.

    Attributes:
      images: float32 [B, 64] in [0, 1].
      labels: int32 [B].
      step: int32, steps done in this unroll; None where no task needs it.
      key: uint32, for the random numbers of this step, the same for both signs of a perturbation; None likewise.
    """

    images: jax.Array
    labels: jax.Array
    step: Any = None
    key: Any = None


class Task(NamedTuple):
    """One inner problem as pure functions.

    Attributes:
      init: init(key) -> params.
      loss: loss(params, memory, batch) -> float32 scalar, the training loss. The rule gets its gradient and is told its
        value.
      loss_cap: where the meta-objective is cut off.
      objective: objective(params, memory, batch) -> float32 scalar, what the meta-objective counts; None: the training
        loss.
      start: start(key, params) -> memory, what the task carries from step to step besides (a target network, the batch
        in use); None: nothing.
      remember: remember(params, memory, batch) -> memory, called before the loss of every step; None likewise.
    """

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, Memory, Batch], jax.Array]
    loss_cap: float
    objective: Callable[[Params, Memory, Batch], jax.Array] | None = None
    start: Callable[[jax.Array, Params], Memory] | None = None
    remember: Callable[[Params, Memory, Batch], Memory] | None = None


class Network(NamedTuple):
    """A network as pure functions.

    Attributes:
      init: init(key) -> params.
      apply: apply(params, images [B, 64]) -> outputs [B, n].
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, jax.Array], jax.Array]


def _cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
    # A one-hot product instead of a gather: its gradient is a product too, not a scatter.
    one_hot = jax.nn.one_hot(batch.labels, NUM_CLASSES)
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * one_hot, axis=-1))


def _squared_error(outputs: jax.Array, batch: Batch) -> jax.Array:
    return jnp.mean(jnp.sum(jnp.square(outputs - jax.nn.one_hot(batch.labels, NUM_CLASSES)), axis=-1))


def _reconstruction(logits: jax.Array, batch: Batch) -> jax.Array:
    return jnp.mean(jnp.logaddexp(0.0, logits) - batch.images * logits)


def dense(widths: Sequence[int], activation: Callable[[jax.Array], jax.Array]) -> Network:
    """Dense layers of the given widths.

    Weights are stored as [outputs, inputs]. The learned rules treat a matrix and its transpose alike, square ones
    aside, which therefore are [inputs, outputs] as in flax. The gradient comes out of the backward pass in that order,
    and the last axis is no 10: both let the compiler vectorise the rule.
    """
    last = len(widths) - 2

    def init(key: jax.Array) -> Params:
        params = {}
        for i, (layer_key, ins, outs) in enumerate(
            zip(jax.random.split(key, last + 1), widths, widths[1:], strict=False)
        ):
            shape = (ins, outs) if ins == outs else (outs, ins)
            params[f"linear_{i}"] = {"w": truncated_normal(layer_key, shape, ins), "b": jnp.zeros(outs)}
        return params

    def apply(params: Params, images: jax.Array) -> jax.Array:
        x = images
        for i in range(last + 1):
            layer = params[f"linear_{i}"]
            w = layer["w"] if widths[i] == widths[i + 1] else layer["w"].T
            x = x @ w + layer["b"]
            x = activation(x) if i < last else x
        return x

    return Network(init, apply)


class _Kind(NamedTuple):
    """hidden layers, their activation, outputs; objective(outputs, batch); guess: its value as the network starts."""

    layers: int
    activation: Callable[[jax.Array], jax.Array]
    outputs: int
    objective: Callable[[jax.Array, Batch], jax.Array]
    guess: float


# The first is the published "fast_velo" task: 64-32-10, ReLU, cross-entropy; 2,410 parameters at 32 hidden units.
_KINDS = {
    "relu": _Kind(1, jax.nn.relu, NUM_CLASSES, _cross_entropy, math.log(10)),
    "tanh": _Kind(1, jnp.tanh, NUM_CLASSES, _cross_entropy, math.log(10)),
    "deep": _Kind(2, jnp.tanh, NUM_CLASSES, _cross_entropy, math.log(10)),
    "regression": _Kind(1, jax.nn.relu, NUM_CLASSES, _squared_error, 1.9),
    "autoencoder": _Kind(1, jax.nn.relu, NUM_PIXELS, _reconstruction, math.log(2)),
}
NETWORKS = tuple(_KINDS)
# Networks of ten classes, which other problems than classification can be put to (`metatrain.problems`).
CLASSIFIERS = ("relu", "tanh", "deep")


def network(name: str, hidden: int = 32, outputs: int | None = None) -> Network:
    """A network by name, with other outputs than its own if told so.

    Raises:
      ValueError: for an unknown name or less than one hidden unit.
    """
    check_known("network", name, NETWORKS)
    if hidden < 1:
        raise ValueError(f"hidden must be at least 1, got {hidden}")
    kind = _KINDS[name]
    return dense((NUM_PIXELS, *[hidden] * kind.layers, outputs or kind.outputs), kind.activation)


def make(name: str, hidden: int = 32) -> Task:
    """Supervised learning with a network by its name.

    "relu", "tanh": one hidden layer, ten classes, softmax cross-entropy. "deep": two hidden layers of tanh units.
    "regression": squared error to the one-hot label. "autoencoder": the image from itself, cross-entropy per pixel.

    Raises:
      ValueError: as `network`.
    """
    found = network(name, hidden)
    kind = _KINDS[name]

    def loss(params: Params, memory: Memory, batch: Batch) -> jax.Array:
        del memory
        return kind.objective(found.apply(params, batch.images), batch)

    return Task(found.init, loss, CAP * kind.guess)
