"""The per-parameter MLP of the learned rules: layout of theta, initial values, fused evaluation.

theta keeps the published tree, `{"ff_mod_stack": {"~": {"w0__0": ..., "b0": ..., ...}}}`, so that files
can be exchanged. The first layer is stored as one weight per feature group (`w0__k`, [width_k, hidden]);
it equals a dense layer on the concatenated features.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Theta = Mapping[str, Any]

# Feature groups in the published order, and how many channels each has; `features.py` says what they hold. The last
# five exist only where the second moment is factored.
GROUPS = MappingProxyType(
    {
        "g": 1,
        "g_clipped": 1,
        "p": 1,
        "m": 3,
        "v": 1,
        "m_normalized": 3,
        "root": 1,
        "g_factored": 3,
        "g_normalized": 1,
        "row": 3,
        "col": 3,
        "row_root": 3,
        "col_root": 3,
        "m_factored": 3,
    }
)
NUM_OUTPUTS = 3


class LayerWeights(NamedTuple):
    """The MLP with its first layer split by feature group.

    w0: {group: [channels, hidden]}, see `GROUPS`; b0: [hidden], w1: [hidden, hidden], b1: [hidden],
    w2: [hidden, 3], b2: [3].
    """

    w0: Mapping[str, jax.Array]
    b0: jax.Array
    w1: jax.Array
    b1: jax.Array
    w2: jax.Array
    b2: jax.Array


def shapes(hidden: int = 8) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the MLP's arrays."""
    groups: dict[str, tuple[int, ...]] = {f"w0__{k}": (width, hidden) for k, width in enumerate(GROUPS.values())}
    return groups | {
        "b0": (hidden,),
        "w1": (hidden, hidden),
        "b1": (hidden,),
        "w2": (hidden, NUM_OUTPUTS),
        "b2": (NUM_OUTPUTS,),
    }


def truncated_normal(key: jax.Array, shape: Sequence[int], fan_in: int) -> jax.Array:
    """N(0, 1) cut at +-2, over sqrt(fan_in); float32.

    As in the published code, the variance lost to the cut is not put back.
    """
    return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32) / fan_in**0.5


def drawn(
    key: jax.Array,
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
    draw: Callable[[jax.Array, tuple[str, ...], tuple[int, ...]], jax.Array],
) -> dict[str, Any]:
    """A theta with arrays of these paths and shapes, in their sorted order each `draw(key, path, shape)`."""
    theta: dict[str, Any] = {}
    for path, shape in sorted(shapes.items()):
        key, subkey = jax.random.split(key)
        node = theta
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = draw(subkey, path, shape)
    return theta


def init(key: jax.Array, hidden: int = 8) -> dict[str, Any]:
    """Random theta: `truncated_normal` weights (fan-in 30 for every first-layer group), biases 0."""

    def draw(key: jax.Array, path: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
        if path[-1].startswith("b"):
            return jnp.zeros(shape, jnp.float32)
        fan_in = sum(GROUPS.values()) if path[-1].startswith("w0") else shape[0]
        return truncated_normal(key, shape, fan_in)

    return drawn(key, {("ff_mod_stack", "~", name): shape for name, shape in shapes(hidden).items()}, draw)


def layers(theta: Theta) -> LayerWeights:
    """Reads theta by name (the sorted order of its keys is not the order of the groups).

    Celo's arrays have a leading axis of length 1, a bank of one MLP.
    """
    arrays = theta["ff_mod_stack"]["~"]
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()}
    if arrays["b0"].ndim == 2:
        arrays = {name: value[0] for name, value in arrays.items()}
    return LayerWeights(
        w0={name: arrays[f"w0__{k}"] for k, name in enumerate(GROUPS)},
        b0=arrays["b0"],
        w1=arrays["w1"],
        b1=arrays["b1"],
        w2=arrays["w2"],
        b2=arrays["b2"],
    )


def _weighted_sum(weights: Sequence[jax.Array], inputs: Sequence[jax.Array], bias: jax.Array | None) -> jax.Array:
    terms = [w * x for w, x in zip(weights, inputs, strict=True)]
    total = terms[0] if bias is None else terms[0] + bias
    for term in terms[1:]:
        total = total + term
    return total


def contributions(
    weights: jax.Array, channels: Sequence[jax.Array], chosen: Sequence[int] | None = None
) -> list[jax.Array]:
    """Contribution of some channels to every hidden unit, before bias and ReLU.

    Args:
      weights: [len(channels), hidden, ...]; trailing axes broadcast against the channels, which lets
        a caller fold a normalising scale (one number per channel and matrix slice) into the weights.
      channels: arrays of one shape.
      chosen: numbers of the channels to add up; default: all.

    Returns:
      `hidden` arrays of the channels' shape.
    """
    num_channels, hidden = weights.shape[:2]
    chosen = range(num_channels) if chosen is None else chosen
    inputs = [channels[c] for c in chosen]
    return [_weighted_sum([weights[c, j] for c in chosen], inputs, None) for j in range(hidden)]


def remaining_layers(weights: LayerWeights, hidden: Sequence[jax.Array], outputs: Sequence[int]) -> list[jax.Array]:
    """ReLU of the first layer, the second layer, and the chosen outputs of the third.

    Written as one elementwise expression with scalar weights: the compiler fuses it into a single pass
    over the tensor, where a matrix product with an 8-wide axis would write every hidden unit to memory.
    """
    width = len(hidden)
    hidden = [jnp.maximum(h, 0.0) for h in hidden]
    hidden = [
        jnp.maximum(_weighted_sum([weights.w1[i, j] for i in range(width)], hidden, weights.b1[j]), 0.0)
        for j in range(width)
    ]
    return [_weighted_sum([weights.w2[i, k] for i in range(width)], hidden, weights.b2[k]) for k in outputs]


def odd_parts(
    weights: LayerWeights, even: Sequence[jax.Array], odd: Sequence[jax.Array], outputs: Sequence[int]
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The chosen outputs for (gradient, parameters) and for (-gradient, -parameters).

    Only these two small layers run twice: the first layer's sums serve both, with the other sign of its odd part.

    Args:
      weights: the MLP. even, odd: its first layer, see `features.FirstLayer`. outputs: see `remaining_layers`.
    """
    plus = [e + o for e, o in zip(even, odd, strict=True)]
    minus = [e - o for e, o in zip(even, odd, strict=True)]
    return remaining_layers(weights, plus, outputs), remaining_layers(weights, minus, outputs)
