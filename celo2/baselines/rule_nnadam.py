"""NN-Adam: Adam whose four settings an LSTM moves, tensor by tensor (Metz et al., arXiv 2203.11860)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import checks, features, lstm, trees
from celo2.baselines import parts, thetas
from celo2.checkpoint import ThetaLike, load_weights

EPS_ROOT = 1e-10
OUTPUT_SCALE = 0.01
_CLIP, _SCALE = 5.0, 0.2


class ScaleByNNAdamState(NamedTuple):
    """State for n tensors.

    Attributes:
      count: int32 scalar, updates so far.
      mu: first moment, float32 tree, without bias correction.
      nu: second moment, likewise.
      settings: float32 [n, 4], in NN-Adam's coordinates: learning rate, b1, b2, epsilon.
      rows: the LSTM's.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    mu: Any
    nu: Any
    settings: jax.Array
    rows: parts.Rows


def scale_by_nnadam(theta: ThetaLike) -> optax.GradientTransformationExtraArgs:
    r"""NN-Adam's update with the sign of the gradient; `nnadam` subtracts it. There is no learning rate.

    With the settings lr, b1, b2 and eps of a tensor, which start where theta says and are moved after each update by
    0.01 times the outputs of an LSTM in the coordinates 0.1 log lr, 0.1 log(1 - b1), 0.1 log(1 - b2), 0.1 log eps:
    m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  update = lr (1 + eps) m / (eps + sqrt(v + 1e-10)).

    Args:
      theta: weights: the path of a file, `Weights`, or a tree as `init_theta("nnadam", key)` gives it, which may be
        traced.

    Returns:
      An `optax.GradientTransformationExtraArgs`; `update` needs `params`. NaN entries of a gradient count as 0, all are
      clipped to +-1000.

    Raises:
      ValueError: for a theta of another rule, parameters that are not real floating point or hold no element (at
        `init`), a missing `params` (at `update`).

    Reference: the "NN Adam" of arXiv 2203.11860 and its public code.
    """
    theta = load_weights(theta).theta
    checks.check_theta(theta, "nnadam")

    def init_fn(params: Any) -> ScaleByNNAdamState:
        checks.check_params(params)
        mu, nu = (optax.tree.zeros_like(params, dtype=jnp.float32) for _ in range(2))
        count = len(jax.tree.leaves(params))
        start = jnp.stack([lstm.array(theta[name]) for name in thetas.NNADAM_NAMES])
        rows = parts.start_rows(theta, count)
        return ScaleByNNAdamState(jnp.zeros([], jnp.int32), mu, nu, jnp.tile(start, (count, 1)), rows)

    def update_fn(
        updates: Any, state: ScaleByNNAdamState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByNNAdamState]:
        del extra_args
        parts.check_shapes(updates, params, "nnadam")
        count = optax.safe_increment(state.count)
        treedef: Any = jax.tree.structure(updates)
        if not treedef.num_leaves:
            return updates, state._replace(count=count)
        grads = [trees.clipped(g) for g in jax.tree.leaves(updates)]
        rate, b1, b2, eps = _adam(state.settings)
        mu = [b * m + (1 - b) * g for b, m, g in zip(b1, jax.tree.leaves(state.mu), grads, strict=True)]
        nu = [b * v + (1 - b) * g * g for b, v, g in zip(b2, jax.tree.leaves(state.nu), grads, strict=True)]
        steps = [r * (1 + e) / (e + jnp.sqrt(v + EPS_ROOT)) * m for r, e, m, v in zip(rate, eps, mu, nu, strict=True)]
        tensors = zip(trees.floats(params), grads, mu, nu, strict=True)
        inputs = jnp.stack([_inputs(*tensor, s) for tensor, s in zip(tensors, state.settings, strict=True)])
        rows = parts.Rows(*lstm.step(theta["rnn_params"]["rnn/linear"], inputs, *state.rows))
        moved = lstm.dense(theta["rnn_to_controls_params"]["rnn_to_controls"], rows.hidden)
        settings = jnp.stack(_coordinates(*_adam(state.settings + OUTPUT_SCALE * moved)), axis=-1)
        new = ScaleByNNAdamState(count, treedef.unflatten(mu), treedef.unflatten(nu), settings, rows)
        return parts.steps_like(params, steps), new

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _adam(x: jax.Array) -> tuple[jax.Array, ...]:
    """Learning rate, b1, b2 and epsilon, [n] each, of settings [n, 4]."""
    rate, b1, b2, eps = jnp.moveaxis(10.0 * x, -1, 0)
    decays = (1 - jnp.exp(jnp.clip(b, -10.0, 0.0)) for b in (b1, b2))
    return jnp.clip(jnp.exp(rate), 1e-8, 1e3), *decays, jnp.clip(jnp.exp(eps), 1e-11, 1e4)


def _coordinates(rate: jax.Array, b1: jax.Array, b2: jax.Array, eps: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(0.1 * jnp.log(x) for x in (rate, 1 - b1, 1 - b2, eps))


def _inputs(p: jax.Array, g: jax.Array, m: jax.Array, v: jax.Array, settings: jax.Array) -> jax.Array:
    """What the LSTM reads of one tensor, float32 [19]."""
    (mean_p, var_p), (mean_g, var_g), (mean_m, var_m), (mean_v, var_v) = map(parts.spread, (p, g, m, v))
    rate, b1, b2, eps = _SCALE * jnp.clip(settings, -_CLIP, _CLIP)
    # In the alphabetic order of the published names, which the weights are in.
    is_bias, is_scalar = (jnp.float32(1.0 if p.ndim == rank else -1.0) for rank in (1, 0))
    sizes = (mean_g, jnp.mean(jnp.abs(g)), mean_m, mean_p, mean_v, var_g, var_m, var_p, var_v)
    log_g, log_abs_g, log_m, log_p, log_v, *variances = 0.5 * features.log_size(jnp.stack(sizes))
    signs = {name: jnp.sign(x) for name, x in (("g", mean_g), ("m", mean_m), ("p", mean_p), ("v", mean_v))}
    named = [b1, b2, eps, is_bias, is_scalar, rate, log_g, signs["g"], log_abs_g, log_m, signs["m"], log_p, signs["p"]]
    return jnp.stack([*named, log_v, signs["v"], *variances])
