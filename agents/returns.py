"""Targets computed from rollouts, time-major."""

import jax
import jax.numpy as jnp


def generalized_advantages(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    gae_lambda: jax.Array | float,
) -> jax.Array:
    """Generalised advantage estimation that tells the end of an episode from a time limit.

      delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)
      A_t     = delta_t + gamma lambda (1 - terminated_t) (1 - truncated_t) A_{t+1}

    s'_t is the state that the action led to, not the first state of the next episode.

    Args:
      rewards, values, next_values: float32 [T, ...]: r_t, V(s_t), V(s'_t).
      terminated, truncated: bool [T, ...].
      gamma, gae_lambda: scalars in [0, 1].

    Returns:
      Advantages, float32 [T, ...]; `advantages + values` are the critic's targets.

    Reference: Schulman et al., arXiv 1506.02438, equations 11-16.
    """
    delta = rewards + gamma * jnp.where(terminated, 0.0, next_values) - values
    decay = jnp.where(terminated | truncated, 0.0, gamma * gae_lambda)

    def backwards(advantage: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta_t, decay_t = inputs
        advantage = delta_t + decay_t * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(backwards, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)
    return advantages
