"""Celo's learned step-size schedule: an LSTM that reads the progress of training and the course of the loss.

Its input is the same for every tensor, so one LSTM row serves all of them (the published code runs one per tensor).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from celo2 import loss_buffer, lstm
from celo2.update_mlp import Theta, drawn, truncated_normal

SIZE = 64
PROGRESS_CENTRES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
PROGRESS_SLOPE = 10.0
NUM_INPUTS = len(PROGRESS_CENTRES) + loss_buffer.NUM_FEATURES
SCALE = 0.1


class SchedulerState(NamedTuple):
    """losses: see `loss_buffer.LossBuffer`. hidden, cell: the LSTM's, float32 [64]."""

    losses: loss_buffer.LossBuffer
    hidden: jax.Array
    cell: jax.Array


def shapes() -> dict[tuple[str, ...], tuple[int, ...]]:
    """Paths and shapes of the scheduler's part of theta ("rnn/linear" is one key, as in the published files)."""
    dense = dict.fromkeys(("linear", "linear_1", "linear_2"), (NUM_INPUTS, SIZE))
    dense |= {"rnn/linear": (2 * SIZE, 4 * SIZE), "step_size": (SIZE, 1)}
    paths: dict[tuple[str, ...], tuple[int, ...]] = {("lstm_init_state", n): (1, SIZE) for n in ("hidden", "cell")}
    for name, shape in dense.items():
        paths |= {("rnn_params", name, "w"): shape, ("rnn_params", name, "b"): shape[1:]}
    return paths


def init_theta(key: jax.Array) -> dict[str, Any]:
    """Random weights: truncated normal over sqrt(fan-in), zero biases, zero initial state."""

    def draw(key: jax.Array, path: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
        return truncated_normal(key, shape, shape[0]) if path[-1] == "w" else jnp.zeros(shape, jnp.float32)

    return drawn(key, shapes(), draw)


def init(theta: Theta) -> SchedulerState:
    """The state before the first step; the LSTM starts where theta says."""
    start = theta["lstm_init_state"]
    hidden, cell = (jnp.asarray(start[name], jnp.float32).reshape(SIZE) for name in ("hidden", "cell"))
    return SchedulerState(loss_buffer.init(), hidden, cell)


def update(
    theta: Theta, state: SchedulerState, count: jax.Array, loss: jax.Array, num_steps: int | jax.Array
) -> tuple[jax.Array, SchedulerState]:
    """One step of the schedule.

    Args:
      theta: of Celo or Celo-Adam.
      state: from the last step.
      count: steps before this one, int32 scalar.
      loss: training loss before this step, scalar.
      num_steps: length of training.

    Returns:
      The step-size multiplier eta (float32 scalar) and the new state.
    """
    losses = loss_buffer.update(state.losses, loss, num_steps)
    x = inputs(losses, count, num_steps)
    weights = theta["rnn_params"]
    # "linear" is evaluated and dropped in the published code: it exists in the files only.
    u = lstm.dense(weights["linear_2"], x) + jax.nn.relu(lstm.dense(weights["linear_1"], x))
    hidden, cell = lstm.step(weights["rnn/linear"], u, state.hidden, state.cell)
    eta = SCALE * jnp.exp(lstm.dense(weights["step_size"], hidden)[0])
    return eta, SchedulerState(losses, hidden, cell)


def inputs(losses: loss_buffer.LossBuffer, count: jax.Array, num_steps: int | jax.Array) -> jax.Array:
    """What the LSTM reads, float32 [18]: tanh(10 (count / num_steps - c)) for nine c, then the nine loss features."""
    fraction = count.astype(jnp.float32) / jnp.asarray(num_steps, jnp.float32)
    progress = jnp.tanh(PROGRESS_SLOPE * (fraction - jnp.asarray(PROGRESS_CENTRES, jnp.float32)))
    return jnp.concatenate([progress, loss_buffer.features(losses)])
