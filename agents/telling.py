"""What agents tell their optimizers besides gradient and parameters; `docs/optimizers.md` is the contract."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.convolution import Convolution

# Keys of the optimizer's own are folded from the agent's, so that a rule that draws nothing changes no other number.
_STREAM = 0x6F7074
# Parts of an actor-critic network that its policy does not read.
_CRITIC = ("critic", "value_head")
_HEADS = ("head", "policy_head", "value_head")


def key_of(agent_key: jax.Array, update: jax.Array) -> jax.Array:
    """The key for an update, out of the agent's at the start of an iteration; update: int32, within it."""
    return jax.random.fold_in(jax.random.fold_in(agent_key, _STREAM), update)


def is_actor(params: Any) -> Any:
    """A tree like params of True and False: whether the tensor has a part in how the agent acts."""

    def has_part(path: tuple[Any, ...], _: Any) -> bool:
        return not set(_names(path)) & set(_CRITIC)

    return jax.tree.map_with_path(has_part, params)


def dormancy(network: nn.Module, params: Any, obs: jax.Array) -> Any:
    """How busy the units are that a tensor feeds: the mean absolute activation of each over that of its layer.

    Args:
      network: whose `activation` follows every layer but the heads. params: its parameters. obs: [B, *shape].

    Returns:
      A tree like params: float32 [units], along the last axis of kernels and biases; 1 for a unit that is as busy as
      its layer's mean, 0 for a dead one; of tensors that feed no activation (heads, log_std) scalar 1.

    Reference: Sokar et al., arXiv 2302.12902, definition 3.1.
    """

    def is_layer(module: nn.Module, method: str) -> bool:
        return method == "__call__" and isinstance(module, nn.Dense | nn.LayerNorm | Convolution)

    captured = network.apply(params, obs, capture_intermediates=is_layer, mutable=["intermediates"])[1]
    activation: Any = network.activation

    def score(path: tuple[Any, ...], _: Any) -> jax.Array:
        layer = _names(path)[1:-1]
        if not layer or layer[-1] in _HEADS:
            return jnp.ones([])
        found = captured["intermediates"]
        for name in layer[:-1]:
            found = found[name]
        # Where there is a norm before the activation, a layer is as busy as what comes out of both.
        number = layer[-1].rpartition("_")[2] if "_" in layer[-1] else "0"
        norms = (name for name in (f"norm_{number}", f"conv_norm_{number}") if name in found)
        (output,) = found[next(norms, layer[-1])]["__call__"]
        busy = jnp.mean(jnp.abs(activation(output)), axis=tuple(range(output.ndim - 1)))
        return busy / (jnp.mean(busy) + 1e-9)

    return jax.tree.map_with_path(score, params)


def extra_args(
    network: nn.Module,
    params: Any,
    obs: jax.Array,
    *,
    value: jax.Array,
    progress: jax.Array,
    epoch: jax.Array,
    key: jax.Array,
) -> Mapping[str, Any]:
    """The keywords of `update` that every agent gives.

    Args:
      network, params, obs: see `dormancy`, which costs nothing unless the optimizer calls it.
      value: the loss. progress, epoch: float32 scalars in [0, 1]. key: PRNG key of this update.
    """
    return {
        "value": value,
        "progress": progress,
        "epoch": epoch,
        "is_actor": is_actor(params),
        "key": key,
        "dormancy": lambda: dormancy(network, params, obs),
    }


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(entry.key for entry in path)
