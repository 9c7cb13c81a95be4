"""How busy the units of a network are: what agents tell optimizers that ask."""

from typing import Any, NoReturn

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.convolution import Convolution

# Heads, and gates, whose units are not one layer's.
_UNSCORED = ("head", "policy_head", "value_head", "memory")


def score(network: nn.Module, params: Any, obs: Any) -> Any:
    """How busy the units are that a tensor feeds: the mean absolute activation of each over that of its layer.

    Args:
      network: one of `agents.networks`; its `activation` follows every layer but the heads. params: its parameters.
      obs: [B, *shape], or what the network takes in its place.

    Returns:
      A tree like params: float32 [units], along the last axis of kernels and biases; 1 for a unit that is as busy as
      its layer's mean, 0 for a dead one; of tensors that feed no activation (heads, log_std) or gates scalar 1.

    Reference: Sokar et al., arXiv 2302.12902, definition 3.1.
    """

    def is_layer(module: nn.Module, method: str) -> bool:
        return method == "__call__" and isinstance(module, nn.Dense | nn.LayerNorm | Convolution)

    captured = network.apply(params, obs, capture_intermediates=is_layer, mutable=["intermediates"])[1]
    activation: Any = network.activation

    def of_tensor(path: tuple[Any, ...], _: Any) -> jax.Array:
        layer = [entry.key for entry in path[1:-1]]
        if not layer or layer[-1] in _UNSCORED:
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

    return jax.tree.map_with_path(of_tensor, params)


def of_unknown(params: Any, obs: Any) -> NoReturn:
    """In place of `score` for a user's own network, whose activations nobody can find."""
    del params, obs
    raise ValueError(
        "the optimizer asks for the dormancy of units, which is known of the built-in networks only, not of your own"
    )
