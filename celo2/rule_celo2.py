"""The Celo2 rule as an optax transformation (Moudgil, Knyazev and Belilovsky, arXiv 2602.19142).

A 347-number MLP turns the gradient statistics of each parameter into its step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import accumulators, checks, features, update_mlp
from celo2.checkpoint import load_theta
from celo2.orthogonalize import newton_schulz

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
RMS_DECAY = 0.95
FACTORED_DECAYS = (0.9, 0.99, 0.999)
GRADIENT_CLIP = 1000.0
RSQRT_EPS = 1e-8
NORM_EPS = 1e-9


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
    theta: update_mlp.Theta | None = None, orthogonalize: bool = True, bias_correction: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""The learned rule alone. Its output has the sign of the gradient: multiply by -learning_rate.

    Per tensor: clip the gradient to +-1000, update momenta (decays 0.9, 0.99, 0.999), second moment (0.95)
    and factored second moment (0.9, 0.99, 0.999), build 30 features per parameter (15 below rank 2),
    normalise each over the last two axes, apply the MLP, orthogonalise (rank >= 2, if asked for), and scale
    the step to a root mean square of 1 per matrix.

    The step has unit size whatever the gradient: a scalar moves by +-1 and a tensor whose gradient is zero
    still moves. Send scalars (such as a policy's log standard deviation) to another optimizer.

    Args:
      theta: weights of the rule, as `load_theta` or `load_checkpoint` return them; may be traced. Default:
        the packaged weights "celo2", or "celo2_base" where orthogonalize is False.
      orthogonalize: apply Newton-Schulz to the last two axes of tensors of rank >= 2.
      bias_correction: divide the statistics by 1 - decay^count; off in the published training and usage.

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs `params` and ignores extra arguments.
      Statistics are float32; the step has the dtype of its parameter.

    Raises:
      ValueError: for a theta of another rule, shape or with non-finite numbers; for parameters that are not
        real floating point (at `init`); for a missing `params` (at `update`).

    Example:
      >>> import celo2, jax.numpy as jnp, optax
      >>> tx = optax.chain(celo2.scale_by_celo2(), optax.scale_by_learning_rate(1e-3))
      >>> params = {"w": jnp.ones((4, 3))}
      >>> updates, state = tx.update(params, tx.init(params), params)
    """
    if theta is None:
        theta = load_theta("celo2" if orthogonalize else "celo2_base")
    checks.check_theta(theta, "celo2")

    def init_fn(params: Any) -> ScaleByCelo2State:
        checks.check_params(params)
        leaves, treedef = jax.tree.flatten(params)
        accs = [accumulators.init(jnp.shape(p) or (1,), len(MOMENTUM_DECAYS), len(FACTORED_DECAYS)) for p in leaves]
        return _pack(jnp.zeros([], jnp.int32), treedef, accs)

    def update_fn(
        updates: Any, state: ScaleByCelo2State, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByCelo2State]:
        del extra_args
        if params is None:
            raise ValueError("scale_by_celo2 reads the parameters: call update(grads, state, params)")
        weights = update_mlp.layers(theta)
        count = optax.safe_increment(state.count)
        treedef: Any
        grads, treedef = jax.tree.flatten(updates)
        steps, accs = [], []
        for g, p, acc in zip(grads, treedef.flatten_up_to(params), _unpack(state, treedef), strict=True):
            step, acc = tensor_step(weights, g, p, acc, count, orthogonalize, bias_correction)
            steps.append(step)
            accs.append(acc)
        return treedef.unflatten(steps), _pack(count, treedef, accs)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def tensor_step(
    weights: update_mlp.LayerWeights,
    g: jax.Array,
    p: jax.Array,
    acc: accumulators.Accumulators,
    count: jax.Array,
    orthogonalize: bool,
    bias_correction: bool,
) -> tuple[jax.Array, accumulators.Accumulators]:
    """One tensor's step (gradient sign, p's shape and dtype) and its new statistics."""
    shape, dtype = jnp.shape(p), jnp.result_type(p)
    if jnp.shape(g) != shape:
        raise ValueError(f"a gradient of shape {jnp.shape(g)} was given for a parameter of shape {shape}")
    g = jnp.asarray(g, jnp.float32).reshape(shape or (1,))
    p = jnp.asarray(p, jnp.float32).reshape(shape or (1,))
    g = jnp.clip(g, -GRADIENT_CLIP, GRADIENT_CLIP)
    # fac_g is never bias-corrected: its factors come from the raw statistics.
    acc = accumulators.update(acc, g, MOMENTUM_DECAYS, RMS_DECAY, FACTORED_DECAYS)
    seen = acc
    if bias_correction:
        seen = accumulators.bias_corrected(acc, count, MOMENTUM_DECAYS, RMS_DECAY, FACTORED_DECAYS)
    step = _mlp_step(weights, g, p, acc, seen)
    axes = _norm_axes(step)
    if orthogonalize and step.ndim >= 2:
        step = newton_schulz(step)
    step = step * features.inverse_rms(step, axes, NORM_EPS)
    return step.reshape(shape).astype(dtype), acc


def _mlp_step(
    weights: update_mlp.LayerWeights,
    g: jax.Array,
    p: jax.Array,
    acc: accumulators.Accumulators,
    seen: accumulators.Accumulators,
) -> jax.Array:
    matrix = g.ndim >= 2
    raw_factors = accumulators.factors(acc) if matrix else accumulators.diagonal_factor(acc)
    seen_factors = accumulators.factors(seen) if matrix else raw_factors
    channels = features.channels(g, p, seen, raw_factors, seen_factors, RSQRT_EPS)
    hidden = features.normalised_first_layer(weights, channels, _norm_axes(g), NORM_EPS)
    # Output 1 is a log-magnitude whose factor is exp(0 * output) and output 2 is unused: only the direction is needed.
    (direction,) = update_mlp.remaining_layers(weights, hidden, outputs=(0,))
    return direction


def _norm_axes(x: jax.Array) -> tuple[int, ...]:
    return (-2, -1) if x.ndim >= 2 else (-1,)


def _pack(count: jax.Array, treedef: Any, accs: list[accumulators.Accumulators]) -> ScaleByCelo2State:
    fields = [treedef.unflatten([getattr(acc, name) for acc in accs]) for name in accumulators.Accumulators._fields]
    return ScaleByCelo2State(count, *fields)


def _unpack(state: ScaleByCelo2State, treedef: Any) -> list[accumulators.Accumulators]:
    columns = [treedef.flatten_up_to(getattr(state, name)) for name in accumulators.Accumulators._fields]
    return [accumulators.Accumulators(*row) for row in zip(*columns, strict=True)]
