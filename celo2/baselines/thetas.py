"""Weights of the learned baselines: how files name and shape them, and random ones to start meta-training from.

Sizes (of an LSTM, of a bank of MLPs) are read from the arrays themselves, so that files of any size load.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from celo2 import update_mlp
from celo2.update_mlp import truncated_normal

Path = tuple[str, ...]
Shapes = dict[Path, tuple[int, ...]]

NNADAM_INPUTS = 19
# Adam's learning rate, b1, b2 and epsilon, from where the LSTM moves them.
NNADAM_START = (1e-4, 0.9, 0.999, 1e-8)
NNADAM_NAMES = ("per_layer_lr", "per_layer_beta1", "per_layer_beta2", "per_layer_epsilon")
ADAFAC_STATISTICS = 28
ADAFAC_TIMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
ADAFAC_DECAYS = {"momentum_decays": 3, "rms_decays": 1, "adafactor_decays": 3}
FROM_LSTM, FROM_MLP, TO_MLP = 18, 16, 17
RNN_MLP_TENSOR, RNN_MLP_ELEMENT, RNN_MLP_SHARED = 18, 23, 14
VELO_INPUTS = 30
# Of an element 16 (see `rule_open`), and the shares of training, layer and epoch.
OPEN_INPUTS, OPEN_OUTPUTS = 19, 3
# Of the uncut distribution over that of one cut at +-2: haiku's VarianceScaling puts the lost variance back.
_CUT = 0.87962566103423978


class _Lstm(NamedTuple):
    size: int

    def shapes(self, inputs: int) -> Shapes:
        start: Shapes = {("lstm_init_state", name): (1, self.size) for name in ("hidden", "cell")}
        return start | dense(("rnn_params", "rnn/linear"), inputs + self.size, 4 * self.size)


def dense(path: Path, inputs: int, outputs: int) -> Shapes:
    """Paths and shapes of a dense layer."""
    return {(*path, "w"): (inputs, outputs), (*path, "b"): (outputs,)}


def nnadam_shapes(lstm: int = 64) -> Shapes:
    """lstm: size of the LSTM, which has a row for every tensor."""
    controls = dense(("rnn_to_controls_params", "rnn_to_controls"), lstm, len(NNADAM_NAMES))
    return _Lstm(lstm).shapes(NNADAM_INPUTS) | controls | {(name,): () for name in NNADAM_NAMES}


def adafac_mlp_shapes(hidden: int = 4) -> Shapes:
    """hidden: width of the MLP."""
    widths = (ADAFAC_STATISTICS + len(ADAFAC_TIMES), hidden, hidden, 2)
    layers: Shapes = {}
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        layers |= {("nn", "~", f"w{k}"): (inputs, outputs), ("nn", "~", f"b{k}"): (outputs,)}
    return layers | {(name,): (count,) for name, count in ADAFAC_DECAYS.items()}


def rnn_mlp_shapes(lstm: int = 64, hidden: int = 32) -> Shapes:
    """lstm: size of the LSTM, which has a row for every tensor. hidden: width of the MLP."""
    widths = (RNN_MLP_ELEMENT + RNN_MLP_SHARED + TO_MLP, hidden, hidden, 2 + FROM_MLP)
    shapes = _Lstm(lstm).shapes(RNN_MLP_TENSOR + FROM_LSTM + FROM_MLP)
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= dense(("ffmod_params", f"mlp/~/linear_{k}"), inputs, outputs)
    shapes |= dense(("rnn_to_ff_params", "rnn_to_ff"), lstm, TO_MLP)
    shapes |= dense(("rnn_to_in_params", "rnn_to_in"), lstm, FROM_LSTM)
    return shapes | {("initial_from_lstm",): (FROM_LSTM,), ("initial_from_mlp",): (FROM_MLP,)}


def velo_shapes(lstm: int = 64, hidden: int = 4, bank: int = 32) -> Shapes:
    """lstm: size of the LSTM. hidden: width of the MLPs. bank: how many of them; default: the sizes of VeLO-S."""
    shapes = _Lstm(lstm).shapes(lstm)
    for name in ("linear", "linear_1", "linear_2"):
        shapes |= dense(("rnn_params", name), VELO_INPUTS, lstm)
    shapes |= dense(("rnn_params", "rnn_to_controls"), lstm, bank) | dense(("rnn_params", "step_size"), lstm, 1)
    mlp = update_mlp.shapes(hidden).items()
    return shapes | {("ff_mod_stack", "~", name): (bank, *shape) for name, shape in mlp}


def open_shapes(gru: int = 8, hidden: int = 16) -> Shapes:
    """gru: size of the GRU that every parameter has. hidden: width of the MLP; default: all published but "multi"."""
    of_gru, of_mlp = ("gru_params", "params"), ("params", "params")
    shapes: Shapes = {}
    for gate in "rzn":
        shapes |= {(*of_gru, f"i{gate}", "kernel"): (OPEN_INPUTS, gru), (*of_gru, f"i{gate}", "bias"): (gru,)}
        shapes |= {(*of_gru, f"h{gate}", "kernel"): (gru, gru)}
    shapes |= {(*of_gru, "hn", "bias"): (gru,)}
    for k, (inputs, outputs) in zip((0, 3, 6), pairwise((gru, hidden, hidden, OPEN_OUTPUTS)), strict=True):
        shapes |= {(*of_mlp, f"layers_{k}", "kernel"): (inputs, outputs), (*of_mlp, f"layers_{k}", "bias"): (outputs,)}
    for k in (1, 4):
        shapes |= {(*of_mlp, f"layers_{k}", name): (hidden,) for name in ("scale", "bias")}
    return shapes


class _Baseline(NamedTuple):
    """shapes: paths and shapes, given sizes. sizes: {name of a size: where an array has it, and in which axis}."""

    shapes: Callable[..., Shapes]
    sizes: Mapping[str, tuple[Path, int]]


_HIDDEN_STATE, _BANK = ("lstm_init_state", "hidden"), ("ff_mod_stack", "~", "b0")
BASELINES: dict[str, _Baseline] = {
    "nnadam": _Baseline(nnadam_shapes, {"lstm": (_HIDDEN_STATE, 1)}),
    "adafac_mlp": _Baseline(adafac_mlp_shapes, {"hidden": (("nn", "~", "b0"), 0)}),
    "rnn_mlp": _Baseline(
        rnn_mlp_shapes, {"lstm": (_HIDDEN_STATE, 1), "hidden": (("ffmod_params", "mlp/~/linear_0", "b"), 0)}
    ),
    "velo": _Baseline(
        velo_shapes,
        {
            "lstm": (_HIDDEN_STATE, 1),
            "hidden": (("ff_mod_stack", "~", "b0"), 1),
            "bank": (("ff_mod_stack", "~", "b0"), 0),
        },
    ),
    "open": _Baseline(
        open_shapes,
        {"gru": (("gru_params", "params", "hn", "bias"), 0), "hidden": (("params", "params", "layers_0", "bias"), 0)},
    ),
}


def rule_of(theta: Mapping[str, Any]) -> str | None:
    """Which baseline's tree this is, from its names; None: of none of them.

    VeLO's names are Celo's, but its scheduler reads 30 numbers of every tensor, not 18.
    """
    signs = {"nnadam": NNADAM_NAMES[0], "adafac_mlp": "nn", "rnn_mlp": "ffmod_params", "open": "gru_params"}
    for name, sign in signs.items():
        if sign in theta:
            return name
    try:
        inputs = np.shape(theta["rnn_params"]["linear"]["w"])[0]
    except (KeyError, TypeError, IndexError):
        return None
    return "velo" if inputs == VELO_INPUTS and "ff_mod_stack" in theta else None


def expected_shapes(rule: str, arrays: Mapping[Path, Any]) -> Shapes:
    """Paths and shapes that a baseline's theta must have, in the sizes that its own arrays say."""
    baseline = BASELINES[rule]
    sizes = {}
    for name, (path, axis) in baseline.sizes.items():
        shape = np.shape(arrays.get(path, 0))
        if len(shape) > axis and shape[axis] > 0:
            sizes[name] = int(shape[axis])
    return baseline.shapes(**sizes)


def init_theta(rule: str, key: jax.Array, **sizes: int) -> dict[str, Any]:
    """Random weights as published: truncated normal over the root of the number of inputs, biases and states zero.

    NN-Adam starts as Adam (its output layer is zero), RNN-MLP's messages of the first step are random. OPEN's are those
    of a fresh network (its GRU's states meet orthogonal weights); its published search began at zeros.
    """
    return update_mlp.drawn(key, BASELINES[rule].shapes(**sizes), _initial)


def _initial(key: jax.Array, path: Path, shape: tuple[int, ...]) -> jax.Array:
    name = path[-1]
    if path[0] == "gru_params" or path[:2] == ("params", "params"):
        return _initial_open(key, path, shape)
    if name in NNADAM_NAMES:
        return jnp.float32(forward(NNADAM_START)[NNADAM_NAMES.index(name)])
    if name.startswith("initial_from"):
        return truncated_normal(key, shape, shape[0]) / _CUT
    if not name.startswith("w") or (path[-2] == "rnn_to_controls" and path[0] == "rnn_to_controls_params"):
        return jnp.zeros(shape, jnp.float32)
    fan_in = sum(update_mlp.GROUPS.values()) if name.startswith("w0__") else shape[-2]
    return truncated_normal(key, shape, fan_in)


def _initial_open(key: jax.Array, path: Path, shape: tuple[int, ...]) -> jax.Array:
    if path[-1] != "kernel":
        return jnp.full(shape, 1.0 if path[-1] == "scale" else 0.0, jnp.float32)
    if path[-2].startswith("h"):
        return jax.nn.initializers.orthogonal()(key, shape, jnp.float32)
    return truncated_normal(key, shape, shape[0]) / _CUT


def forward(adam: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """NN-Adam's coordinates of a learning rate, b1, b2 and epsilon."""
    rate, b1, b2, eps = adam
    return 0.1 * math.log(rate), 0.1 * math.log(1 - b1), 0.1 * math.log(1 - b2), 0.1 * math.log(eps)
