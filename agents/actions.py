"""From the numbers that an actor puts out to actions, and how likely they are. The only place that knows distrax.

Random numbers are an argument, so that a rollout can draw them all at once: on a CPU many small draws are slow.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from envs import Box, Discrete


class ActionHead(NamedTuple):
    """A family of action distributions, as pure functions of the actor's outputs [..., num_outputs].

    num_outputs: numbers per observation, log_std left out. has_log_std: the network owns a vector of logarithms of
      standard deviations, which is appended to its outputs whatever the observation.
    draw_noise(key, shape) -> [*shape, k]. sample(outputs, noise) -> action, as it is stored and learned from.
    mode(outputs) -> the action of highest density. log_prob(outputs, action) -> [...].
    entropy(outputs, noise) -> [...]; noise as drawn for `sample`, for distributions without a closed form.
    to_env(action) -> the action in the environment's units.
    """

    num_outputs: int
    has_log_std: bool
    draw_noise: Callable[[jax.Array, tuple[int, ...]], jax.Array]
    sample: Callable[[jax.Array, jax.Array], jax.Array]
    mode: Callable[[jax.Array], jax.Array]
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]
    entropy: Callable[[jax.Array, jax.Array], jax.Array]
    to_env: Callable[[jax.Array], jax.Array]


def make(space: Discrete | Box, squash: str) -> ActionHead:
    """The head for an action space.

    Args:
      space: Discrete gives a categorical distribution, Box of rank 1 or 0 a diagonal Gaussian.
      squash: for Box, "clip" (the Gaussian's sample is learned from, what the environment gets is clipped) or "tanh".

    Raises:
      ValueError: for a Box of higher rank, without finite bounds, or for an unknown squash, or one without effect.
    """
    if squash not in ("clip", "tanh"):
        raise ValueError(f"unknown squash {squash!r}; there are clip, tanh")
    if isinstance(space, Discrete):
        if squash != "clip":
            raise ValueError(f"squash would have no effect: the actions are discrete, got {squash!r}")
        return categorical(space.n)
    if len(space.shape) > 1:
        raise ValueError(f"actions must be vectors, got the shape {space.shape}")
    if not (np.all(np.isfinite(space.low)) and np.all(np.isfinite(space.high))):
        raise ValueError(f"action bounds must be finite, got {space.low} and {space.high}")
    return gaussian(space, squash)


def choose(head: ActionHead, outputs: jax.Array, key: jax.Array, greedy: bool) -> jax.Array:
    """What to do at outputs [N, num_outputs], in the environment's units: the mode if greedy, else a sample."""
    if greedy:
        return head.to_env(head.mode(outputs))
    return head.to_env(head.sample(outputs, head.draw_noise(key, outputs.shape[:1])))


def categorical(num_actions: int) -> ActionHead:
    """Actions 0 .. num_actions - 1 from logits; sampled as the argmax of logits plus Gumbel noise."""

    def of(logits: jax.Array) -> Any:
        return distrax.Categorical(logits=logits)

    return ActionHead(
        num_outputs=num_actions,
        has_log_std=False,
        draw_noise=lambda key, shape: jax.random.gumbel(key, (*shape, num_actions)),
        sample=lambda logits, noise: jnp.argmax(logits + noise, axis=-1).astype(jnp.int32),
        mode=lambda logits: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        log_prob=lambda logits, action: of(logits).log_prob(action),
        entropy=lambda logits, noise: of(logits).entropy(),
        to_env=lambda action: action,
    )


def gaussian(space: Box, squash: str) -> ActionHead:
    """Actions in a box from means and logarithms of standard deviations, one unit being half the width of the box.

    "clip": u ~ N(mean, std); the environment gets centre + half * clip(u, -1, 1), and u counts for the likelihood.
    "tanh": the environment gets centre + half * tanh(u), whose density carries the factor 1 / (1 - tanh(u)^2); u is
    what is stored. Its entropy has no closed form: that of u plus log(1 - tanh(u)^2) estimates it, at a u made of the
    present mean and std and given noise, so that the gradient is the entropy's as well.
    """
    size = math.prod(space.shape)
    centre, half = (space.high + space.low) / 2, (space.high - space.low) / 2

    def of(outputs: jax.Array) -> Any:
        return distrax.MultivariateNormalDiag(outputs[..., :size], jnp.exp(outputs[..., size:]))

    def sample(outputs: jax.Array, noise: jax.Array) -> jax.Array:
        return outputs[..., :size] + jnp.exp(outputs[..., size:]) * noise

    def log_slope(u: jax.Array) -> jax.Array:
        # log(1 - tanh(u)^2), written so that it does not underflow.
        return jnp.sum(2 * (math.log(2) - u - jax.nn.softplus(-2 * u)), axis=-1)

    def correction(u: jax.Array) -> jax.Array | float:
        return log_slope(u) if squash == "tanh" else 0.0

    def to_env(u: jax.Array) -> jax.Array:
        bounded = jnp.tanh(u) if squash == "tanh" else jnp.clip(u, -1, 1)
        return centre + half * bounded.reshape(*u.shape[:-1], *space.shape)

    return ActionHead(
        num_outputs=size,
        has_log_std=True,
        draw_noise=lambda key, shape: jax.random.normal(key, (*shape, size)),
        sample=sample,
        mode=lambda outputs: outputs[..., :size],
        log_prob=lambda outputs, u: of(outputs).log_prob(u) - correction(u),
        entropy=lambda outputs, noise: of(outputs).entropy() + correction(sample(outputs, noise)),
        to_env=to_env,
    )
