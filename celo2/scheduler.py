"""Celo's learned step-size schedule: an LSTM that reads the progress of training and the course of the loss.

Its input is the same for every tensor, so one LSTM row serves all of them (the published code runs one per tensor).

Two ablations of arXiv 2501.12670: weights with arrays for tensor features (Table 3d) have a row and a multiplier for
every tensor; and the multiplier may be another function of the LSTM's output (Table 3e).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from celo2 import loss_buffer, lstm
from celo2.form import SCHEDULE_FORMS
from celo2.names import check_known
from celo2.update_mlp import Theta, drawn, truncated_normal

SIZE = 64
PROGRESS_CENTRES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
PROGRESS_SLOPE = 10.0
NUM_INPUTS = len(PROGRESS_CENTRES) + loss_buffer.NUM_FEATURES
SCALE = 0.1
# What reads the features of a tensor beside "linear_1" and "linear_2", which read what is the same for all.
TENSOR_LAYERS = ("tensor_1", "tensor_2")
NUM_TENSOR_FEATURES = 12


class SchedulerState(NamedTuple):
    """losses: see `loss_buffer.LossBuffer`. hidden, cell: the LSTM's, float32 [64]; for n tensors with features of
    their own, [n, 64].
    """

    losses: loss_buffer.LossBuffer
    hidden: jax.Array
    cell: jax.Array


def shapes(tensor_features: bool = False) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Paths and shapes of the scheduler's part of theta ("rnn/linear" is one key, as in the published files).

    tensor_features: with arrays for them, which no published file has.
    """
    dense = dict.fromkeys(("linear", "linear_1", "linear_2"), (NUM_INPUTS, SIZE))
    dense |= {"rnn/linear": (2 * SIZE, 4 * SIZE), "step_size": (SIZE, 1)}
    paths: dict[tuple[str, ...], tuple[int, ...]] = {("lstm_init_state", n): (1, SIZE) for n in ("hidden", "cell")}
    for name, shape in dense.items():
        paths |= {("rnn_params", name, "w"): shape, ("rnn_params", name, "b"): shape[1:]}
    if tensor_features:
        paths |= {("rnn_params", name, "w"): (NUM_TENSOR_FEATURES, SIZE) for name in TENSOR_LAYERS}
    return paths


def reads_tensors(theta: Theta) -> bool:
    """Whether these weights have arrays for tensor features."""
    return TENSOR_LAYERS[0] in theta.get("rnn_params", {})


def init_theta(key: jax.Array) -> dict[str, Any]:
    """Random weights: truncated normal over sqrt(fan-in), zero biases, zero initial state."""

    def draw(key: jax.Array, path: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
        return truncated_normal(key, shape, shape[0]) if path[-1] == "w" else jnp.zeros(shape, jnp.float32)

    return drawn(key, shapes(), draw)


def init_tensor_layers(key: jax.Array) -> dict[str, Any]:
    """Random arrays for tensor features, to stand in "rnn_params" beside the others: as if all were one layer."""
    shape, fan_in = (NUM_TENSOR_FEATURES, SIZE), NUM_INPUTS + NUM_TENSOR_FEATURES
    keys = jax.random.split(key, len(TENSOR_LAYERS))
    return {name: {"w": truncated_normal(k, shape, fan_in)} for name, k in zip(TENSOR_LAYERS, keys, strict=True)}


def init(theta: Theta, num_tensors: int = 1) -> SchedulerState:
    """The state before the first step; the LSTM starts where theta says. num_tensors: where it reads their features."""
    start = theta["lstm_init_state"]
    hidden, cell = (jnp.asarray(start[name], jnp.float32).reshape(SIZE) for name in ("hidden", "cell"))
    if reads_tensors(theta):
        hidden, cell = (jnp.tile(x, (num_tensors, 1)) for x in (hidden, cell))
    return SchedulerState(loss_buffer.init(), hidden, cell)


def update(
    theta: Theta,
    state: SchedulerState,
    count: jax.Array,
    loss: jax.Array,
    num_steps: int | jax.Array,
    form: str = "exp",
    tensors: jax.Array | None = None,
) -> tuple[jax.Array, SchedulerState]:
    """One step of the schedule.

    Args:
      theta: of Celo or Celo-Adam.
      state: from the last step.
      count: steps before this one, int32 scalar.
      loss: training loss before this step, scalar.
      num_steps: length of training.
      form: how the LSTM's output becomes eta, see `multiplier`.
      tensors: features of n tensors, float32 [n, 12], where theta has arrays for them, else None.

    Returns:
      The step-size multiplier eta (float32 scalar, with tensor features [n]) and the new state.

    Raises:
      ValueError: for tensor features that theta does not read, or none where it does; for an unknown form.
    """
    if reads_tensors(theta) != (tensors is not None):
        raise ValueError("tensor features belong to weights that have arrays for them, and only to these")
    losses = loss_buffer.update(state.losses, loss, num_steps)
    x = inputs(losses, count, num_steps)
    weights = theta["rnn_params"]
    # "linear" is evaluated and dropped in the published code: it exists in the files only.
    first, second = (lstm.dense(weights[name], x) for name in ("linear_1", "linear_2"))
    if tensors is None:
        u = second + jax.nn.relu(first)
    else:
        own_first, own_second = (tensors @ lstm.array(weights[name]["w"]) for name in TENSOR_LAYERS)
        # What all tensors share: the largest of what each has, as in VeLO.
        u = second + own_second + jnp.max(jax.nn.relu(first + own_first), axis=0, initial=0.0)
    hidden, cell = lstm.step(weights["rnn/linear"], u, state.hidden, state.cell)
    eta = multiplier(lstm.dense(weights["step_size"], hidden)[..., 0], form)
    return eta, SchedulerState(losses, hidden, cell)


def multiplier(output: jax.Array, form: str = "exp") -> jax.Array:
    """Eta from the LSTM's output o; an untrained schedule, whose o is about 0, is at about 0.1 in every form.

    exp (published): 0.1 exp(o). linear: 0.1 (1 + o), which may be negative. clipped: that, cut to [0, 1]. The paper
    writes 0.1 o for the last two; the 1 is where the bias within o would have to begin to start there. It does not say
    where it cuts.

    Raises:
      ValueError: for another form.
    """
    check_known("schedule_form", form, SCHEDULE_FORMS)
    if form == "exp":
        return SCALE * jnp.exp(output)
    eta = SCALE * (1 + output)
    return jnp.clip(eta, 0.0, 1.0) if form == "clipped" else eta


def inputs(losses: loss_buffer.LossBuffer, count: jax.Array, num_steps: int | jax.Array) -> jax.Array:
    """What the LSTM reads, float32 [18]: tanh(10 (count / num_steps - c)) for nine c, then the nine loss features."""
    fraction = count.astype(jnp.float32) / jnp.asarray(num_steps, jnp.float32)
    progress = jnp.tanh(PROGRESS_SLOPE * (fraction - jnp.asarray(PROGRESS_CENTRES, jnp.float32)))
    return jnp.concatenate([progress, loss_buffer.features(losses)])
