"""Inner tasks: small networks that a learned rule is trained to train."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from celo2.update_mlp import truncated_normal
from metatrain.datasets import NUM_CLASSES, NUM_PIXELS

Params = Any


class Batch(NamedTuple):
    """images: float32 [B, 64] in [0, 1]; labels: int32 [B]."""

    images: jax.Array
    labels: jax.Array


class Task(NamedTuple):
    """One inner problem as pure functions: init(key) -> params; loss(params, batch) -> float32 scalar."""

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, Batch], jax.Array]


def mlp_classifier(hidden: int = 32) -> Task:
    """64 -> hidden -> ReLU -> 10, softmax cross-entropy (the published "fast_velo" tasks: hidden 32, 2,410 parameters).

    The last weight is stored as [classes, hidden]. The learned rules treat a matrix and its transpose alike
    (square ones aside), and a last axis of 32 instead of 10 lets the compiler vectorise the rule.
    """
    if hidden < 1:
        raise ValueError(f"hidden must be at least 1, got {hidden}")

    def init(key: jax.Array) -> Params:
        hidden_key, head_key = jax.random.split(key)
        return {
            "linear_0": {"w": truncated_normal(hidden_key, (NUM_PIXELS, hidden), NUM_PIXELS), "b": jnp.zeros(hidden)},
            "linear_1": {"w": truncated_normal(head_key, (NUM_CLASSES, hidden), hidden), "b": jnp.zeros(NUM_CLASSES)},
        }

    def loss(params: Params, batch: Batch) -> jax.Array:
        first, last = params["linear_0"], params["linear_1"]
        activations = jnp.maximum(batch.images @ first["w"] + first["b"], 0.0)
        logits = activations @ last["w"].T + last["b"]
        log_probs = jax.nn.log_softmax(logits)
        # A one-hot product instead of a gather: its gradient is a product too, not a scatter.
        chosen = jnp.sum(log_probs * jax.nn.one_hot(batch.labels, NUM_CLASSES), axis=-1)
        return -jnp.mean(chosen)

    return Task(init, loss)
