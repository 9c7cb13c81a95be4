"""Targets computed from rollouts, time-major."""

import chex
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
      rewards: float32 [T, ...]: r_t.
      values: float32 [T, ...]: V(s_t).
      next_values: float32 [T, ...]: V(s'_t).
      terminated: bool [T, ...].
      truncated: bool [T, ...].
      gamma: scalar in [0, 1].
      gae_lambda: scalar in [0, 1].

    Returns:
      Advantages, float32 [T, ...]; `advantages + values` are the critic's targets.

    Reference: Schulman et al., arXiv 1506.02438, equations 11-16.
    """
    chex.assert_equal_shape([rewards, values, next_values, terminated, truncated])
    chex.assert_type([rewards, values, next_values, terminated, truncated], [float, float, float, bool, bool])
    delta = rewards + gamma * jnp.where(terminated, 0.0, next_values) - values
    decay = jnp.where(terminated | truncated, 0.0, gamma * gae_lambda)

    def backwards(advantage: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta_t, decay_t = inputs
        advantage = delta_t + decay_t * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(backwards, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)
    return advantages


def lambda_returns(
    rewards: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    lambda_: jax.Array | float,
) -> jax.Array:
    """Targets that mix bootstraps of all lengths.

        G_t = r_t + gamma (1 - terminated_t) [(1 - lambda) V(s'_t) + lambda G_{t+1}]

    where the bracket is V(s'_t) alone at a time limit and at the last step.

    Args:
      rewards: float32 [T, ...]: r_t.
      next_values: float32 [T, ...]: V(s'_t), s'_t the state that the action led to.
      terminated: bool [T, ...].
      truncated: bool [T, ...].
      gamma: scalar in [0, 1].
      lambda_: scalar in [0, 1].

    Returns:
      float32 [T, ...].

    Reference: Sutton and Barto (2018), section 12.1; with V = max Q, the targets of PQN (arXiv 2407.04811, Peng's
    Q(lambda)).
    """
    chex.assert_equal_shape([rewards, next_values, terminated, truncated])
    chex.assert_type([rewards, next_values, terminated, truncated], [float, float, bool, bool])

    def backwards(carry: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        reward, next_value, ends, cut = inputs
        mixed = jnp.where(cut, next_value, (1 - lambda_) * next_value + lambda_ * carry)
        target = reward + gamma * jnp.where(ends, 0.0, mixed)
        return target, target

    inputs = (rewards, next_values, terminated, truncated)
    return jax.lax.scan(backwards, next_values[-1], inputs, reverse=True)[1]


def n_step_targets(
    rewards: jax.Array, terminated: jax.Array, truncated: jax.Array, gamma: jax.Array | float, n: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sums of up to n rewards from every step, and where to bootstrap.

    From step t the sum runs over t .. t + m - 1, m <= n, and stops early after the end of an episode:

        R_t = sum_k gamma^k r_{t+k}

    It is bootstrapped with `gamma^m V(s'_{t+m-1})`, or not at all if that step terminated.

    Args:
      rewards: float32 [T, ...].
      terminated: bool [T, ...].
      truncated: bool [T, ...].
      gamma: discount.
      n: at least 1, at most T.

    Returns:
      Of the first T - n + 1 steps, [T - n + 1, ...] each: R_t; the factor of the bootstrap, gamma^m or 0; the offset
      m - 1 of the step whose final observation it is to be taken from, int32.
    """
    chex.assert_equal_shape([rewards, terminated, truncated])
    chex.assert_type([rewards, terminated, truncated], [float, bool, bool])
    count = rewards.shape[0] - n + 1
    total = jnp.zeros_like(rewards[:count])
    factor = jnp.ones_like(total)
    offset = jnp.zeros(total.shape, jnp.int32)
    going = jnp.ones(total.shape, bool)
    for k in range(n):
        window = slice(k, k + count)
        total = total + jnp.where(going, factor * rewards[window], 0.0)
        factor = jnp.where(going, factor * gamma * ~terminated[window], factor)
        offset = jnp.where(going, k, offset)
        going = going & ~(terminated[window] | truncated[window])
    return total, factor, offset
