"""How far a step goes: sizes for a direction of any make, a learned rule's, Muon's or a user's own.

A rule whose steps have a root mean square of 1 whatever the gradient moves as far in noise as on a signal. Adam's steps
shrink with the noise (their root mean square over the rate is 0.4-0.5 in PPO on MinAtar and 0.04-0.15 on Pong), so with
the size of Adam's step a direction can be used at Adam's own rate.

Reference: Agarwal et al., "Disentangling Adaptive Gradient Methods from Learning Rates" (grafting), arXiv 2002.11803;
the signal-to-noise ratio as NAMO takes it, arXiv 2602.17080.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.core import meta

from celo2 import accumulators, checks, trees
from celo2.form import Form
from celo2.names import check_known
from celo2.reductions import sums

B1, B2, EPS = 0.9, 0.999, 1e-5
SIZES = ("adam", "snr")
NORM_EPS = 1e-9


class GraftState(NamedTuple):
    """State of `graft`.

    Attributes:
      count: int32 scalar, updates so far.
      mu: float32 tree like the parameters, Adam's first moment.
      nu: likewise its second moment; of size "snr", a scalar per tensor: that of the mean square.
      direction: the state of what is wrapped.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    mu: Any
    nu: Any
    direction: Any


def adam_size(mu: jax.Array, nu: Any, count: jax.Array, b1: float, b2: float, eps: float) -> jax.Array:
    """Root mean square of Adam's step for one tensor, for a learning rate of 1; float32 scalar.

    Args:
      mu, nu: float32 moments of the tensor's shape, not corrected. count: updates so far, this one included.
      b1, b2, eps: Adam's.
    """
    t = count.astype(jnp.float32)
    step = mu / (1 - jnp.float32(b1) ** t) / (jnp.sqrt(nu / (1 - jnp.float32(b2) ** t)) + eps)
    (total,) = sums([jnp.square(step)], step.ndim)
    return jnp.sqrt(total / math.prod(step.shape))


def snr_size(mu: jax.Array, mean_square: jax.Array, count: jax.Array, b1: float, b2: float) -> jax.Array:
    """Signal over signal and noise of one tensor's momentum, from 0 (noise alone) to 1; float32 scalar.

    With r^2 = mean(mu^^2) / EMA(mean(g^2)) and f what r^2 is under noise alone, (1 - b1) / (1 + b1) after many updates,
    it is sqrt(max(0, (r^2 - f) / (1 - f))). The first update counts as noise: f is 1 there.

    Args:
      mu: float32 momentum of the tensor's shape, not corrected. mean_square: scalar, EMA with decay b2 of the
        gradient's mean square, not corrected. count: updates so far, this one included. b1, b2: decays.
    """
    t = count.astype(jnp.float32)
    left, right = jnp.float32(b1) ** t, jnp.float32(b2) ** t
    (total,) = sums([jnp.square(mu)], mu.ndim)
    signal = total / math.prod(mu.shape) / jnp.square(1 - left)
    ratio = signal / jnp.maximum(mean_square / (1 - right), 1e-30)
    noise = (1 - b1) / (1 + b1) * (1 + left) / (1 - left)
    share = (ratio - noise) / jnp.where(count > 1, 1 - noise, 1.0)
    return jnp.where(count > 1, jnp.sqrt(jnp.clip(share, 0.0, 1.0)), 0.0)


def rule_size(
    form: Form, acc: accumulators.Accumulators, count: jax.Array, factored_decay: float, exponent_bias: jax.Array
) -> jax.Array:
    """What a learned rule's step for one tensor is multiplied with, where its form has another size than "unit".

    Args:
      form: of the rule; its momentum with decay 0.9, or else its first one, is the first moment.
      acc: the tensor's statistics, this gradient included; nu is there unless the size is "snr".
      count: updates so far, this one included. factored_decay: of the last factored statistic.
      exponent_bias: scalar; size "learned" is Adam's to the power 2 sigmoid(10 exponent_bias).

    Returns:
      A float32 scalar of at least 0.
    """
    index = form.momentum_decays.index(B1) if B1 in form.momentum_decays else 0
    momentum, decay = acc.m[index], form.momentum_decays[index]
    if form.size == "snr":
        squares: Any = acc.row if acc.diag is None else acc.diag
        return snr_size(momentum, jnp.mean(squares[-1]), count, decay, factored_decay)
    adam = adam_size(momentum, acc.nu, count, decay, B2, EPS)
    if form.size == "adam":
        return adam
    exponent = 2 * jax.nn.sigmoid(10 * exponent_bias)
    return jnp.where(adam > 0, jnp.maximum(adam, 1e-30) ** exponent, 0.0)


def graft(
    direction: optax.GradientTransformation, size: str = "adam", *, b1: float = B1, b2: float = B2, eps: float = EPS
) -> optax.GradientTransformationExtraArgs:
    """Takes a step's direction from one transformation and its size, per tensor, from the gradients.

    update = size * direction / rms(direction), in the sign of `direction`. With size "adam" the learning rate is
    Adam's: what is tuned for Adam fits. Give the same to the hand-designed rules that a learned one is compared with.

    Around `scale_by_celo2` of unit size it gives what that rule makes with the same size of its own, to 1e-6 with
    "adam" and to 1e-2 with "snr": where all is noise, that ratio is the root of a difference in the last bits. It has
    no size "learned", which takes a number from the learned rule.

    Args:
      direction: any optax transformation, such as `optax.contrib.scale_by_muon()`; it gets gradients, parameters and
        extra arguments unchanged.
      size: "adam": root mean square of the step that `optax.scale_by_adam(b1, b2, eps)` would take for the tensor.
        "snr": the debiased signal-to-noise ratio of the momentum, between 0 and 1, see `snr_size`.
      b1: decay of the first moment that the size is computed from.
      b2: of the second.
      eps: Adam's.

    Returns:
      An `optax.GradientTransformationExtraArgs`. Beside the state of `direction` it keeps two float32 numbers per
      parameter (one, with size "snr"). NaN entries of a gradient count as 0 and infinite ones as +-1000 in the moments.

    Raises:
      ValueError: for an unknown size, or b1, b2 outside [0, 1), or a negative eps; for parameters that are not real
        floating point or hold no element (at `init`).

    Examples:
      >>> import celo2, optax
      >>> muon = celo2.graft(optax.contrib.scale_by_muon())
      >>> tx = optax.chain(muon, optax.scale_by_learning_rate(2.5e-3))
    """
    check_known("size", size, SIZES)
    for name, decay in (("b1", b1), ("b2", b2)):
        if not 0 <= decay < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {decay!r}")
    checks.check_not_negative(eps=eps)
    inner = optax.with_extra_args_support(direction)

    def init_fn(params: Any) -> GraftState:
        checks.check_params(params)
        mu = optax.tree.zeros_like(params, dtype=jnp.float32)
        if size == "adam":
            nu = jax.tree.map(jnp.zeros_like, mu)
        else:  # scalars are not laid out as their tensors: they go without flax's boxes
            nu = jax.tree.map(lambda m: jnp.zeros([], jnp.float32), meta.unbox(mu))
        return GraftState(jnp.zeros([], jnp.int32), mu, nu, inner.init(params))

    def update_fn(updates: Any, state: GraftState, params: Any = None, **extra_args: Any) -> tuple[Any, GraftState]:
        steps, inner_state = inner.update(updates, state.direction, params, **extra_args)
        count = optax.safe_increment(state.count)
        grads = jax.tree.map(trees.clipped, updates)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)

        def second(g: jax.Array) -> jax.Array:
            return jnp.square(g) if size == "adam" else jnp.mean(jnp.square(g))

        # The ratio is corrected for 1 - b2^t in float32: with another 1 - b2 in the mean, noise looks like signal.
        decay = b2 if size == "adam" else jnp.float32(b2)
        squared = grads if size == "adam" else meta.unbox(grads)
        nu = jax.tree.map(lambda v, g: decay * v + (1 - decay) * second(g), state.nu, squared)

        def sized(step: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            m, v = (x.reshape(trees.as_is(x.shape)) for x in (m, v))
            wanted = adam_size(m, v, count, b1, b2, eps) if size == "adam" else snr_size(m, v[0], count, b1, b2)
            value = jnp.asarray(step, jnp.float32)
            return (wanted * value * jax.lax.rsqrt(NORM_EPS + jnp.mean(jnp.square(value)))).astype(step.dtype)

        per_tensor = jax.tree.unflatten(jax.tree.structure(mu), jax.tree.leaves(nu))
        return jax.tree.map(sized, steps, mu, per_tensor), GraftState(count, mu, nu, inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
