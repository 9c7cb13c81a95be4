"""The Celo rule: a learned update and a learned step-size schedule (Moudgil et al., arXiv 2501.12670)."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import accumulators, checks, features, scheduler, tensor_features, trees, update_mlp
from celo2 import size as sizes
from celo2.checkpoint import ThetaLike, Weights, load_weights
from celo2.form import PUBLISHED, Form
from celo2.layouts import DimensionNumbers
from celo2.reductions import sums

RMS_DECAY = 0.999
FACTORED_DECAYS = (0.9, 0.99, 0.999)
RSQRT_EPS = 1e-6
NORM_EPS = 1e-5
SCALE_EPS = 1e-9
STEP_MULT = 0.001
# Of steps with a size: where an untrained schedule is, at about 0.1, the rate is 0.009, the constant one that
# meta-validation chose. Begun at 0.003 the schedule did not find there.
SIZED_STEP_MULT = 0.09
EXP_MULT = 0.001


class ScaleByCeloState(NamedTuple):
    """State of `scale_by_celo`: five trees shaped like the parameters, see `accumulators.Accumulators`.

    Attributes:
      count: int32 scalar, number of updates so far.
      m: float32 [3, *S], momenta.
      v: float32 S, second moment.
      row: float32 [3, *S with one axis 1]; None below rank 2.
      col: likewise.
      diag: float32 [3, *S]; None for matrices.
      schedule: `scheduler.SchedulerState`; None without a scheduler.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any
    schedule: scheduler.SchedulerState | None


class ScaleByGraftedCeloState(NamedTuple):
    """`ScaleByCeloState` and, where steps are multiplied with a power of Adam's size, nu: its second moment, S."""

    count: jax.Array  # type: ignore[assignment]
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any
    nu: Any
    schedule: scheduler.SchedulerState | None


def scale_by_celo(
    num_steps: int | jax.Array,
    theta: ThetaLike | None = None,
    *,
    use_scheduler: bool = True,
    odd: bool | None = None,
    size: str | None = None,
    momentum_decays: Sequence[float] | None = None,
    schedule_form: str | None = None,
    weight_dimension_numbers: DimensionNumbers | None = None,
    still_without_gradient: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Celo's update with the sign of the gradient; `celo` subtracts it. There is no learning rate.

    Per tensor, with d and q the outputs of the MLP on 30 features (normalised over the whole tensor) and eta the
    scheduler's output:  update = eta 0.001 d exp(0.001 q) sqrt(mean(p^2) + 1e-9).  A tensor that starts at zero
    therefore starts to move slowly, and weights that grow take longer steps: in RL, where gradients are mostly noise,
    they grow without end. With another size than "unit" the update is, as in Celo2,
    eta 0.09 size d exp(0.001 q) / rms(d exp(0.001 q)).

    Weights with arrays for tensor features (`init_theta("celo", key, tensor_features=True)`) have an eta for every
    tensor, which depends on its statistics too: an ablation.

    Args:
      num_steps: number of updates of the whole training, at least 1. Later updates are allowed; the schedule then
        reads a progress beyond 1.
      theta: weights of Celo: the name of packaged ones, the path of a file, `Weights`, or a tree as `load_theta`
        returns it, which may be traced. Default: the packaged "celo".
      use_scheduler: False gives eta = 1 and needs no loss: phase 1 of Celo's meta-training.
      odd: take half the difference of the updates for (gradient, parameters) and (-gradient, -parameters), which then
        is the negative one for the other sign. Default: what the weights' card records; published: False.
      size: of every tensor's update. "unit", as published: that of the parameters; "adam", "snr", "learned": see
        `scale_by_celo2`. Default: what the weights' card records.
      momentum_decays: three decays. Default: what the weights' card records; published: (0.9, 0.99, 0.999).
      schedule_form: how the LSTM's output o becomes eta. "exp" (published): 0.1 exp(o). "linear": 0.1 (1 + o).
        "clipped": that, cut to [0, 1]. Default: what the weights' card records.
      weight_dimension_numbers: of tensors whose axes are not all one matrix's, see `scale_by_celo2`. Default, as
        published: none.
      still_without_gradient: leave a tensor where it is until it has had a gradient other than zero; off, as published,
        it moves.

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs `params` and, with the scheduler, the training loss
      of this step as `value=` or `loss=`. NaN entries of a gradient count as 0 and infinite ones as +-1000; a NaN or
      infinite loss is left out of the statistics.

    Raises:
      ValueError: for a theta of another rule, or whose card says that its schedule was never trained (celo_phase1)
        where the scheduler is on; for an unknown form, num_steps below 1, parameters that are not real floating point
        or hold no element (at `init`), a missing `params` or loss (at `update`).

    Reference: Algorithm 1 of arXiv 2501.12670; the parameter scale is a root mean square, as in the released code.
    """
    given = load_weights("celo" if theta is None else theta)
    theta = given.theta
    checks.check_theta(theta, "celo")
    form = given.form.changed(odd=odd, size=size, momentum_decays=momentum_decays, schedule_form=schedule_form)
    _check_fits(given, form, use_scheduler)
    per_tensor = use_scheduler and scheduler.reads_tensors(theta)
    checks.check_num_steps(num_steps)
    state_type: Any = ScaleByGraftedCeloState if form.needs_nu else ScaleByCeloState
    num_fields = len(state_type._fields) - 2  # but count and schedule

    def state(count: jax.Array, statistics: accumulators.Accumulators, schedule: Any) -> Any:
        return state_type(count, *statistics[:num_fields], schedule)

    def init_fn(params: Any) -> ScaleByCeloState:
        checks.check_params(params)
        statistics = trees.init_statistics(
            params, len(form.momentum_decays), len(FACTORED_DECAYS), weight_dimension_numbers, form.needs_nu
        )
        schedule = scheduler.init(theta, len(jax.tree.leaves(params))) if use_scheduler else None
        return state(jnp.zeros([], jnp.int32), statistics, schedule)

    def update_fn(
        updates: Any, before: ScaleByCeloState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByCeloState]:
        if params is None:
            raise ValueError("scale_by_celo reads the parameters: call update(grads, state, params, value=loss)")
        eta, schedule = jnp.ones([]), before.schedule
        if schedule is not None:
            loss = checks.loss_argument("scale_by_celo", **extra_args)
            tensors = tensor_features.of_tree(params, before.m, before.v) if per_tensor else None
            eta, schedule = scheduler.update(
                theta, schedule, before.count, loss, num_steps, form.schedule_form, tensors
            )
        weights = update_mlp.layers(theta)
        count = optax.safe_increment(before.count)
        etas = iter(eta if per_tensor else itertools.repeat(eta))  # tensors come in the order of the leaves
        steps, statistics = trees.map_tensors(
            lambda g, p, acc: tensor_step(weights, g, p, acc, next(etas), form, count, still_without_gradient),
            updates,
            params,
            before[1:-1],
            weight_dimension_numbers,
        )
        return steps, state(count, statistics, schedule)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check_fits(given: Weights, form: Form, use_scheduler: bool) -> None:
    """Refuses a form that Celo has not, and a schedule that nobody has trained."""
    if form.normalization != PUBLISHED.normalization:
        raise ValueError(
            f"celo's output is normalised by its size alone, so normalization must be step, got {form.normalization!r}"
        )
    if use_scheduler and given.card.get("rule") == "celo_phase1":
        raise ValueError(
            f"the schedule of {given.name} is random: phase 1 trains the update rule only. Train one on it (`rlopt "
            "metatrain celo --init-theta`), or use the rule without (use_scheduler=False; of agents and metatest the "
            "option `scheduler false`)"
        )


def tensor_step(
    weights: update_mlp.LayerWeights,
    g: jax.Array,
    p: jax.Array,
    acc: accumulators.Accumulators,
    eta: jax.Array,
    form: Form,
    count: jax.Array,
    still_without_gradient: bool = False,
) -> tuple[jax.Array, accumulators.Accumulators]:
    """One tensor's update (float32, g's shape) and its new statistics; g is clipped, both float32.

    count: updates so far, this one included.
    """
    acc = accumulators.update(acc, g, form.momentum_decays, RMS_DECAY, FACTORED_DECAYS, sizes.B2)
    gradient_factor: features.Factor
    momentum_factor: features.Factor
    if acc.diag is None:
        gradient_factor = momentum_factor = accumulators.factors(acc)
    else:
        gradient_factor, momentum_factor = accumulators.diagonal_factor(acc), jax.lax.rsqrt(acc.diag)
    inputs = features.Inputs(g, p, acc.m, acc.v, acc.diag, gradient_factor, momentum_factor)
    unit = form.size == "unit"
    factor = STEP_MULT * eta * jnp.sqrt(_mean_square(p) + SCALE_EPS) if unit else SIZED_STEP_MULT * eta
    if still_without_gradient:
        factor = jnp.where(accumulators.has_had_gradient(acc, p.ndim), factor, 0.0)
    hidden = features.hidden_inputs(weights, inputs, acc.row, acc.col, g.ndim, NORM_EPS, RSQRT_EPS, form.odd)
    # The factor comes first, as published: in another order of products the last bit is another one.
    first = factor if unit else 1.0
    if isinstance(hidden, features.FirstLayer):
        plus, minus = update_mlp.odd_parts(weights, hidden.even, hidden.odd, outputs=(0, 1))
        step = 0.5 * (_step(first, *plus) - _step(first, *minus))
    else:
        step = _step(first, *update_mlp.remaining_layers(weights, hidden, outputs=(0, 1)))
    if not unit:
        size = sizes.rule_size(form, acc, count, FACTORED_DECAYS[-1], weights.b2[2])
        step = factor * size * jax.lax.rsqrt(sizes.NORM_EPS + _mean_square(step)) * step
    return step.reshape(g.shape), acc


def _mean_square(x: jax.Array) -> jax.Array:
    (total,) = sums([jnp.square(x)], x.ndim)
    return total / math.prod(x.shape)


def _step(factor: jax.Array | float, direction: jax.Array, magnitude: jax.Array) -> jax.Array:
    return factor * direction * jnp.exp(EXP_MULT * magnitude)
