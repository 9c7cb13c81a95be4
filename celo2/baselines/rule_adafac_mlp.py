"""AdaFac-MLP (`small_fc_mlp`): a small MLP over momenta and factored second moments (Metz et al., arXiv 2203.11860)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from celo2 import accumulators, checks, features, lstm, trees, update_mlp
from celo2.baselines import parts, thetas
from celo2.checkpoint import ThetaLike, load_weights
from celo2.update_mlp import Theta

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
RMS_DECAYS = (0.999,)
FACTORED_DECAYS = (0.9, 0.99, 0.999)
STEP_MULT = 0.001
EXP_MULT = 0.001
NORM_EPS = 1e-5
ROOT_EPS = 1e-6
# Groups of the features of `update_mlp` that this rule has not; it has the others, in the same order.
_WITHOUT = ("g_clipped", "g_normalized")


class ScaleByAdafacMLPState(NamedTuple):
    """Statistics of Adafac-MLP; each field but count is a tree like the parameters.

    Attributes:
      count: int32 scalar, updates so far.
      m: see `accumulators.Accumulators`, as all below.
      v: second moment.
      row: of the factored second moment.
      col: likewise.
      diag: of tensors below rank 2.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any


def scale_by_adafac_mlp(theta: ThetaLike) -> optax.GradientTransformationExtraArgs:
    r"""Adafac-MLP's update with the sign of the gradient; `adafac_mlp` subtracts it. There is no learning rate.

    Per tensor, with d and q the outputs of the MLP on 28 features (normalised over the whole tensor) and 11 of the
    number of updates:  update = 0.001 d exp(0.001 q). The decays of the statistics are part of theta.

    Args:
      theta: weights: the path of a file, `Weights`, or a tree as `init_theta("adafac_mlp", key)` gives it, which may be
        traced.

    Returns:
      An `optax.GradientTransformationExtraArgs`; `update` needs `params`. Gradients are not clipped; NaN entries count
      as 0 and infinite ones as +-1000.

    Raises:
      ValueError: for a theta of another rule, parameters that are not real floating point or hold no element (at
        `init`), a missing `params` (at `update`).

    Reference: `small_fc_mlp` of arXiv 2203.11860 and its public code.
    """
    theta = load_weights(theta).theta
    checks.check_theta(theta, "adafac_mlp")

    def init_fn(params: Any) -> ScaleByAdafacMLPState:
        checks.check_params(params)
        statistics = trees.init_statistics(params, len(MOMENTUM_DECAYS), len(FACTORED_DECAYS))
        return ScaleByAdafacMLPState(jnp.zeros([], jnp.int32), *statistics[:5])

    def update_fn(
        updates: Any, state: ScaleByAdafacMLPState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByAdafacMLPState]:
        del extra_args
        parts.check_shapes(updates, params, "adafac_mlp")
        weights = _layers(theta, state.count)
        decays = _decays(theta)
        steps, statistics = trees.map_tensors(
            lambda g, p, acc: _tensor_step(weights, decays, g, p, acc), updates, params, state[1:], clip=parts.finite
        )
        return steps, ScaleByAdafacMLPState(optax.safe_increment(state.count), *statistics[:5])

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class _Decays(NamedTuple):
    momentum: jax.Array
    rms: jax.Array
    factored: jax.Array


def _decays(theta: Theta) -> _Decays:
    """1 - exp(10 (0.1 log(1 - start) + learned offset)), second moments' within [0, 1]."""

    def decay(starts: tuple[float, ...], name: str) -> jax.Array:
        logs = jnp.asarray(np.log1p(-np.asarray(starts)), jnp.float32)
        return 1 - jnp.exp(10.0 * (0.1 * logs + lstm.array(theta[name])))

    rms, factored = decay(RMS_DECAYS, "rms_decays"), decay(FACTORED_DECAYS, "adafactor_decays")
    return _Decays(decay(MOMENTUM_DECAYS, "momentum_decays"), jnp.clip(rms[0], 0, 1), jnp.clip(factored, 0, 1))


def _layers(theta: Theta, count: jax.Array) -> update_mlp.LayerWeights:
    """The MLP as `features` reads it: features that it has not get no weight, those of the time are in the bias."""
    nn = {name: lstm.array(x) for name, x in theta["nn"]["~"].items()}
    groups, start = {}, 0
    for name, width in update_mlp.GROUPS.items():
        if name in _WITHOUT:
            groups[name] = jnp.zeros((width, nn["b0"].shape[0]), jnp.float32)
            continue
        groups[name] = nn["w0"][start : start + width]
        start += width
    time = jnp.tanh(count.astype(jnp.float32) / jnp.asarray(thetas.ADAFAC_TIMES, jnp.float32) - 1)
    return update_mlp.LayerWeights(groups, nn["b0"] + time @ nn["w0"][start:], nn["w1"], nn["b1"], nn["w2"], nn["b2"])


def _tensor_step(
    weights: update_mlp.LayerWeights, decays: _Decays, g: jax.Array, p: jax.Array, acc: accumulators.Accumulators
) -> tuple[jax.Array, accumulators.Accumulators]:
    acc = accumulators.update(acc, g, decays.momentum, decays.rms, decays.factored)
    gradient_factor: features.Factor
    momentum_factor: features.Factor
    if acc.diag is None:
        gradient_factor = momentum_factor = accumulators.factors(acc)
    else:
        gradient_factor, momentum_factor = accumulators.diagonal_factor(acc), jax.lax.rsqrt(acc.diag + ROOT_EPS)
    inputs = features.Inputs(g, p, acc.m, acc.v, acc.diag, gradient_factor, momentum_factor)
    hidden: Any = features.hidden_inputs(weights, inputs, acc.row, acc.col, g.ndim, NORM_EPS, ROOT_EPS)
    direction, magnitude = update_mlp.remaining_layers(weights, hidden, outputs=(0, 1))
    return (STEP_MULT * direction * jnp.exp(EXP_MULT * magnitude)).reshape(g.shape), acc
