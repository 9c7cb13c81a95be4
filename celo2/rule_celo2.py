"""The Celo2 rule as an optax transformation (Moudgil, Knyazev and Belilovsky, arXiv 2602.19142).

A 347-number MLP turns the gradient statistics of each parameter into its step.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import accumulators, checks, features, trees, update_mlp
from celo2 import size as sizes
from celo2.checkpoint import ThetaLike, load_weights
from celo2.form import PUBLISHED, Form
from celo2.layouts import DimensionNumbers
from celo2.reductions import sums

RMS_DECAY = 0.95
FACTORED_DECAYS = (0.9, 0.99, 0.999)
RSQRT_EPS = 1e-8
NORM_EPS = 1e-9
# Of the rolling normalisation.
OUTPUT_DECAY = 0.99
# Of Newton-Schulz.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
GRAM_RATIO = 2
GRAM_SIZE = 32  # below, the products are too small to matter


class ScaleByCelo2State(NamedTuple):
    """State of `scale_by_celo2`: five trees shaped like the parameters, see `accumulators.Accumulators`.

    Attributes:
      count: int32 scalar, number of updates so far; it stops at the largest int32.
      m: float32 [3, *S], momenta.
      v: float32 S, second moment.
      row: float32 [3, *S with one axis 1]; None below rank 2.
      col: likewise.
      diag: float32 [3, *S]; None for matrices.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any


class ScaleByGraftedCelo2State(NamedTuple):
    """`ScaleByCelo2State` and, where steps have Adam's size or a learned power of it, nu: Adam's second moment, S."""

    count: jax.Array  # type: ignore[assignment]
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any
    nu: Any


class ScaleByRollingCelo2State(NamedTuple):
    """`ScaleByGraftedCelo2State` (nu may be None) and, for the rolling normalisation, output: running mean square of
    the rule's output, float32 S without its last two axes.
    """

    count: jax.Array  # type: ignore[assignment]
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any
    nu: Any
    output: Any


def scale_by_celo2(
    theta: ThetaLike | None = None,
    orthogonalize: bool = True,
    bias_correction: bool = False,
    *,
    odd: bool | None = None,
    size: str | None = None,
    momentum_decays: Sequence[float] | None = None,
    newton_schulz_steps: int | None = None,
    newton_schulz_ratio: float | None = None,
    normalization: str | None = None,
    weight_dimension_numbers: DimensionNumbers | None = None,
    still_without_gradient: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""The learned rule alone. Its output has the sign of the gradient: multiply by -learning_rate.

    Per tensor: clip the gradient to +-1000, update momenta (decays 0.9, 0.99, 0.999), second moment (0.95)
    and factored second moment (0.9, 0.99, 0.999), build 30 features per parameter (15 below rank 2),
    normalise each over the last two axes, apply the MLP, orthogonalise (rank >= 2, if asked for), scale
    the step to a root mean square of 1 per matrix, and multiply it with its size.

    With size "unit" the step has unit size whatever the gradient: a scalar moves by +-1 and a tensor whose gradient is
    zero still moves. Send scalars (such as a policy's log standard deviation) to another optimizer, and see
    `still_without_gradient`.

    The arguments odd, size, momentum_decays, newton_schulz_steps, newton_schulz_ratio and normalization are the form
    that weights are trained in (`form.Form`). None takes what the weights' card records; for a bare tree, or without a
    card, the published form.

    Args:
      theta: weights of the rule: the name of packaged ones, the path of a file, `Weights`, or a tree as `load_theta`
        and `load_checkpoint` return it, which may be traced. Default: "celo2", or "celo2_base" where orthogonalize is
        False.
      orthogonalize: apply Newton-Schulz to the matrices of tensors of rank >= 2.
      bias_correction: divide the statistics by 1 - decay^count; off in the published training and usage. (That of
        the size is always corrected.)
      odd: take (f(g, p) - f(-g, -p)) / 2 for the MLP f, so that the step for (-gradient, -parameters) is the negative
        one and noise alone does not move weights anywhere. Published: False.
      size: of the step's root mean square. "unit" (published): 1. "adam": that of the step that Adam (decays 0.9,
        0.999, eps 1e-5) takes for the tensor, so that Adam's learning rate fits; its first moment is the momentum with
        decay 0.9, or the first one where there is none. "snr": the signal-to-noise ratio of that momentum, 0 to 1
        (`celo2.size.snr_size`). "learned": Adam's to the power 2 sigmoid(10 b), b being the bias of the MLP's third
        output, which is read by nothing else.
      momentum_decays: three decays. Published: (0.9, 0.99, 0.999).
      newton_schulz_steps: iterations of the orthogonalisation. Published: 5.
      newton_schulz_ratio: matrices whose longer side is more than this many times the shorter one are not
        orthogonalised. Published: infinite.
      normalization: what the output u of each matrix is divided by before it gets its size. "step" (published): its
        root mean square. "rolling": the root of the running mean (decay 0.99, corrected for its start) of mean(u^2), so
        that one step may be longer than the next. "clipped": the larger of its root mean square and 1. "raw": nothing.
        The last three are ablations, after arXiv 2602.19142; the decay and the bound are ours.
      weight_dimension_numbers: which axes of a tensor are input and output of its matrices, as `optax.contrib.muon`
        takes them: a tree of `optax.contrib.MuonDimensionNumbers` and None, or a function from parameters to one, such
        as `celo2.fan_in_fan_out`. All other axes are a batch of matrices (stacked layers, heads, experts), each of
        which takes the step that it would take on its own. None: as published, the last two axes are a matrix (a
        convolution kernel [height, width, in, out] is one per tap), the others share its second moments.
      still_without_gradient: leave a matrix where it is until it has had a gradient other than zero; off, as published,
        such a matrix moves at the full rate (not so with another size than "unit").

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs `params` and ignores extra arguments. Statistics are
      float32; the step has the dtype of its parameter. NaN entries of a gradient count as 0 and infinite ones as
      +-1000, so that they do not stay in the statistics (`optax.apply_if_finite` skips such updates altogether).

    Raises:
      ValueError: for a theta of another rule, shape or with non-finite numbers; for an unknown form; for dimension
        numbers that do not fit, parameters that are not real floating point or hold no element (at `init`); for a
        missing `params` (at `update`).

    Examples:
      >>> import celo2, jax.numpy as jnp, optax
      >>> tx = optax.chain(celo2.scale_by_celo2(), optax.scale_by_learning_rate(1e-3))
      >>> params = {"w": jnp.ones((4, 3))}
      >>> updates, state = tx.update(params, tx.init(params), params)
    """
    if theta is None:
        theta = "celo2" if orthogonalize else "celo2_base"
    weights_as_given = load_weights(theta)
    theta = weights_as_given.theta
    checks.check_theta(theta, "celo2")
    form = weights_as_given.form.changed(
        odd=odd,
        size=size,
        momentum_decays=momentum_decays,
        newton_schulz_steps=newton_schulz_steps,
        newton_schulz_ratio=newton_schulz_ratio,
        normalization=normalization,
    )
    if form.schedule_form != PUBLISHED.schedule_form:
        raise ValueError(f"celo2 has no schedule, so its weights have no schedule_form, got {form.schedule_form!r}")
    settings = _Settings(form, orthogonalize, bias_correction, still_without_gradient)
    state_type: Any = ScaleByGraftedCelo2State if form.needs_nu else ScaleByCelo2State
    state_type = ScaleByRollingCelo2State if form.needs_output else state_type

    def state(count: jax.Array, statistics: accumulators.Accumulators) -> Any:
        return state_type(count, *statistics[: len(state_type._fields) - 1])

    def init_fn(params: Any) -> ScaleByCelo2State:
        checks.check_params(params)
        statistics = trees.init_statistics(
            params,
            len(form.momentum_decays),
            len(FACTORED_DECAYS),
            weight_dimension_numbers,
            form.needs_nu,
            form.needs_output,
        )
        return state(jnp.zeros([], jnp.int32), statistics)

    def update_fn(
        updates: Any, state_before: ScaleByCelo2State, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByCelo2State]:
        del extra_args
        if params is None:
            raise ValueError("scale_by_celo2 reads the parameters: call update(grads, state, params)")
        count = optax.safe_increment(state_before.count)
        step = partial(_step, settings, update_mlp.layers(theta), count)
        steps, statistics = trees.map_tensors(step, updates, params, state_before[1:], weight_dimension_numbers)
        return steps, state(count, statistics)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class _Settings(NamedTuple):
    form: Form
    orthogonalize: bool
    bias_correction: bool
    still_without_gradient: bool


def _step(
    settings: _Settings,
    weights: update_mlp.LayerWeights,
    count: jax.Array,
    g: jax.Array,
    p: jax.Array,
    acc: accumulators.Accumulators,
) -> tuple[jax.Array, accumulators.Accumulators]:
    """One tensor's step and its statistics after it; count: updates, this one included."""
    form = settings.form
    # fac_g is never bias-corrected: its factors come from the raw statistics.
    acc = accumulators.update(acc, g, form.momentum_decays, RMS_DECAY, FACTORED_DECAYS, sizes.B2)
    corrected = acc
    if settings.bias_correction:
        corrected = accumulators.bias_corrected(acc, count, form.momentum_decays, RMS_DECAY, FACTORED_DECAYS)
    value = _direction(weights, g, p, acc, corrected, form.odd)
    if settings.orthogonalize and value.ndim >= 2 and _ratio(value) <= form.newton_schulz_ratio:
        value = newton_schulz(value, form.newton_schulz_steps)
    value, acc = _normalised(value, settings, acc, count)
    if form.size != "unit":
        value = value * sizes.rule_size(form, acc, count, FACTORED_DECAYS[-1], weights.b2[2])
    return value, acc


def _ratio(x: jax.Array) -> float:
    shorter, longer = sorted(x.shape[-2:])
    return longer / shorter


def _direction(
    weights: update_mlp.LayerWeights,
    g: jax.Array,
    p: jax.Array,
    acc: accumulators.Accumulators,
    corrected: accumulators.Accumulators,
    odd: bool,
) -> jax.Array:
    if acc.diag is None:
        raw_factor: features.Factor = accumulators.factors(acc)
        corrected_factor = raw_factor if corrected is acc else accumulators.factors(corrected)
    else:
        raw_factor, corrected_factor = accumulators.diagonal_factor(acc), None
    inputs = features.Inputs(g, p, corrected.m, corrected.v, None, raw_factor, corrected_factor)
    hidden = features.hidden_inputs(
        weights, inputs, corrected.row, corrected.col, min(g.ndim, 2), NORM_EPS, RSQRT_EPS, odd
    )
    # Output 1 is a log-magnitude whose factor is exp(0 * output) and output 2 is unused: only the direction is needed.
    if isinstance(hidden, features.FirstLayer):
        (plus,), (minus,) = update_mlp.odd_parts(weights, hidden.even, hidden.odd, outputs=(0,))
        direction = 0.5 * (plus - minus)
    else:
        (direction,) = update_mlp.remaining_layers(weights, hidden, outputs=(0,))
    return direction.reshape(g.shape)


def _normalised(
    step: jax.Array, settings: _Settings, acc: accumulators.Accumulators, count: jax.Array
) -> tuple[jax.Array, accumulators.Accumulators]:
    """The step, normalised as the form says; 0 where it is to be still until there has been a gradient."""
    num_axes, kind = min(step.ndim, 2), settings.form.normalization
    (total,) = sums([jnp.square(step)], num_axes)
    mean_square = total / math.prod(step.shape[total.ndim :])
    if kind == "raw":
        scale = jnp.ones_like(mean_square)
    elif kind == "clipped":
        scale = jax.lax.rsqrt(jnp.maximum(mean_square, 1.0))
    else:
        if kind == "rolling":
            before: Any = acc.output
            output = OUTPUT_DECAY * before + (1 - OUTPUT_DECAY) * mean_square
            acc = acc._replace(output=output)
            mean_square = output / (1 - jnp.float32(OUTPUT_DECAY) ** count.astype(jnp.float32))
        scale = jax.lax.rsqrt(NORM_EPS + mean_square)
    if settings.still_without_gradient:
        scale = jnp.where(accumulators.has_had_gradient(acc, num_axes), scale, 0.0)
    return step * scale.reshape(scale.shape + (1,) * num_axes), acc


def newton_schulz(x: jax.Array, steps: int = 5, eps: float = 1e-8) -> jax.Array:
    """Pushes the singular values of every trailing matrix of x towards 1.

    With X = x / (||x||_F + eps), transposed where that makes it wide, repeats
    A = X X^T;  P = a I + b A + c A A;  X <- P X.  An all-zero matrix stays zero.

    If one side is at least twice the other (and the shorter at least 32), the small Gram matrix is iterated instead,
    A <- P A P, and the product of all P is applied to X once: the same polynomial, less than half the work at 1 : 6.

    Args:
      x: [..., n, m]; leading axes are a batch of matrices.
      steps: number of iterations; the default leaves singular values in about [0.7, 1.2].
      eps: added to the Frobenius norm.

    Returns:
      An array of x's shape and dtype.

    Raises:
      ValueError: if x has fewer than two axes.

    Reference: K. Jordan et al., "Muon", 2024; Celo2, arXiv 2602.19142.
    """
    if x.ndim < 2:
        raise ValueError(f"newton_schulz needs at least two axes, got shape {x.shape}")
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True)) + eps)
    rows, columns = x.shape[-2:]
    if rows >= GRAM_SIZE and columns >= GRAM_RATIO * rows:
        x = _gram_product(x, steps) @ x
    else:
        for _ in range(steps):
            x = _times_polynomial(x @ x.mT, x)
    return x.mT if tall else x


def _times_polynomial(gram: jax.Array, x: jax.Array) -> jax.Array:
    """(a I + b A + c A A) x."""
    a, b, c = COEFFICIENTS
    return a * x + (b * gram + c * (gram @ gram)) @ x


def _gram_product(x: jax.Array, steps: int) -> jax.Array:
    """The product of the polynomials of all steps, [..., n, n].

    All factors are polynomials of one symmetric matrix and commute. Rounding in the Gram matrix is relative to its
    largest eigenvalue (at most 1), so P is as accurate for small singular values as for large ones, and they are
    multiplied only once.
    """
    a, b, c = COEFFICIENTS
    gram = x @ x.mT
    product = jnp.broadcast_to(jnp.eye(gram.shape[-1], dtype=x.dtype), gram.shape)
    for step in range(steps):
        polynomial = b * gram + c * (gram @ gram)
        product = a * product + polynomial @ product
        if step < steps - 1:
            half = a * gram + polynomial @ gram
            gram = a * half + polynomial @ half
    return product
