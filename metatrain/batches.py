"""Which images make up a batch: every epoch of a family goes through its set in an order of its own.

The order is computed, not stored, so that any batch of any epoch can be found from its position alone. A run therefore
carries no reading position and can be resumed and sharded at will.
"""

import math

import jax
import jax.numpy as jnp

from agents.permutation import mix, permuted


def rows(position: jax.Array, size: jax.Array, key: jax.Array, batch_size: int) -> jax.Array:
    """The images of one batch of an endless stream of epochs; an epoch's incomplete last batch is left out.

    Args:
      position: number of the batch in the stream, uint32 of any shape.
      size: images of the set, uint32, broadcasts to position; at least batch_size.
      key: uint32, broadcasts to position.
      batch_size: images per batch.

    Returns:
      int32 [*position.shape, batch_size].
    """
    per_epoch = size // jnp.uint32(batch_size)
    epoch, slot = position // per_epoch, position % per_epoch
    index = (slot * jnp.uint32(batch_size))[..., None] + jnp.arange(batch_size, dtype=jnp.uint32)
    # The key of an epoch is hashed once more so that neighbouring epochs share no round keys.
    epoch_key = jnp.broadcast_to(mix(mix(epoch) ^ key), position.shape)
    return permuted(index, jnp.broadcast_to(size, position.shape)[..., None], epoch_key[..., None]).astype(jnp.int32)


def step_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """The key of one step's random numbers, from the key of a run; uint32."""
    return mix(key ^ mix(jnp.asarray(step).astype(jnp.uint32) + jnp.uint32(1)))


def uniform(key: jax.Array, stream: int, shape: tuple[int, ...]) -> jax.Array:
    """Numbers in [0, 1), float32 of the given shape, hashed from a uint32 key: each stream has its own.

    The inner tasks draw some hundreds of numbers at every step; `jax.random` would take longer for that than the step.
    """
    index = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    hashed = mix(index ^ mix(key + jnp.uint32(0x9E3779B9) * jnp.uint32(stream + 1)))
    return (mix(hashed + key) >> 8).astype(jnp.float32) * jnp.float32(2**-24)
