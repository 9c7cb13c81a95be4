"""Ready-made learned optimizers, in the manner of `optax.adamw`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import checks
from celo2.checkpoint import ThetaLike, load_weights
from celo2.labels import ADAM, RULE, LabelFn, Routing, hidden_matrix_labels, matrix_labels
from celo2.layouts import DimensionNumbers
from celo2.rule_celo import scale_by_celo
from celo2.rule_celo2 import scale_by_celo2
from celo2.rule_celo_adam import scale_by_celo_adam

# For RL: hidden matrices only, by name (input layers, output heads and tensors below rank 2 take Adam), all at one
# rate. With weights that were trained in a form whose steps have Adam's size, as the packaged ones, that rate is
# Adam's.
RL: Mapping[str, Any] = MappingProxyType(
    {"label_fn": hidden_matrix_labels, "mult_1d": 1.0, "b1": 0.9, "b2": 0.999, "eps": 1e-5}
)


def celo2(
    learning_rate: optax.ScalarOrSchedule,
    theta: ThetaLike | None = None,
    *,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
    mult_1d: optax.ScalarOrSchedule | None = None,
    label_fn: LabelFn | None = None,
    b1: float = 0.9,
    b2: float | None = None,
    eps: float | None = None,
    odd: bool | None = None,
    size: str | None = None,
    momentum_decays: Sequence[float] | None = None,
    newton_schulz_steps: int | None = None,
    newton_schulz_ratio: float | None = None,
    weight_dimension_numbers: DimensionNumbers | None = None,
    bias_correction: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Celo2: the learned rule with Newton-Schulz on matrices, AdamW on everything else.

    A matrix stays where it is until it has had a gradient other than zero.

    Args:
      learning_rate: step size of the matrices, a float, traced scalar or schedule. In the published form the rule's
        steps have a root mean square of 1, so this is the change per parameter and update; with size "adam" it is what
        Adam's learning rate is.
      theta: weights of the rule, see `scale_by_celo2`; default: the packaged "celo2".
      weight_decay: decoupled decay, multiplied by the learning rate of the branch; a number, traced scalar or schedule.
      weight_decay_mask: tree of booleans, or a function from parameters to one: what decays; default: everything. See
        `optax.adamw`.
      mult_1d: learning rate of the AdamW branch relative to `learning_rate`, or a schedule of it. Default: 20 where the
        rule's steps have unit size (published), 1 where their size is like Adam's.
      label_fn: maps the parameter tree to a tree of "rule" and "adam", such as a `Routing`; default: rank >= 2 and
        neither an embedding nor an output head, by name. `routing_table` shows what goes where. (With
        `optax.inject_hyperparams`, which takes callables for schedules, pass `static_args="label_fn"`.)
      b1: decay of the AdamW branch's first moment.
      b2: of its second. Default: 0.95 with unit size (published), else 0.999.
      eps: of the AdamW branch. Default: 1e-8 with unit size (published), else 1e-5.
      odd: part of the rule's form, see `scale_by_celo2`; default, as of those below: what the card of the weights
        records.
      size: likewise.
      momentum_decays: likewise.
      newton_schulz_steps: likewise.
      newton_schulz_ratio: likewise.
      weight_dimension_numbers: which axes are input and output of a tensor's matrices, see `scale_by_celo2`.
      bias_correction: see `scale_by_celo2`; AdamW always corrects.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates are added to the parameters.

    Raises:
      ValueError: for a negative learning rate, decay, multiplier or eps, or what `scale_by_celo2` refuses.

    Examples:
      >>> import celo2, jax.numpy as jnp, optax
      >>> params = {"hidden": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
      >>> tx = celo2.celo2(2.5e-3, **celo2.RL)  # for RL: Adam's learning rate
      >>> updates, state = tx.update(params, tx.init(params), params)

    Reference: Moudgil, Knyazev and Belilovsky, "Celo2: Towards Learned Optimization Free Lunch", arXiv 2602.19142, and
    its usage note (AdamW at 20 times the rate).
    """
    return _routed(
        "celo2" if theta is None else theta,
        learning_rate,
        _Decay(weight_decay, weight_decay_mask),
        _Adam(mult_1d, b1, b2, eps),
        label_fn or matrix_labels,
        size,
        orthogonalize=True,
        bias_correction=bias_correction,
        odd=odd,
        momentum_decays=momentum_decays,
        newton_schulz_steps=newton_schulz_steps,
        newton_schulz_ratio=newton_schulz_ratio,
        weight_dimension_numbers=weight_dimension_numbers,
    )


def celo2_base(
    learning_rate: optax.ScalarOrSchedule,
    theta: ThetaLike | None = None,
    *,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
    mult_1d: optax.ScalarOrSchedule | None = None,
    label_fn: LabelFn | None = None,
    b1: float = 0.9,
    b2: float | None = None,
    eps: float | None = None,
    odd: bool | None = None,
    size: str | None = None,
    momentum_decays: Sequence[float] | None = None,
    weight_dimension_numbers: DimensionNumbers | None = None,
    bias_correction: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Celo2-base: the learned rule without Newton-Schulz.

    With steps of unit size, scalars and other tensors of one element move by the full rate at every update; where that
    is too coarse (a policy's log standard deviation), give a `Routing` as label_fn. A tensor stays where it is until it
    has had a gradient other than zero.

    Args:
      learning_rate: a float, traced scalar or schedule, see `celo2`.
      theta: weights of the rule, see `scale_by_celo2`; default: the packaged "celo2_base".
      weight_decay: decoupled decay, multiplied by the learning rate, see `celo2`.
      weight_decay_mask: what decays, see `celo2`.
      mult_1d: of the AdamW branch, if label_fn sends anything there, see `celo2`.
      label_fn: see `celo2`; default: the rule for every tensor, as published; with another size than "unit", for all of
        rank >= 2, as such weights were trained.
      b1: of the AdamW branch, see `celo2`.
      b2: likewise.
      eps: likewise.
      odd: part of the rule's form, see `celo2`.
      size: likewise.
      momentum_decays: likewise.
      weight_dimension_numbers: see `scale_by_celo2`.
      bias_correction: see `scale_by_celo2`.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates are added to the parameters.

    Raises:
      ValueError: for a negative learning rate, decay, multiplier or eps, or what `scale_by_celo2` refuses.

    Reference: as `celo2`.
    """
    return _routed(
        "celo2_base" if theta is None else theta,
        learning_rate,
        _Decay(weight_decay, weight_decay_mask),
        _Adam(mult_1d, b1, b2, eps),
        label_fn,
        size,
        orthogonalize=False,
        bias_correction=bias_correction,
        odd=odd,
        momentum_decays=momentum_decays,
        weight_dimension_numbers=weight_dimension_numbers,
    )


def celo(
    num_steps: int | jax.Array,
    theta: ThetaLike | None = None,
    *,
    multiplier: optax.ScalarOrSchedule = 1.0,
    use_scheduler: bool = True,
    odd: bool | None = None,
    size: str | None = None,
    momentum_decays: Sequence[float] | None = None,
    schedule_form: str | None = None,
    weight_dimension_numbers: DimensionNumbers | None = None,
    still_without_gradient: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Celo: learned rule and learned schedule; no learning rate. `update` needs the training loss as `value=`.

    Args:
      num_steps: number of updates of the whole training, at least 1.
      theta: weights, see `scale_by_celo`; default: the packaged "celo". The published file is read as any other.
      multiplier: of all steps: a float, a traced scalar, or a schedule of the updates so far. The schedule was learned
        on images, in trainings without an end to settle down to: in RL its steps are better a third of that, and
        annealed, `optax.linear_schedule(1 / 3, 0, num_steps)`.
      use_scheduler: see `scale_by_celo`.
      odd: part of the rule's form, see `scale_by_celo`.
      size: likewise.
      momentum_decays: likewise.
      schedule_form: likewise.
      weight_dimension_numbers: see `scale_by_celo`.
      still_without_gradient: leave a tensor where it is until it has had a gradient other than zero; published: False.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates, those of `scale_by_celo` with the other sign, are added
      to the parameters. Its state is a `ScaleByCeloState`.

    Raises:
      ValueError: what `scale_by_celo` refuses.

    Examples:
      >>> import celo2, jax.numpy as jnp, optax
      >>> tx = celo2.celo(1000, theta)  # doctest: +SKIP
      >>> updates, state = tx.update(grads, state, params, value=loss)  # doctest: +SKIP

    Reference: Moudgil et al., "Celo: Training Versatile Learned Optimizers on a Compute Diet", arXiv 2501.12670.
    """
    direction = scale_by_celo(
        num_steps,
        theta,
        use_scheduler=use_scheduler,
        odd=odd,
        size=size,
        momentum_decays=momentum_decays,
        schedule_form=schedule_form,
        weight_dimension_numbers=weight_dimension_numbers,
        still_without_gradient=still_without_gradient,
    )
    return descent(direction, multiplier)


def celo_adam(
    num_steps: int | jax.Array,
    theta: ThetaLike | None = None,
    *,
    schedule_form: str | None = None,
    multiplier: optax.ScalarOrSchedule = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Celo-Adam: Celo's learned schedule over Adam; no learning rate. `update` needs the training loss as `value=`.

    Args:
      num_steps: number of updates of the whole training, at least 1.
      theta: weights, a name, path or tree; default: the packaged "celo_adam". The published file is read as any other.
      schedule_form: as of `celo`; default: what the weights' card records.
      multiplier: as of `celo`; in RL its steps are better three times as long, and annealed.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates, those of `scale_by_celo_adam` with the other sign, are
      added to the parameters. Its state is a `ScaleByCeloAdamState`.

    Raises:
      ValueError: what `scale_by_celo_adam` refuses.

    Reference: as `celo`.
    """
    return descent(scale_by_celo_adam(num_steps, theta, schedule_form=schedule_form), multiplier)


def descent(
    direction: optax.GradientTransformationExtraArgs, multiplier: optax.ScalarOrSchedule
) -> optax.GradientTransformationExtraArgs:
    """-multiplier times the direction; unlike a chain with `optax.scale`, with the state that it has alone."""

    def update_fn(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        share: Any = multiplier(state.count) if callable(multiplier) else multiplier
        steps, state = direction.update(updates, state, params, **extra_args)
        if isinstance(share, float | int) and share == 1:
            return jax.tree.map(jnp.negative, steps), state  # the last bit too: XLA moves constant factors about
        return jax.tree.map(lambda x: jnp.asarray(-share * x, x.dtype), steps), state

    return optax.GradientTransformationExtraArgs(direction.init, update_fn)


class _Decay(NamedTuple):
    """Decoupled weight decay, and the mask of what decays."""

    weight_decay: optax.ScalarOrSchedule
    mask: Any


class _Adam(NamedTuple):
    """Settings of the AdamW branch, as `celo2` takes them; None: what goes with the size of the rule's steps."""

    mult_1d: optax.ScalarOrSchedule | None
    b1: float
    b2: float | None
    eps: float | None


def _routed(
    theta: ThetaLike,
    learning_rate: optax.ScalarOrSchedule,
    decay: _Decay,
    adam: _Adam,
    label_fn: LabelFn | None,
    size: str | None,
    **rule: Any,
) -> optax.GradientTransformationExtraArgs:
    """`scale_by_celo2(theta, size=size, **rule)` and AdamW, at their rates; label_fn None: as weights without
    orthogonalisation are trained, for every tensor (unit size) or for all of rank >= 2.
    """
    weights = load_weights(theta)
    size = weights.form.size if size is None else size
    unit = size == "unit"
    mult_1d = (20.0 if unit else 1.0) if adam.mult_1d is None else adam.mult_1d
    b2 = (0.95 if unit else 0.999) if adam.b2 is None else adam.b2
    eps = (1e-8 if unit else 1e-5) if adam.eps is None else adam.eps
    checks.check_not_negative(learning_rate=learning_rate, weight_decay=decay.weight_decay, mult_1d=mult_1d, eps=eps)
    direction = scale_by_celo2(weights, size=size, still_without_gradient=True, **rule)
    learned = _decay_and_scale(direction, learning_rate, decay)
    if label_fn is None and unit:
        return learned
    rest = _decay_and_scale(optax.scale_by_adam(adam.b1, b2, eps), _product(learning_rate, mult_1d), decay)
    return optax.partition({RULE: learned, ADAM: rest}, label_fn or Routing(kinds=()))


def _decay_and_scale(
    rule: optax.GradientTransformation, learning_rate: optax.ScalarOrSchedule, decay: _Decay
) -> optax.GradientTransformationExtraArgs:
    # Without decay it is left out: it would cost a pass over the parameters.
    without = isinstance(decay.weight_decay, int | float) and not decay.weight_decay
    decayed = [] if without else [optax.add_decayed_weights(decay.weight_decay, decay.mask)]
    return optax.chain(rule, *decayed, optax.scale_by_learning_rate(learning_rate))


def _product(a: optax.ScalarOrSchedule, b: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
    if not (callable(a) or callable(b)):
        return a * b
    return lambda count: (a(count) if callable(a) else a) * (b(count) if callable(b) else b)
