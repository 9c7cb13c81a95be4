"""What agents report: what all share, and what those report that learn action values, SAC among them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import losses
from envs import TimeStep


class QParts(NamedTuple):
    """What a loss of action values tells besides, float32 scalars: see `QMetrics`."""

    q_mean: jax.Array
    td_error: jax.Array


class QMetrics(NamedTuple):
    """One iteration; scalars. Returns are raw, of the training episodes that ended in this iteration.

    Attributes:
      return_sum: float32, over those episodes.
      length_sum: float32, over those episodes.
      num_episodes: int32.
      loss: float32 mean over the updates, as all below; 0 before learning starts.
      q_mean: mean action value.
      td_error: mean absolute.
      grad_norm: before clipping.
      update_rms: root mean square of the steps.
      epsilon: share of random actions.
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


class SACMetrics(NamedTuple):
    """One iteration; scalars. Returns are raw, of the training episodes that ended in this iteration.

    Attributes:
      return_sum: float32, over those episodes.
      length_sum: float32, over those episodes.
      num_episodes: int32.
      loss: of the critics; float32 mean over the updates, as all below; 0 before learning starts.
      actor_loss: likewise.
      temperature_loss: likewise.
      entropy: of the policy, in actions from -1 to 1.
      temperature: likewise.
      q_mean: mean action value.
      td_error: mean absolute.
      grad_norm: of all parts together, before clipping.
      update_rms: of all parts together.
    """

    return_sum: jax.Array
    length_sum: jax.Array
    num_episodes: jax.Array
    loss: jax.Array
    actor_loss: jax.Array
    temperature_loss: jax.Array
    entropy: jax.Array
    temperature: jax.Array
    q_mean: jax.Array
    td_error: jax.Array
    grad_norm: jax.Array
    update_rms: jax.Array


def rms(tree: Any) -> jax.Array:
    """Root mean square over all numbers of a tree."""
    return optax.tree.norm(tree) / jnp.sqrt(sum(x.size for x in jax.tree.leaves(tree)))


def episode_sums(episode_return: jax.Array, episode_length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return, length and number of the episodes that ended in a rollout, from [T, N] that are 0 where none did."""
    length = jnp.sum(episode_length).astype(jnp.float32)
    return jnp.sum(episode_return), length, jnp.sum(episode_length > 0).astype(jnp.int32)


def explained_variance(values: jax.Array, advantages: jax.Array, valid: jax.Array) -> jax.Array:
    """1 - Var(target - value) / Var(target) of a critic whose targets are values + advantages; all [T, N]."""

    def variance(x: jax.Array) -> jax.Array:
        return losses.masked_mean(jnp.square(x - losses.masked_mean(x, valid)), valid)

    return 1 - variance(advantages) / jnp.maximum(variance(advantages + values), 1e-8)


def of_action_values(steps: TimeStep, updates: Any, epsilon: jax.Array) -> QMetrics:
    """Sums up an iteration of an agent that learns action values.

    Args:
      steps: of the rollout. updates: `learning.Update` with `QParts`, leaves [U]. epsilon: share of random actions.
    """
    means = jax.tree.map(jnp.mean, updates)
    return QMetrics(
        *episode_sums(steps.episode_return, steps.episode_length),
        loss=means.loss,
        **means.aux._asdict(),
        grad_norm=means.grad_norm,
        update_rms=means.update_rms,
        epsilon=jnp.asarray(epsilon, jnp.float32),
    )
