"""Ready-made learned optimizers, in the manner of `optax.adamw`."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from celo2 import checks, update_mlp
from celo2.labels import ADAM, RULE, matrix_labels
from celo2.rule_celo2 import scale_by_celo2

ScalarOrSchedule = float | jax.Array | Callable[[Any], Any]
LabelFn = Callable[[Any], Any]


def celo2(
    learning_rate: ScalarOrSchedule,
    theta: update_mlp.Theta | None = None,
    *,
    weight_decay: float | jax.Array = 0.0,
    mult_1d: float | jax.Array = 20.0,
    label_fn: LabelFn | None = None,
    bias_correction: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Celo2: the learned rule with Newton-Schulz on matrices, AdamW (b1 0.9, b2 0.95) on everything else.

    Args:
      learning_rate: step size of the matrices, a float, traced scalar or schedule. The rule's steps have a
        root mean square of 1, so this is the change per parameter and update.
      theta: weights of the rule; default: the packaged "celo2".
      weight_decay: decoupled decay, multiplied by the learning rate of the branch.
      mult_1d: learning rate of the AdamW branch relative to `learning_rate`.
      label_fn: maps the parameter tree to a tree of "rule" and "adam"; default: rank >= 2 and neither an
        embedding nor an output head, by name. (With `optax.inject_hyperparams`, which takes callables for
        schedules, pass `static_args="label_fn"`.)
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
    rule = scale_by_celo2(theta, orthogonalize=True, bias_correction=bias_correction)
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
    bias_correction: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Celo2-base: the learned rule on every tensor, without Newton-Schulz.

    Args:
      learning_rate: a float, traced scalar or schedule; the change per parameter and update.
      theta: weights of the rule; default: the packaged "celo2_base".
      weight_decay: decoupled decay, multiplied by the learning rate.
      bias_correction: see `scale_by_celo2`.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates are added to the parameters.

    Raises:
      ValueError: for a negative learning rate or decay, or what `scale_by_celo2` refuses.

    Reference: as `celo2`.
    """
    checks.check_not_negative(learning_rate=learning_rate, weight_decay=weight_decay)
    rule = scale_by_celo2(theta, orthogonalize=False, bias_correction=bias_correction)
    return _decay_and_scale(rule, learning_rate, weight_decay)


def _decay_and_scale(
    rule: optax.GradientTransformation, learning_rate: ScalarOrSchedule, weight_decay: float | jax.Array
) -> optax.GradientTransformationExtraArgs:
    return optax.chain(rule, optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate))


def _scaled(learning_rate: ScalarOrSchedule, factor: float | jax.Array) -> ScalarOrSchedule:
    if callable(learning_rate):
        return lambda count: factor * learning_rate(count)
    return factor * learning_rate
