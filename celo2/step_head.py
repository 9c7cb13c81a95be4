"""A small learned head over the steps of any optimizer: how long they are, tensor by tensor, as training goes on."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import checks
from celo2.labels import Routing
from celo2.reductions import sums

# What the head reads of every tensor. All are 0, or near it, where nothing is to be said.
FEATURES = (
    *("constant", "progress", "progress_squared", "epoch", "log_updates"),
    *("critic", "input", "head", "one_dimensional"),
    *("log_step", "log_growth"),
)
# Steps are multiplied by e^-4 to e^4.
LIMIT = 4.0
_TINY = 1e-12
_KINDS = Routing(kinds=("embedding", "head", "input"))


class StepHeadState(NamedTuple):
    """State of `scale_by_step_head`.

    Attributes:
      count: int32 scalar, updates so far.
      norms: tree like the parameters, float32 scalars, their root mean squares at the start; of a tensor of zeros,
        NaN.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    norms: Any


def scale_by_step_head(weights: Any, num_steps: Any) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies the step of every tensor by exp(w . f), where f says what the tensor is and how far training is.

    With weights of 0 nothing changes, so that a search for them begins at the optimizer as it is. Put it behind the
    direction and before the learning rate.

    The features, `FEATURES`:
      constant 1; progress p and p^2 (of training, 0 to 1); epoch (share of the updates on the present batch that are
      done); log_updates, log10(num_steps) - 4;
      critic: 1 for tensors that have no part in how the agent acts; input, head: 1 for layers so told (see `Routing`);
      one_dimensional: 1 below rank 2;
      log_step: 1 + ln(root mean square of the step) / 2, within [-2, 2]: steps of Adam's size shrink with the noise;
      log_growth: ln(norm of the parameters over that at the start), within [-2, 2]; 0 for what began at zero.

    Args:
      weights: float [len(FEATURES)], may be traced.
      num_steps: updates over the whole training, int or traced scalar; progress is the count over it, unless `update`
        is given `progress=`, as agents give it, and likewise `epoch=` and `is_actor=`.

    Returns:
      An `optax.GradientTransformationExtraArgs`; `update` needs the parameters.

    Raises:
      ValueError: for weights of another shape; at `update` without parameters.

    Examples:
      >>> import celo2, jax.numpy as jnp, optax
      >>> head = celo2.scale_by_step_head(jnp.zeros(len(celo2.STEP_FEATURES)), num_steps=1000)
      >>> tx = optax.chain(optax.scale_by_adam(eps=1e-5), head, optax.scale(-2.5e-3))
    """
    if jnp.shape(weights) != (len(FEATURES),):
        raise ValueError(f"weights must have shape ({len(FEATURES)},), got {jnp.shape(weights)}")

    def init_fn(params: Any) -> StepHeadState:
        checks.check_params(params)
        norms = jax.tree.map(lambda x: jnp.where(jnp.any(x != 0), _rms(x), jnp.nan), params)
        return StepHeadState(jnp.zeros([], jnp.int32), norms)

    def update_fn(updates: Any, state: StepHeadState, params: Any = None, **extra: Any) -> tuple[Any, StepHeadState]:
        if params is None:
            raise ValueError("scale_by_step_head needs params in update()")
        progress = extra.get("progress", state.count / jnp.maximum(num_steps, 1))
        shared = _of_training(progress, extra.get("epoch", 0.0), num_steps)
        fixed = _of_tensors(params, extra.get("is_actor"))

        def scaled(step: jax.Array, param: jax.Array, norm: jax.Array, own: tuple[float, ...]) -> jax.Array:
            features = jnp.stack([*shared, *map(jnp.float32, own), *_of_step(step, param, norm)])
            factor = jnp.exp(jnp.clip(jnp.dot(jnp.asarray(weights, jnp.float32), features), -LIMIT, LIMIT))
            return (factor * step).astype(step.dtype)

        leaves, tree = jax.tree.flatten(updates)
        others = jax.tree.leaves(params), jax.tree.leaves(state.norms), fixed
        steps = [scaled(*of_tensor) for of_tensor in zip(leaves, *others, strict=True)]
        return jax.tree.unflatten(tree, steps), StepHeadState(optax.safe_increment(state.count), state.norms)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _of_training(progress: Any, epoch: Any, num_steps: Any) -> list[jax.Array]:
    length = jnp.log10(jnp.maximum(jnp.asarray(num_steps, jnp.float32), 1.0)) - 4
    return [jnp.asarray(x, jnp.float32) for x in (1.0, progress, progress * progress, epoch, length)]


def _of_tensors(params: Any, is_actor: Any) -> list[tuple[float, ...]]:
    """critic, input, head, one_dimensional of every tensor, in the order of the tree."""
    decisions = _KINDS.decide(params)
    acting = [True] * len(decisions) if is_actor is None else jax.tree.leaves(is_actor)
    return [
        (
            float(not acts),
            float(decision.kind in ("input", "embedding")),
            float(decision.kind == "head"),
            float(len(decision.shape) < 2),
        )
        for decision, acts in zip(decisions, acting, strict=True)
    ]


def _of_step(step: jax.Array, param: jax.Array, norm: jax.Array) -> list[jax.Array]:
    length = 1 + jnp.log(jnp.maximum(_rms(step), _TINY)) / 2
    growth = jnp.log(jnp.maximum(_rms(param), _TINY) / norm)
    return [jnp.clip(length, -2.0, 2.0), jnp.where(jnp.isnan(norm), 0.0, jnp.clip(growth, -2.0, 2.0))]


def _rms(x: jax.Array) -> jax.Array:
    x = jnp.asarray(x, jnp.float32)
    (total,) = sums([jnp.square(x)], x.ndim)
    return jnp.sqrt(total / math.prod(x.shape))
