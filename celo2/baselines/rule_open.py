"""OPEN: a GRU per parameter that is told where an RL agent's training stands (Goldie et al., arXiv 2407.07082)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from celo2 import checks, lstm, trees
from celo2.baselines import depth, parts
from celo2.checkpoint import ThetaLike, load_weights
from celo2.update_mlp import Theta

DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
TOLD = ("progress", "epoch", "is_actor", "key", "dormancy")
STEP_MULT = EXP_MULT = 0.001
# Rows of the GRU's kernel: of an element's own inputs, and of the shares of training and of epochs.
_OWN, _ALL = np.asarray([*range(15), 16, 18]), np.asarray([15, 17])
_LOG_FLOOR, _SQUARE_FLOOR, _NORM_EPS = 1e-13, 1e-5, 1e-6


class ScaleByOpenState(NamedTuple):
    """State of `scale_by_open`.

    Attributes:
      count: int32 scalar, updates so far.
      m: tree of momenta, float32 [6, *shape].
      hidden: tree of the GRU's states, float32 [gru, *shape].
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    m: Any
    hidden: Any


class _Seen(NamedTuple):
    """What the network reads of P parameters. own: float32 [17, P]; all: float32 [2], equal for all."""

    own: jax.Array
    all: jax.Array


def scale_by_open(
    theta: ThetaLike, *, num_steps: int | None = None, steps_per_batch: int = 1, epochs: int = 1
) -> optax.GradientTransformationExtraArgs:
    r"""OPEN's update with the sign of the gradient; `open_rule` subtracts it. There is no learning rate.

    Every parameter has a GRU and an MLP above it with outputs o0, o1, o2, and
    update = 0.001 o0 exp(0.001 o1) + 0.001 o2 z, less the mean over all parameters; z ~ N(0, 1) for tensors of the
    actor, 0 for others. They read 19 numbers: the parameter, signs and ln(|x| + 1e-13) of six momenta (decays 0.1, 0.5,
    0.9, 0.99, 0.999, 0.9999) and of the gradient, each over its root mean square in the tensor; the share of training,
    of the layers (`depth.shares`) and of the epochs; the dormancy of the unit.

    Args:
      theta: weights: the path of a published `.npy` or of a theta file, `Weights`, or a tree as
        `init_theta("open", key)` gives it, which may be traced.
      num_steps: updates over the whole training; None: the shares of training and epochs are `progress` and `epoch` as
        told. Else they are as published, from 0 to 1, constant over an iteration and over an epoch:
        iteration / (iterations - 1), epoch / (epochs - 1), where the update's number is progress * num_steps.
      steps_per_batch: updates on one rollout, of which there are as many in every epoch.
      epochs: passes over it.

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs `params` and, as the agents here give them:
      `progress`, `epoch`: float32 scalars, shares of the training and of the updates on this batch that are done;
      `is_actor`: tree like params of bools; `key`: a PRNG key of this update; `dormancy`: a tree like params, float32
      [units of the last axis] or scalar, or a function that gives it. The trees may have more tensors than params, of
      which `optax.partition` leaves some out. NaN entries of a gradient count as 0, all are clipped to +-1000. The
      published training clips the gradient's norm before, of actor and critic each at 0.5.

    Raises:
      ValueError: for a theta of another rule; numbers below 1, or updates that epochs do not divide; parameters that
        are not real floating point or hold no element (at `init`); missing parameters or keywords, a tree without one
        of the tensors, or a dormancy of another shape (at `update`).

    Reference: arXiv 2407.07082 and its public code.
    """
    theta = load_weights(theta).theta
    checks.check_theta(theta, "open")
    _check_course(num_steps, steps_per_batch, epochs)
    size = jnp.shape(theta["gru_params"]["params"]["hn"]["bias"])[0]

    def init_fn(params: Any) -> ScaleByOpenState:
        checks.check_params(params)

        def zeros(count: int) -> Any:
            return jax.tree.map(lambda p: jnp.stack([jnp.zeros_like(p, jnp.float32)] * count), params)

        return ScaleByOpenState(jnp.zeros([], jnp.int32), zeros(len(DECAYS)), zeros(size))

    def update_fn(
        updates: Any, state: ScaleByOpenState, params: Any = None, **told: Any
    ) -> tuple[Any, ScaleByOpenState]:
        parts.check_shapes(updates, params, "open")
        missing = [name for name in TOLD if told.get(name) is None]
        if missing:
            raise ValueError(f"open reads what RL agents tell: call update(grads, state, params, ...) with {missing}")
        count = optax.safe_increment(state.count)
        treedef: Any = jax.tree.structure(updates)
        if not treedef.num_leaves:
            return updates, state._replace(count=count)
        acts = [bool(x) for x in _of_tensors(told["is_actor"], params, "is_actor")]
        grads = [trees.clipped(g) for g in jax.tree.leaves(updates)]
        decays = jnp.asarray(DECAYS, jnp.float32)
        m = [_averaged(decays, old, g) for old, g in zip(jax.tree.leaves(state.m), grads, strict=True)]
        course = _course(told, num_steps, steps_per_batch, epochs)
        seen = _Seen(_seen(params, grads, m, acts, told["dormancy"]), jnp.stack(course))
        hidden, outputs = _network(theta, seen, _joined(jax.tree.leaves(state.hidden)))
        steps = _steps(outputs, [g.size for g in grads], acts, told["key"])
        new = ScaleByOpenState(count, treedef.unflatten(m), treedef.unflatten(_apart(hidden, grads)))
        return parts.steps_like(params, _apart(steps[None], grads)), new

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check_course(num_steps: int | None, steps_per_batch: int, epochs: int) -> None:
    numbers = {"num_steps": 1 if num_steps is None else num_steps, "steps_per_batch": steps_per_batch, "epochs": epochs}
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")
    if steps_per_batch % epochs:
        raise ValueError(f"the {steps_per_batch} updates of a batch must be equally many in each of {epochs} epochs")


def _course(told: Mapping[str, Any], num_steps: int | None, steps_per_batch: int, epochs: int) -> list[jax.Array]:
    """Shares of the training and of the epochs, float32 scalars."""
    progress = jnp.asarray(told["progress"], jnp.float32)
    if num_steps is None:
        return [progress, jnp.asarray(told["epoch"], jnp.float32)]
    step = jnp.round(progress * num_steps).astype(jnp.int32)
    iteration, within = step // steps_per_batch, step % steps_per_batch
    last = max(num_steps // steps_per_batch - 1, 1), max(epochs - 1, 1)
    return [iteration / last[0], within // (steps_per_batch // epochs) / last[1]]


def _of_tensors(tree: Any, params: Any, name: str) -> list[Any]:
    """A tree's leaves for the tensors of params, found by path."""
    found = dict(jax.tree.leaves_with_path(tree))
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    for path in paths:
        if path not in found:
            raise ValueError(f"open: {name} lacks the tensor {jax.tree_util.keystr(path)}")
    return [found[path] for path in paths]


def _averaged(decays: jax.Array, old: jax.Array, g: jax.Array) -> jax.Array:
    decays = decays.reshape(-1, *[1] * g.ndim)
    return decays * old + (1 - decays) * g


def _seen(params: Any, grads: Sequence[jax.Array], m: Sequence[jax.Array], acts: list[bool], told: Any) -> jax.Array:
    """What the network reads of each parameter by itself, float32 [17, P]: 15 statistics, layer, dormancy."""
    dormancy = _of_tensors(told() if callable(told) else told, params, "dormancy")
    tensors = zip(trees.floats(params), grads, m, depth.shares(params, acts), dormancy, strict=True)
    return jnp.concatenate([_of_tensor(*tensor) for tensor in tensors], axis=1)


def _of_tensor(p: jax.Array, g: jax.Array, m: jax.Array, layer: float, dormancy: Any) -> jax.Array:
    dormancy = jnp.asarray(dormancy, jnp.float32)
    if dormancy.shape not in ((), p.shape[-1:]):
        raise ValueError(f"open: a dormancy of shape {dormancy.shape} was given for a parameter of shape {p.shape}")
    alike = [jnp.broadcast_to(x, p.shape).reshape(1, -1) for x in (jnp.float32(layer), dormancy)]
    p, g, m = (x.reshape(-1, p.size) for x in (p, g, m))
    statistics = jnp.concatenate([p, jnp.sign(m), _log(m), jnp.sign(g), _log(g)])
    scale = jax.lax.rsqrt(_SQUARE_FLOOR + jnp.mean(jnp.square(statistics), axis=1, keepdims=True))
    return jnp.concatenate([statistics * scale, *alike])


def _log(x: jax.Array) -> jax.Array:
    return jnp.log(jnp.abs(x) + _LOG_FLOOR)


def _network(theta: Theta, seen: _Seen, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The GRU's new states, [gru, P], and the MLP's outputs, [3, P].

    Parameters are the last axis, along which CPUs vectorise; what all share is folded into the bias.
    """
    gru, mlp = theta["gru_params"]["params"], theta["params"]["params"]
    kernel = jnp.concatenate([lstm.array(gru[f"i{gate}"]["kernel"]) for gate in "rzn"], axis=1)
    bias = jnp.concatenate([lstm.array(gru[f"i{gate}"]["bias"]) for gate in "rzn"]) + seen.all @ kernel[_ALL]
    r, z, n = jnp.split(kernel[_OWN].T @ seen.own + bias[:, None], 3)
    of_r, of_z, of_n = jnp.split(jnp.concatenate([lstm.array(gru[f"h{g}"]["kernel"]) for g in "rzn"], 1).T @ hidden, 3)
    r, z = jax.nn.sigmoid(r + of_r), jax.nn.sigmoid(z + of_z)
    n = jnp.tanh(n + r * (of_n + lstm.array(gru["hn"]["bias"])[:, None]))
    x = hidden = (1 - z) * n + z * hidden
    for k in (0, 3):
        x = jax.nn.relu(_normalised(mlp[f"layers_{k}"], mlp[f"layers_{k + 1}"], x))
    return hidden, lstm.array(mlp["layers_6"]["kernel"]).T @ x + lstm.array(mlp["layers_6"]["bias"])[:, None]


def _normalised(dense: Theta, norm: Theta, x: jax.Array) -> jax.Array:
    """Dense layer and layer norm, [inputs, P] -> [outputs, P].

    The mean is taken out of the weights and squares are averaged by a product: a reduction over the first axis takes
    XLA on CPUs ten times as long.
    """
    kernel, bias = lstm.array(dense["kernel"]), lstm.array(dense["bias"])
    x = (kernel - jnp.mean(kernel, axis=1, keepdims=True)).T @ x + (bias - jnp.mean(bias))[:, None]
    variance = jnp.full((1, len(bias)), 1 / len(bias)) @ jnp.square(x)
    scale, offset = (lstm.array(norm[name])[:, None] for name in ("scale", "bias"))
    return x * jax.lax.rsqrt(variance + _NORM_EPS) * scale + offset


def _steps(outputs: jax.Array, sizes: Sequence[int], acts: Sequence[bool], key: jax.Array) -> jax.Array:
    """float32 [P]; one draw of noise has a number for every parameter of the actor, in the order of the tree."""
    direction, magnitude, noise = outputs
    drawn = jax.random.normal(key, (sum(size for size, acting in zip(sizes, acts, strict=True) if acting),))
    rows, place = [], 0
    for size, acting in zip(sizes, acts, strict=True):
        rows.append(drawn[place : place + size] if acting else jnp.zeros(size))
        place += size * acting
    steps = STEP_MULT * (direction * jnp.exp(EXP_MULT * magnitude) + noise * jnp.concatenate(rows))
    return steps - jnp.mean(steps)


def _joined(tensors: Sequence[jax.Array]) -> jax.Array:
    """[channels, *shape] of each -> [channels, P]."""
    return jnp.concatenate([x.reshape(x.shape[0], -1) for x in tensors], axis=1)


def _apart(rows: jax.Array, like: Sequence[jax.Array]) -> list[jax.Array]:
    """[channels, P] -> [channels, *shape] of each."""
    places = np.cumsum([x.size for x in like])[:-1]
    found = jnp.split(rows, places, axis=1)
    return [x.reshape(-1, *one.shape) for x, one in zip(found, like, strict=True)]
