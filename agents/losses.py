"""Losses per transition; the caller averages."""

import chex
import jax
import jax.numpy as jnp


def clipped_surrogate(log_ratio: jax.Array, advantages: jax.Array, epsilon: jax.Array | float) -> jax.Array:
    """PPO's policy loss, max(-A r, -A clip(r, 1 - epsilon, 1 + epsilon)) with r = exp(log_ratio); any shape.

    Reference: Schulman et al., arXiv 1707.06347, equation 7 (negated).
    """
    chex.assert_equal_shape([log_ratio, advantages])
    ratio = jnp.exp(log_ratio)
    return jnp.maximum(-advantages * ratio, -advantages * jnp.clip(ratio, 1 - epsilon, 1 + epsilon))


def clipped_value_loss(
    values: jax.Array, old_values: jax.Array, targets: jax.Array, epsilon: jax.Array | float
) -> jax.Array:
    """The larger of the squared losses of V and of V clipped to old V +- epsilon, each halved."""
    chex.assert_equal_shape([values, old_values, targets])
    clipped = old_values + jnp.clip(values - old_values, -epsilon, epsilon)
    return jnp.maximum(squared_error(values - targets), squared_error(clipped - targets))


def approximate_kl(log_ratio: jax.Array) -> jax.Array:
    """(r - 1) - log r, an unbiased and non-negative estimate of KL(old || new) per sample (Schulman, 2020)."""
    return jnp.exp(log_ratio) - 1 - log_ratio


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of x where mask is true; 0 if it is nowhere. What x is elsewhere does not matter, be it not finite."""
    chex.assert_equal_shape([x, mask])
    mask = mask.astype(bool)
    return jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(jnp.sum(mask.astype(x.dtype)), 1)


def standardize(x: jax.Array, mask: jax.Array, eps: float = 1e-8) -> jax.Array:
    """(x - mean) / (std + eps) with mean and std over the masked entries."""
    mean = masked_mean(x, mask)
    return (x - mean) / (jnp.sqrt(masked_mean(jnp.square(x - mean), mask)) + eps)


def squared_error(error: jax.Array) -> jax.Array:
    """error^2 / 2."""
    return 0.5 * jnp.square(error)


def huber(error: jax.Array) -> jax.Array:
    """error^2 / 2 up to 1, |error| - 1/2 beyond."""
    size = jnp.abs(error)
    return jnp.where(size <= 1, squared_error(error), size - 0.5)
