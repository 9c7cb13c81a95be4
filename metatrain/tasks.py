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
# Losses enter the meta-objective cut at this multiple of what a network has before training.
CAP = 1.5


class Batch(NamedTuple):
    """images: float32 [B, 64] in [0, 1]; labels: int32 [B]."""

    images: jax.Array
    labels: jax.Array


class Task(NamedTuple):
    """One inner problem as pure functions: init(key) -> params; loss(params, batch) -> float32 scalar.

    loss_cap: where the meta-objective cuts the loss.
    """

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, Batch], jax.Array]
    loss_cap: float


def _cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
    # A one-hot product instead of a gather: its gradient is a product too, not a scatter.
    one_hot = jax.nn.one_hot(batch.labels, NUM_CLASSES)
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * one_hot, axis=-1))


def _squared_error(outputs: jax.Array, batch: Batch) -> jax.Array:
    return jnp.mean(jnp.sum(jnp.square(outputs - jax.nn.one_hot(batch.labels, NUM_CLASSES)), axis=-1))


def _reconstruction(logits: jax.Array, batch: Batch) -> jax.Array:
    return jnp.mean(jnp.logaddexp(0.0, logits) - batch.images * logits)


def _network(
    widths: Sequence[int],
    activation: Callable[[jax.Array], jax.Array],
    objective: Callable[[jax.Array, Batch], jax.Array],
    guess: float,
) -> Task:
    """Dense layers of the given widths; `guess` is about the loss of the network as it starts.

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

    def loss(params: Params, batch: Batch) -> jax.Array:
        x = batch.images
        for i in range(last + 1):
            layer = params[f"linear_{i}"]
            w = layer["w"] if widths[i] == widths[i + 1] else layer["w"].T
            x = x @ w + layer["b"]
            x = activation(x) if i < last else x
        return objective(x, batch)

    return Task(init, loss, CAP * guess)


# The first is the published "fast_velo" task: 64-32-10, ReLU, cross-entropy; 2,410 parameters at 32 hidden units.
_NETWORKS: dict[str, Callable[[int], Task]] = {
    "relu": lambda n: _network((NUM_PIXELS, n, NUM_CLASSES), jax.nn.relu, _cross_entropy, math.log(10)),
    "tanh": lambda n: _network((NUM_PIXELS, n, NUM_CLASSES), jnp.tanh, _cross_entropy, math.log(10)),
    "deep": lambda n: _network((NUM_PIXELS, n, n, NUM_CLASSES), jnp.tanh, _cross_entropy, math.log(10)),
    "regression": lambda n: _network((NUM_PIXELS, n, NUM_CLASSES), jax.nn.relu, _squared_error, 1.9),
    "autoencoder": lambda n: _network((NUM_PIXELS, n, NUM_PIXELS), jax.nn.relu, _reconstruction, math.log(2)),
}
NETWORKS = tuple(_NETWORKS)


def make(network: str, hidden: int = 32) -> Task:
    """A task by the name of its network.

    "relu", "tanh": one hidden layer, ten classes, softmax cross-entropy. "deep": two hidden layers of tanh units.
    "regression": squared error to the one-hot label. "autoencoder": the image from itself, cross-entropy per pixel.

    Raises:
      ValueError: for an unknown name or less than one hidden unit.
    """
    check_known("network", network, NETWORKS)
    if hidden < 1:
        raise ValueError(f"hidden must be at least 1, got {hidden}")
    return _NETWORKS[network](hidden)
