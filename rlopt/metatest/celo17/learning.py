"""Meta-training as a task: the parameters are the weights of a learned optimizer, the loss is that of what it trains.

Two networks (64-32-10, ReLU, batches of 128) are trained for 50 steps each by Adafac-MLP; the loss is the mean over all
steps, each cut at 1.5 ln 10. Its gradient is that of evolution strategies: PES (arXiv 2112.13835) whose truncation is
the whole unroll, which is what the longest unroll of 50 allows without a state of the task's own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import celo2
from metatrain import pes
from metatrain import tasks as inner
from metatrain.unroll import capped

UNROLL = 50
PROBLEMS = 2
INNER_BATCH = 128
STD = 0.01
HIDDEN = 32


def init(key: jax.Array) -> Any:
    """Random weights of the optimizer, in the tree of `celo2.init_theta`."""
    return celo2.init_theta("adafac_mlp", key)


def sample(key: jax.Array, arrays: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Images [2, 50, 128, 64], labels [2, 50, 128] and two keys, from images uint8 [N, 64] and labels int32 [N]."""
    images, labels = arrays
    rows_key, problem_key = jax.random.split(key)
    rows = jax.random.randint(rows_key, (PROBLEMS, UNROLL, INNER_BATCH), 0, len(labels))
    return images[rows].astype(jnp.float32) / 255, labels[rows], jax.random.split(problem_key, PROBLEMS)


def loss(theta: Any, batch: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Mean loss of both signs of all problems; float32 scalar."""
    losses, gradient = jax.vmap(lambda *problem: _pair(theta, *problem))(*batch)
    gradient = jax.lax.stop_gradient(jax.tree.map(lambda g: jnp.mean(g, axis=0), gradient))
    # Zero, with the estimate as its derivative.
    products = jax.tree.map(lambda g, t: jnp.sum(g * (t - jax.lax.stop_gradient(t))), gradient, theta)
    return jax.lax.stop_gradient(jnp.mean(losses)) + sum(jax.tree.leaves(products))


def _pair(theta: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
    """Mean loss of theta + e and theta - e on one problem, and the estimate of its gradient."""
    theta = jax.lax.stop_gradient(theta)
    noise_key, init_key = jax.random.split(key)
    noise = pes.sample_perturbation(noise_key, theta, STD)
    positive, negative = jax.vmap(lambda t: unrolled(t, init_key, images, labels))(pes.antithetic(theta, noise))
    scale = (positive - negative) / (2 * STD**2)
    return (positive + negative) / 2, jax.tree.map(lambda e: scale * e, noise)


def unrolled(theta: Any, key: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean loss of one training by the optimizer, on batches [T, B, 64] and [T, B]."""
    task = inner.make("relu", HIDDEN)
    optimizer = celo2.adafac_mlp(theta)
    params = task.init(key)

    def step(carry: Any, given: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        params, state = carry
        value, gradient = jax.value_and_grad(lambda p: task.loss(p, None, inner.Batch(*given)))(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), capped(value, task.loss_cap)

    return jnp.mean(jax.lax.scan(step, (params, optimizer.init(params)), (images, labels))[1])
