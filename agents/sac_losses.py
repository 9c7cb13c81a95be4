"""What SAC's critics and actor descend (Haarnoja et al., arXiv 1812.05905)."""

from typing import Any

import jax
import jax.numpy as jnp

from agents import losses
from agents.actions import ActionHead
from agents.replay import Transition
from agents.sac_model import SACModel


def soft_targets(
    model: SACModel,
    head: ActionHead,
    actor: Any,
    target_params: Any,
    temperature: jax.Array,
    rows: Transition,
    noise: jax.Array,
) -> jax.Array:
    """What the critics' values should be, [B]: r + gamma (min Q'(s', a') - temperature log pi(a' | s')), a' ~ pi(s').

    Reference: arXiv 1812.05905, equations 3 and 5.
    """
    outputs = model.actor(actor, rows.next_obs)
    u = head.sample(outputs, noise)
    values = smaller(model.critic(target_params, rows.next_obs, jnp.tanh(u)))
    return rows.reward + rows.factor * (values - temperature * head.log_prob(outputs, u))


def critic_loss(
    model: SACModel, critic: Any, rows: Transition, target: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Sum of both critics' mean halved squared errors; mean value and mean absolute error besides.

    Reference: arXiv 1812.05905, equation 5.
    """
    values = model.critic(critic, rows.obs, rows.action)
    error = values - target
    loss = jnp.sum(jnp.mean(losses.squared_error(error), axis=1))
    return loss, (jnp.mean(values), jnp.mean(jnp.abs(error)))


def actor_loss(
    model: SACModel,
    head: ActionHead,
    actor: Any,
    critic: Any,
    temperature: jax.Array,
    obs: jax.Array,
    noise: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Mean of temperature log pi(a | s) - min Q(s, a) for a ~ pi(s), reparametrised; the policy's entropy besides.

    Reference: arXiv 1812.05905, equation 9.
    """
    outputs = model.actor(actor, obs)
    u = head.sample(outputs, noise)
    log_prob = head.log_prob(outputs, u)
    values = smaller(model.critic(critic, obs, jnp.tanh(u)))
    return jnp.mean(temperature * log_prob - values), -jnp.mean(log_prob)


def temperature_loss(log_temperature: jax.Array, entropy: jax.Array, target: jax.Array) -> tuple[jax.Array, None]:
    """The temperature times (entropy - target): its gradient raises that of a policy with less entropy than the target.

    Reference: arXiv 1812.05905, equation 18.
    """
    return jnp.exp(log_temperature) * (entropy - target), None


def smaller(values: jax.Array) -> jax.Array:
    """The smaller of both critics' values, [2, B] -> [B].

    Not `jnp.min`, whose gradient looks for the entry that equals the result: computed a second time within another
    fusion it may differ in the last bit, and then the gradient is 0 / 0.
    """
    first, second = values
    return jnp.where(first < second, first, second)
