"""What agents that learn action values report."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class UpdateStats(NamedTuple):
    """Of one update; float32 scalars, see `QMetrics`."""

    loss: jax.Array
    q_mean: jax.Array
    td_error: jax.Array
    grad_norm: jax.Array
    update_rms: jax.Array


class QMetrics(NamedTuple):
    """One iteration; scalars. Returns are raw, of the training episodes that ended in this iteration.

    return_sum, length_sum: float32 sums over those episodes; num_episodes: int32.
    loss, q_mean, td_error (mean absolute), grad_norm, update_rms: float32 means over the updates, 0 before learning
    starts. epsilon: share of random actions.
    """

    return_sum: jax.Array
    length_sum: jax.Array
    num_episodes: jax.Array
    loss: jax.Array
    q_mean: jax.Array
    td_error: jax.Array
    grad_norm: jax.Array
    update_rms: jax.Array
    epsilon: jax.Array


def update_stats(loss: jax.Array, q_mean: jax.Array, td_error: jax.Array, grads: Any, updates: Any) -> UpdateStats:
    """Joins losses with the sizes of gradient and update."""
    size = sum(x.size for x in jax.tree.leaves(updates))
    return UpdateStats(loss, q_mean, td_error, optax.tree.norm(grads), optax.tree.norm(updates) / jnp.sqrt(size))


def iteration(
    episode_return: jax.Array, episode_length: jax.Array, history: UpdateStats, epsilon: jax.Array
) -> QMetrics:
    """Sums up an iteration.

    Args:
      episode_return, episode_length: [T, N], 0 where no episode ended. history: leaves [updates].
      epsilon: share of random actions.
    """
    return QMetrics(
        jnp.sum(episode_return),
        jnp.sum(episode_length).astype(jnp.float32),
        jnp.sum(episode_length > 0).astype(jnp.int32),
        **jax.tree.map(jnp.mean, history)._asdict(),
        epsilon=jnp.asarray(epsilon, jnp.float32),
    )
