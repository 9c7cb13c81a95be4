"""Ready-made learned optimizers, in the manner of `optax.adamw`."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from celo2 import checks, update_mlp
from celo2.checkpoint import load_theta
from celo2.labels import ADAM, RULE, LabelFn, matrix_labels
from celo2.rule_celo import scale_by_celo
from celo2.rule_celo2 import scale_by_celo2
from celo2.rule_celo_adam import scale_by_celo_adam

ScalarOrSchedule = float | jax.Array | Callable[[Any], Any]


def celo2(
    learning_rate: ScalarOrSchedule,
    theta: update_mlp.Theta | None = None,
    *,
    weight_decay: float | jax.Array = 0.0,
    mult_1d: float | jax.Array = 20.0,
    label_fn: LabelFn | None = None,
    matrix_axes: str = "last_two",
    bias_correction: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Celo2: the learned rule with Newton-Schulz on matrices, AdamW (b1 0.9, b2 0.95) on everything else.

    A matrix stays where it is until it has had a gradient other than zero.

    Args:
      learning_rate: step size of the matrices, a float, traced scalar or schedule. The rule's steps have a
        root mean square of 1, so this is the change per parameter and update.
      theta: weights of the rule; default: the packaged "celo2".
      weight_decay: decoupled decay, multiplied by the learning rate of the branch.
      mult_1d: learning rate of the AdamW branch relative to `learning_rate`.
      label_fn: maps the parameter tree to a tree of "rule" and "adam", such as a `Routing`; default: rank >= 2 and
        neither an embedding nor an output head, by name. `routing_table` shows what goes where. (With
        `optax.inject_hyperparams`, which takes callables for schedules, pass `static_args="label_fn"`.)
      matrix_axes: see `scale_by_celo2`.
      bias_correction: see `scale_by_celo2`; AdamW always corrects.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates are added to the parameters.

    Raises:
      ValueError: for a negative learning rate, decay or multiplier, or what `scale_by_celo2` refuses.

    Example:
      >>> import celo2, jax.numpy as jnp, optax
      >>> params = {"hidden": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
      >>> tx = celo2.celo2(1e-3)
      >>> updates, state = tx.update(params, tx.init(params), params)

    Reference: Moudgil, Knyazev and Belilovsky, "Celo2: Towards Learned Optimization Free Lunch",
      arXiv 2602.19142, and its usage note (AdamW at 20 times the rate).
    """
    checks.check_not_negative(learning_rate=learning_rate, weight_decay=weight_decay, mult_1d=mult_1d)
    rule = scale_by_celo2(
        theta,
        orthogonalize=True,
        bias_correction=bias_correction,
        matrix_axes=matrix_axes,
        still_without_gradient=True,
    )
    return optax.partition(
        {
            RULE: _decay_and_scale(rule, learning_rate, weight_decay),
            ADAM: optax.adamw(_scaled(learning_rate, mult_1d), b1=0.9, b2=0.95, weight_decay=weight_decay),
        },
        matrix_labels if label_fn is None else label_fn,
    )


def celo2_base(
    learning_rate: ScalarOrSchedule,
    theta: update_mlp.Theta | None = None,
    *,
    weight_decay: float | jax.Array = 0.0,
    matrix_axes: str = "last_two",
    bias_correction: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Celo2-base: the learned rule on every tensor, without Newton-Schulz.

    Scalars and other tensors of one element move by the full rate at every update, as the rule's steps have unit size;
    where that is too coarse (a policy's log standard deviation), use `optax.partition` with a `Routing`. A tensor stays
    where it is until it has had a gradient other than zero.

    Args:
      learning_rate: a float, traced scalar or schedule; the change per parameter and update.
      theta: weights of the rule; default: the packaged "celo2_base".
      weight_decay: decoupled decay, multiplied by the learning rate.
      matrix_axes: see `scale_by_celo2`.
      bias_correction: see `scale_by_celo2`.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates are added to the parameters.

    Raises:
      ValueError: for a negative learning rate or decay, or what `scale_by_celo2` refuses.

    Reference: as `celo2`.
    """
    checks.check_not_negative(learning_rate=learning_rate, weight_decay=weight_decay)
    rule = scale_by_celo2(
        theta,
        orthogonalize=False,
        bias_correction=bias_correction,
        matrix_axes=matrix_axes,
        still_without_gradient=True,
    )
    return _decay_and_scale(rule, learning_rate, weight_decay)


def celo(num_steps: int | jax.Array, theta: update_mlp.Theta | None = None) -> optax.GradientTransformationExtraArgs:
    """Celo: learned rule and learned schedule; no learning rate. `update` needs the training loss as `value=`.

    Args:
      num_steps: number of updates of the whole training, at least 1.
      theta: weights; default: the packaged "celo". `load_checkpoint` reads the published file.

    Returns:
      `scale_by_celo(theta, num_steps=num_steps)`: its updates are added to the parameters.

    Raises:
      ValueError: what `load_theta` and `scale_by_celo` refuse.

    Example:
      >>> import celo2, jax.numpy as jnp, optax
      >>> tx = celo2.celo(1000, theta)  # doctest: +SKIP
      >>> updates, state = tx.update(grads, state, params, value=loss)  # doctest: +SKIP

    Reference: Moudgil et al., "Celo: Training Versatile Learned Optimizers on a Compute Diet", arXiv 2501.12670.
    """
    return scale_by_celo(load_theta("celo") if theta is None else theta, num_steps=num_steps)


def celo_adam(
    num_steps: int | jax.Array, theta: update_mlp.Theta | None = None
) -> optax.GradientTransformationExtraArgs:
    """Celo-Adam: Celo's learned schedule over Adam; no learning rate. `update` needs the training loss as `value=`.

    Args:
      num_steps: number of updates of the whole training, at least 1.
      theta: weights; default: the packaged "celo_adam". `load_checkpoint` reads the published file.

    Returns:
      `scale_by_celo_adam(theta, num_steps=num_steps)`: its updates are added to the parameters.

    Raises:
      ValueError: what `load_theta` and `scale_by_celo_adam` refuse.

    Reference: as `celo`.
    """
    return scale_by_celo_adam(load_theta("celo_adam") if theta is None else theta, num_steps=num_steps)


def _decay_and_scale(
    rule: optax.GradientTransformation, learning_rate: ScalarOrSchedule, weight_decay: float | jax.Array
) -> optax.GradientTransformationExtraArgs:
    return optax.chain(rule, optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate))


def _scaled(learning_rate: ScalarOrSchedule, factor: float | jax.Array) -> ScalarOrSchedule:
    if callable(learning_rate):
        return lambda count: factor * learning_rate(count)
    return factor * learning_rate
