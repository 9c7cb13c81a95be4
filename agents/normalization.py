"""Running statistics of observations and rewards, kept inside the agent's state and frozen in evaluation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

CLIP = 10.0
_EPS = 1e-8


class Moments(NamedTuple):
    """count: float32 scalar. mean, variance: float32 of the shape of one sample."""

    count: jax.Array  # type: ignore[assignment]  # shadows tuple.count
    mean: jax.Array
    variance: jax.Array


def init(shape: tuple[int, ...]) -> Moments:
    """Statistics that have seen next to nothing: mean 0, variance 1."""
    return Moments(jnp.float32(1e-4), jnp.zeros(shape), jnp.ones(shape))


def update(moments: Moments, samples: jax.Array, valid: jax.Array) -> Moments:
    """Folds a batch in (Chan, Golub and LeVeque's parallel update).

    Args:
      moments: so far.
      samples: [..., *shape].
      valid: bool [...]; the others do not count.
    """
    shape = moments.mean.shape
    samples = jnp.asarray(samples, jnp.float32).reshape(-1, *shape)
    weight = valid.reshape(-1).astype(jnp.float32)
    count = jnp.sum(weight)
    weight = (weight / jnp.maximum(count, 1)).reshape(-1, *(1,) * len(shape))
    mean = jnp.sum(weight * samples, axis=0)
    variance = jnp.sum(weight * jnp.square(samples - mean), axis=0)
    total = moments.count + count
    delta = mean - moments.mean
    share = count / total
    spread = moments.variance * (1 - share) + variance * share + jnp.square(delta) * share * (1 - share)
    return Moments(total, moments.mean + delta * share, spread)


def standardize(moments: Moments, samples: jax.Array) -> jax.Array:
    """(x - mean) / std, cut at +-10."""
    return jnp.clip((samples - moments.mean) * jax.lax.rsqrt(moments.variance + _EPS), -CLIP, CLIP)


def apply(moments: Moments | None, samples: jax.Array) -> jax.Array:
    """`standardize`, or the samples as they are where there are no statistics."""
    return samples if moments is None else standardize(moments, samples)


class RewardScale(NamedTuple):
    """moments: of the discounted returns; discounted: float32 [N], each environment's so far."""

    moments: Moments
    discounted: jax.Array


def init_rewards(num_envs: int) -> RewardScale:
    """Before the first reward."""
    return RewardScale(init(()), jnp.zeros(num_envs, jnp.float32))


def scale_rewards(
    scale: RewardScale, rewards: jax.Array, done: jax.Array, valid: jax.Array, gamma: jax.Array | float
) -> tuple[jax.Array, RewardScale]:
    """Rewards over the standard deviation of the discounted return so far, cut at +-10.

    R_t = r_t + gamma R_{t-1}, started anew after the end of an episode. The mean is not subtracted: that would
    change which behaviour is best.

    Args:
      scale: so far. rewards: float32 [T, N]. done, valid: bool [T, N]. gamma: discount.
    """

    def step(discounted: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        reward, ended, counts = inputs
        discounted = jnp.where(counts, reward + gamma * discounted, discounted)
        return jnp.where(ended, 0.0, discounted), discounted

    discounted, returns = jax.lax.scan(step, scale.discounted, (rewards, done, valid))
    moments = update(scale.moments, returns, valid)
    scaled = jnp.clip(rewards * jax.lax.rsqrt(moments.variance + _EPS), -CLIP, CLIP)
    return scaled, RewardScale(moments, discounted)
