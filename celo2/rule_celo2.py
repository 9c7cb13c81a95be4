"""The Celo2 rule as an optax transformation (Moudgil, Knyazev and Belilovsky, arXiv 2602.19142).

A 347-number MLP turns the gradient statistics of each parameter into its step.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import accumulators, checks, features, trees, update_mlp
from celo2.checkpoint import load_theta
from celo2.names import check_known
from celo2.orthogonalize import newton_schulz
from celo2.reductions import sums

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
RMS_DECAY = 0.95
FACTORED_DECAYS = (0.9, 0.99, 0.999)
RSQRT_EPS = 1e-8
NORM_EPS = 1e-9

MATRIX_AXES = {"last_two": trees.as_is, "fan_in_fan_out": trees.as_matrix}


class ScaleByCelo2State(NamedTuple):
    """State of `scale_by_celo2`: five trees shaped like the parameters, see `accumulators.Accumulators`.

    count: int32 scalar, number of updates so far; it stops at the largest int32.
    m [3, *S], v S, row [3, *S with one axis 1], col likewise, diag [3, *S]: float32. Matrices have no diag and
    lower ranks no row and col: None stands there.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any


def scale_by_celo2(
    theta: update_mlp.Theta | None = None,
    orthogonalize: bool = True,
    bias_correction: bool = False,
    *,
    matrix_axes: str = "last_two",
    still_without_gradient: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""The learned rule alone. Its output has the sign of the gradient: multiply by -learning_rate.

    Per tensor: clip the gradient to +-1000, update momenta (decays 0.9, 0.99, 0.999), second moment (0.95)
    and factored second moment (0.9, 0.99, 0.999), build 30 features per parameter (15 below rank 2),
    normalise each over the last two axes, apply the MLP, orthogonalise (rank >= 2, if asked for), and scale
    the step to a root mean square of 1 per matrix.

    The step has unit size whatever the gradient: a scalar moves by +-1 and a tensor whose gradient is zero
    still moves. Send scalars (such as a policy's log standard deviation) to another optimizer, and see
    `still_without_gradient`.

    Args:
      theta: weights of the rule, as `load_theta` or `load_checkpoint` return them; may be traced. Default:
        the packaged weights "celo2", or "celo2_base" where orthogonalize is False.
      orthogonalize: apply Newton-Schulz to the matrices of tensors of rank >= 2.
      bias_correction: divide the statistics by 1 - decay^count; off in the published training and usage.
      matrix_axes: what counts as a matrix above rank 2. "last_two": the last two axes, as published; a convolution
        kernel [height, width, in, out] is one matrix per tap. "fan_in_fan_out": all axes but the last against the
        last, one matrix [height * width * in, out].
      still_without_gradient: leave a matrix where it is until it has had a gradient other than zero; off, as published,
        such a matrix moves at the full rate.

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs `params` and ignores extra arguments. Statistics are
      float32; the step has the dtype of its parameter. NaN entries of a gradient count as 0 and infinite ones as
      +-1000, so that they do not stay in the statistics (`optax.apply_if_finite` skips such updates altogether).

    Raises:
      ValueError: for a theta of another rule, shape or with non-finite numbers; for unknown matrix_axes; for parameters
        that are not real floating point or hold no element (at `init`); for a missing `params` (at `update`).

    Example:
      >>> import celo2, jax.numpy as jnp, optax
      >>> tx = optax.chain(celo2.scale_by_celo2(), optax.scale_by_learning_rate(1e-3))
      >>> params = {"w": jnp.ones((4, 3))}
      >>> updates, state = tx.update(params, tx.init(params), params)
    """
    if theta is None:
        theta = load_theta("celo2" if orthogonalize else "celo2_base")
    checks.check_theta(theta, "celo2")
    check_known("matrix_axes", matrix_axes, MATRIX_AXES)
    shape_of = MATRIX_AXES[matrix_axes]

    def init_fn(params: Any) -> ScaleByCelo2State:
        checks.check_params(params)
        statistics = trees.init_statistics(params, len(MOMENTUM_DECAYS), len(FACTORED_DECAYS), shape_of)
        return ScaleByCelo2State(jnp.zeros([], jnp.int32), *statistics)

    def update_fn(
        updates: Any, state: ScaleByCelo2State, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByCelo2State]:
        del extra_args
        if params is None:
            raise ValueError("scale_by_celo2 reads the parameters: call update(grads, state, params)")
        weights = update_mlp.layers(theta)
        count = optax.safe_increment(state.count)

        def step(
            g: jax.Array, p: jax.Array, acc: accumulators.Accumulators
        ) -> tuple[jax.Array, accumulators.Accumulators]:
            # fac_g is never bias-corrected: its factors come from the raw statistics.
            acc = accumulators.update(acc, g, MOMENTUM_DECAYS, RMS_DECAY, FACTORED_DECAYS)
            seen = acc
            if bias_correction:
                seen = accumulators.bias_corrected(acc, count, MOMENTUM_DECAYS, RMS_DECAY, FACTORED_DECAYS)
            value = _direction(weights, g, p, acc, seen)
            if orthogonalize and value.ndim >= 2:
                value = newton_schulz(value)
            return _unit_rms(value, acc if still_without_gradient else None), acc

        steps, statistics = trees.map_tensors(step, updates, params, state[1:], shape_of)
        return steps, ScaleByCelo2State(count, *statistics)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _direction(
    weights: update_mlp.LayerWeights,
    g: jax.Array,
    p: jax.Array,
    acc: accumulators.Accumulators,
    seen: accumulators.Accumulators,
) -> jax.Array:
    if acc.diag is None:
        raw_factor: features.Factor = accumulators.factors(acc)
        seen_factor = raw_factor if seen is acc else accumulators.factors(seen)
    else:
        raw_factor, seen_factor = accumulators.diagonal_factor(acc), None
    inputs = features.Inputs(g, p, seen.m, seen.v, None, raw_factor, seen_factor)
    hidden = features.first_layer(weights, inputs, seen.row, seen.col, min(g.ndim, 2), NORM_EPS, RSQRT_EPS)
    # Output 1 is a log-magnitude whose factor is exp(0 * output) and output 2 is unused: only the direction is needed.
    (direction,) = update_mlp.remaining_layers(weights, hidden, outputs=(0,))
    return direction.reshape(g.shape)


def _unit_rms(step: jax.Array, unless_still: accumulators.Accumulators | None) -> jax.Array:
    """The step with a root mean square of 1 per matrix; 0 where statistics are given that have seen no gradient."""
    num_axes = min(step.ndim, 2)
    (total,) = sums([jnp.square(step)], num_axes)
    scale = jax.lax.rsqrt(NORM_EPS + total / math.prod(step.shape[total.ndim :]))
    if unless_still is not None:
        squares: Any = unless_still.row if unless_still.diag is None else unless_still.diag
        largest = jnp.max(squares[-1], axis=tuple(range(total.ndim, step.ndim)))
        # Without any gradient it stays below the floor that is added to every square.
        scale = jnp.where(largest > accumulators.SQUARE_FLOOR, scale, 0.0)
    return step * scale.reshape(scale.shape + (1,) * num_axes)
