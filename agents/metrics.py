"""What agents report: what all share, and what those report that learn action values."""

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


def rms(tree: Any) -> jax.Array:
    """Root mean square over all numbers of a tree."""
    return optax.tree.norm(tree) / jnp.sqrt(sum(x.size for x in jax.tree.leaves(tree)))


def episode_sums(episode_return: jax.Array, episode_length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return, length and number of the episodes that ended in a rollout, from [T, N] that are 0 where none did."""
    length = jnp.sum(episode_length).astype(jnp.float32)
    return jnp.sum(episode_return), length, jnp.sum(episode_length > 0).astype(jnp.int32)


def update_stats(loss: jax.Array, q_mean: jax.Array, td_error: jax.Array, grads: Any, updates: Any) -> UpdateStats:
    """Joins losses with the sizes of gradient and update."""
    return UpdateStats(loss, q_mean, td_error, optax.tree.norm(grads), rms(updates))


def iteration(
    episode_return: jax.Array, episode_length: jax.Array, history: UpdateStats, epsilon: jax.Array
) -> QMetrics:
    """Sums up an iteration.

    Args:
      episode_return, episode_length: [T, N], 0 where no episode ended. history: leaves [updates].
      epsilon: share of random actions.
    """
    return QMetrics(
        *episode_sums(episode_return, episode_length),
        **jax.tree.map(jnp.mean, history)._asdict(),
        epsilon=jnp.asarray(epsilon, jnp.float32),
    )
