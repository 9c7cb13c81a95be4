"""RNN-MLP: an LSTM per tensor that tells an MLP per parameter, and is told by it (Metz et al., arXiv 2009.11243)."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import accumulators, checks, features, lstm, trees
from celo2.baselines import parts, thetas
from celo2.checkpoint import ThetaLike, load_weights
from celo2.update_mlp import Theta

DECAYS = (0.5, 0.9, 0.99, 0.999, 0.9999)
STEP_MULT = 0.001
EXP_MULT = 0.001
NORM_EPS = 1e-5
ROOT_EPS = 1e-6
CLIP_DECAY, CLIP_MULT = 0.99, 10.0
LOSS_DECAY = 0.9
LOSS_BOUND = 5.0
_AXES = 4  # how many lengths of axes the LSTM reads


class Clipping(NamedTuple):
    """What gradients are clipped by: a running mean of their size, float32, and one more than the updates so far."""

    size: jax.Array
    count: jax.Array  # type: ignore[assignment]  # shadows tuple.count


class LossStatistics(NamedTuple):
    """Running mean and variance of the training loss, float32 scalars, and the losses so far, int32 scalar."""

    mean: jax.Array
    variance: jax.Array
    count: jax.Array  # type: ignore[assignment]  # shadows tuple.count


class ScaleByRNNMLPState(NamedTuple):
    """State for n tensors.

    Attributes:
      count: int32 scalar, updates so far.
      m: momenta, tree of float32 [5, *S].
      v: second moments, likewise.
      clipping: see `Clipping`.
      losses: see `LossStatistics`.
      rows: the LSTM's.
      from_lstm: message of all LSTM rows to each, float32 [18].
      from_mlp: message of a tensor's MLP to its LSTM row, float32 [n, 16].
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    m: Any
    v: Any
    clipping: Clipping
    losses: LossStatistics
    rows: parts.Rows
    from_lstm: jax.Array
    from_mlp: jax.Array


def scale_by_rnn_mlp(theta: ThetaLike) -> optax.GradientTransformationExtraArgs:
    r"""RNN-MLP's update with the sign of the gradient; `rnn_mlp` subtracts it. There is no learning rate.

    An LSTM row per tensor reads statistics of it, the course of the loss, and messages of the last update, and tells
    the tensor's MLP 17 numbers. Of the MLP's 18 outputs, d and q give update = 0.001 d exp(0.001 q); the mean of the
    others over the tensor is a message to its LSTM row.

    Args:
      theta: weights: the path of a file, `Weights`, or a tree as `init_theta("rnn_mlp", key)` gives it, which may be
        traced.

    Returns:
      An `optax.GradientTransformationExtraArgs`; `update` needs `params` and the training loss of this step as
      `value=` or `loss=`. NaN entries of a gradient count as 0, all are clipped to ten times their running size; a NaN
      or infinite loss is left out of the statistics.

    Raises:
      ValueError: for a theta of another rule, parameters that are not real floating point or hold no element (at
        `init`), a missing `params` or loss (at `update`).

    Reference: arXiv 2009.11243 and its public code. Losses of validation, which it can be told in between, are not.
    """
    theta = load_weights(theta).theta
    checks.check_theta(theta, "rnn_mlp")

    def init_fn(params: Any) -> ScaleByRNNMLPState:
        checks.check_params(params)
        count = len(jax.tree.leaves(params))

        def zeros() -> Any:
            return jax.tree.map(lambda p: jnp.stack([jnp.zeros_like(p, jnp.float32)] * len(DECAYS)), params)

        return ScaleByRNNMLPState(
            jnp.zeros([], jnp.int32),
            zeros(),
            zeros(),
            Clipping(jnp.float32(1 - CLIP_DECAY), jnp.ones([], jnp.int32)),
            LossStatistics(jnp.zeros([]), jnp.zeros([]), jnp.zeros([], jnp.int32)),
            parts.start_rows(theta, count),
            lstm.array(theta["initial_from_lstm"]) * 1.0,  # not theta's own array, which may be needed again
            jnp.tile(lstm.array(theta["initial_from_mlp"]), (count, 1)),
        )

    def update_fn(
        updates: Any, state: ScaleByRNNMLPState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByRNNMLPState]:
        parts.check_shapes(updates, params, "rnn_mlp")
        loss = jnp.asarray(checks.loss_argument("scale_by_rnn_mlp", **extra_args), jnp.float32)
        count = optax.safe_increment(state.count)
        treedef: Any = jax.tree.structure(updates)
        if not treedef.num_leaves:
            return updates, state._replace(count=count)
        losses, loss_inputs = _fold_loss(state.losses, loss)
        clipping, grads = _clip(state.clipping, [parts.finite(g) for g in jax.tree.leaves(updates)])
        values = trees.floats(params)
        m = [accumulators.ema(DECAYS, x, g) for x, g in zip(jax.tree.leaves(state.m), grads, strict=True)]
        v = [accumulators.ema(DECAYS, x, g * g) for x, g in zip(jax.tree.leaves(state.v), grads, strict=True)]
        tensors = list(zip(values, grads, m, v, strict=True))
        inputs = jnp.stack(
            [
                jnp.concatenate([state.from_lstm, told, _tensor_inputs(*tensor, loss_inputs)])
                for tensor, told in zip(tensors, state.from_mlp, strict=True)
            ]
        )
        rows = parts.Rows(*lstm.step(theta["rnn_params"]["rnn/linear"], inputs, *state.rows))
        from_lstm = jnp.mean(lstm.dense(theta["rnn_to_in_params"]["rnn_to_in"], rows.hidden), axis=0)
        told = lstm.dense(theta["rnn_to_ff_params"]["rnn_to_ff"], rows.hidden)
        time = jnp.sin(state.count.astype(jnp.float32) / (jnp.asarray(thetas.ADAFAC_TIMES, jnp.float32) * jnp.pi))
        found = [
            _mlp(theta, *tensor, jnp.concatenate([time, _shared_inputs(tensor[0], len(values)), x]))
            for tensor, x in zip(tensors, told, strict=True)
        ]
        new = ScaleByRNNMLPState(
            *(count, treedef.unflatten(m), treedef.unflatten(v), clipping, losses, rows, from_lstm),
            jnp.stack([message for _, message in found]),
        )
        return parts.steps_like(params, [step for step, _ in found]), new

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _fold_loss(state: LossStatistics, loss: jax.Array) -> tuple[LossStatistics, jax.Array]:
    """The loss in the statistics, and the LSTM's inputs of it: how it, and one of 0, lie in them; float32 [2]."""
    mean = LOSS_DECAY * state.mean + (1 - LOSS_DECAY) * loss
    variance = LOSS_DECAY * state.variance + (1 - LOSS_DECAY) * jnp.square(mean - loss)
    known = LossStatistics(mean, variance, state.count + 1)
    fine = jnp.isfinite(loss)
    known = jax.tree.map(lambda new, old: jnp.where(fine, new, old), known, state)
    correction = 1 / (1 - jnp.float32(LOSS_DECAY) ** known.count.astype(jnp.float32) + 1e-8)
    loss = jnp.where(fine, loss, known.mean * correction)
    # Published: a loss of validation, and 0 as long as there was none.
    both = jnp.stack([loss, jnp.zeros([])])
    both = (both - known.mean * correction) * jax.lax.rsqrt(known.variance * correction + 1e-8)
    return known, jnp.clip(both, -LOSS_BOUND, LOSS_BOUND)


def _clip(state: Clipping, grads: list[jax.Array]) -> tuple[Clipping, list[jax.Array]]:
    most = CLIP_MULT * state.size / (1 - jnp.float32(CLIP_DECAY) ** state.count.astype(jnp.float32))
    grads = [jnp.clip(g, -most, most) for g in grads]
    squares = sum((jnp.mean(jnp.square(g)) for g in grads), jnp.zeros([])) / len(grads)
    size = CLIP_DECAY * state.size + (1 - CLIP_DECAY) * jnp.sqrt(1e-8 + squares)
    return Clipping(size, optax.safe_increment(state.count)), grads


def _tensor_inputs(p: jax.Array, g: jax.Array, m: jax.Array, v: jax.Array, loss_inputs: jax.Array) -> jax.Array:
    """What the LSTM reads of a tensor, without the messages: float32 [18], in the published (alphabetic) order."""
    (mean_p, var_p), (mean_m, var_m), (mean_v, var_v) = map(parts.spread, (p, m, v))
    norms = (jnp.sqrt(jnp.sum(jnp.square(x))) for x in (g, p))
    sizes = jnp.stack([*norms, mean_m, mean_v, mean_p, var_m, var_v, var_p])
    log_g, log_p, log_mean_m, log_mean_v, log_mean_p, log_var_m, log_var_v, log_var_p = features.log_size(sizes)
    is_scalar = jnp.float32(-1.0 if p.ndim else 1.0)
    means = [log_mean_m, jnp.sign(mean_m), log_mean_v, jnp.sign(mean_v), log_mean_p, jnp.sign(mean_p)]
    lengths = [jnp.float32(math.log(length) - 1) for length in _lengths(p.shape)]
    return jnp.stack([log_g, is_scalar, *means, log_p, *lengths, *loss_inputs, log_var_m, log_var_v, log_var_p])


def _lengths(shape: Sequence[int]) -> tuple[int, ...]:
    """Four lengths of axes: of further axes ones, of more the first ones as one."""
    shape = tuple(shape)
    if len(shape) > _AXES:
        shape = (math.prod(shape[: 1 - _AXES]), *shape[1 - _AXES :])
    return shape + (1,) * (_AXES - len(shape))


def _shared_inputs(p: jax.Array, num_tensors: int) -> jax.Array:
    """What the MLP reads of a tensor's size: float32 [3]."""
    norm = jnp.log(jnp.sqrt(jnp.sum(jnp.square(p))) + 1e-8)
    return jnp.stack([jnp.float32(math.log(num_tensors) - 1), norm, jnp.float32(math.log(p.size))])


def _mlp(
    theta: Theta, p: jax.Array, g: jax.Array, m: jax.Array, v: jax.Array, shared: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A tensor's step, float32 [elements], and the message to its LSTM row, [16]; shared: [31], equal for all elements.

    The scale of each feature is folded into the first layer's weights, what all elements share into its bias, and the
    message, being a mean, is computed from the mean of the last hidden layer.
    """
    one, two, three = (theta["ffmod_params"][f"mlp/~/linear_{k}"] for k in range(3))
    m, v = (x.reshape(len(DECAYS), -1) for x in (m, v))
    root = jax.lax.rsqrt(v + ROOT_EPS)
    flat = p.reshape(1, -1)
    rows = [g.reshape(1, -1), flat, jnp.log(jnp.abs(flat) + 1e-8), m, v, m * root, root]
    features = jnp.concatenate(rows)
    weights = lstm.array(one["w"])
    scale = jax.lax.rsqrt(NORM_EPS + jnp.mean(jnp.square(features), axis=1))
    own = features.T @ (scale[:, None] * weights[: len(features)])
    hidden = jax.nn.relu(own + (shared @ weights[len(features) :] + lstm.array(one["b"])))
    hidden = jax.nn.relu(lstm.dense(two, hidden))
    weights, bias = lstm.array(three["w"]), lstm.array(three["b"])
    direction, magnitude = jnp.moveaxis(hidden @ weights[:, :2] + bias[:2], -1, 0)
    message = jnp.mean(hidden, axis=0) @ weights[:, 2:] + bias[2:]
    return STEP_MULT * direction * jnp.exp(EXP_MULT * magnitude), message
