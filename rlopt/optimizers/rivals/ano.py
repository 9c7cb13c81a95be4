"""Ano: the sign of the momentum with the length of this gradient (Kegreisz, arXiv 2508.18258)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def scale_by_ano(b1: float = 0.92, b2: float = 0.99, eps: float = 1e-8) -> optax.GradientTransformation:
    """|g| sign(m) / sqrt(v^ + eps), with m <- b1 m + (1 - b1) g and v <- b2 v + (1 - b2) sign(g^2 - v) g^2.

    v^ is v over 1 - b2^t; m is not corrected, since its sign alone counts. Opposite to what shrinks steps where
    gradients disagree: the length is that of a single gradient.

    Reference: arXiv 2508.18258.
    """

    def init(params: Any) -> optax.ScaleByAdamState:
        mu, nu = (optax.tree.zeros_like(params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros([], jnp.int32), mu, nu)

    def update(updates: Any, state: optax.ScaleByAdamState, params: Any = None) -> tuple[Any, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.sign(g * g - v) * g * g, state.nu, updates)
        correction = 1 - jnp.float32(b2) ** count.astype(jnp.float32)

        def step(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            return (jnp.abs(g) * jnp.sign(m) * jax.lax.rsqrt(v / correction + eps)).astype(g.dtype)

        return jax.tree.map(step, updates, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def ano(
    learning_rate: Any, *, b1: float = 0.92, b2: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """`scale_by_ano` and decoupled weight decay."""
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(scale_by_ano(b1, b2, eps), decay, optax.scale_by_learning_rate(learning_rate))
