"""Networks for the agents. Tensors are named by place (`input`, `hidden_k`, `..._head`), which optimizers route by."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents import config, dqn_config
from agents.convolution import Convolution
from agents.initializers import orthogonal
from agents.products import product

# Convolutions, (features, kernel size, stride) each, and what observations are multiplied by.
# MinAtar: Young and Tian, arXiv 1903.03176. Nature: Mnih et al., 2015. Small: our own, for frames of 42 x 42. The last
# two see bytes.
_FRONT = {
    "minatar": (((16, 3, 1),), 1.0),
    "nature": (((32, 8, 4), (64, 4, 2), (64, 3, 1)), 1 / 255),
    "small": (((16, 4, 2), (32, 4, 2)), 1 / 255),
}
Activation = Callable[[jax.Array], jax.Array]
ACTIVATIONS: dict[str, Activation] = {"tanh": nn.tanh, "relu": nn.relu}


def _dot_general(x: jax.Array, kernel: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
    """What flax calls: the last axis of x with the first of the kernel, as the other arguments say."""
    del args, kwargs
    return product(x, kernel)


def _dense(width: int, gain: float, name: str) -> nn.Dense:
    return nn.Dense(width, kernel_init=orthogonal(gain), dot_general=_dot_general, name=name)


class MLP(nn.Module):
    """Dense layers `input`, `hidden_1`, ... and a linear `head`; orthogonal weights, zero biases.

    hidden: widths. outputs: width of the head. head_gain: scale of its initial weights. layer_norm: before every
    activation. first: number of the first layer, where others come before.
    """

    hidden: Sequence[int]
    outputs: int
    activation: Activation
    head_gain: float
    layer_norm: bool = False
    first: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, features] -> [B, outputs]."""
        for i, width in enumerate(self.hidden, start=self.first):
            x = _dense(width, math.sqrt(2), f"hidden_{i}" if i else "input")(x)
            x = self.activation(nn.LayerNorm(name=f"norm_{i}")(x) if self.layer_norm else x)
        return _dense(self.outputs, self.head_gain, "head")(x)


class SeparateActorCritic(nn.Module):
    """An actor and a critic without shared weights, on the flattened observation.

    log_std: the actor has one free number per output besides, which is appended to its outputs.
    """

    num_outputs: int
    hidden: Sequence[int]
    activation: Activation
    log_std: bool = False

    def setup(self) -> None:
        self.actor = MLP(self.hidden, self.num_outputs, self.activation, head_gain=0.01)
        self.critic = MLP(self.hidden, 1, self.activation, head_gain=1.0)
        self.deviations = _log_std(self)

    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, *shape] -> actor outputs [B, A or 2 A], values [B]."""
        return self.policy(obs), self.value(obs)

    def policy(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> actor outputs [B, A or 2 A]."""
        return _append(self.actor(_flatten(obs)), self.deviations)

    def value(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> values [B]."""
        return self.critic(_flatten(obs))[:, 0]


class QNetwork(nn.Module):
    """Action values: convolutions, dense layers, a linear head; the arguments are those of `MLP` and below.

    convolutions, scale: as in `SharedActorCritic`.
    """

    num_actions: int
    hidden: Sequence[int]
    activation: Activation
    layer_norm: bool = False
    convolutions: Sequence[tuple[int, int, int]] = ()
    scale: float = 1.0

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> [B, A]."""
        x = jnp.asarray(obs, jnp.float32) * self.scale
        for i, sizes in enumerate(self.convolutions):
            x = Convolution(*sizes, name=f"conv_{i}" if i else "input")(x)
            x = self.activation(nn.LayerNorm(name=f"conv_norm_{i}")(x) if self.layer_norm else x)
        first = len(self.convolutions) > 0
        dense = MLP(self.hidden, self.num_actions, self.activation, 1.0, self.layer_norm, int(first), name="dense")
        return dense(_flatten(x))


class SharedActorCritic(nn.Module):
    """Convolutions, dense layers, two heads.

    convolutions: (features, kernel size, stride) each; none: the observation is flattened. scale: observations are
    multiplied by it (1 / 255 for bytes). hidden: widths of the dense layers. log_std: as in `SeparateActorCritic`.
    """

    num_outputs: int
    hidden: Sequence[int]
    activation: Activation
    log_std: bool = False
    convolutions: Sequence[tuple[int, int, int]] = ()
    scale: float = 1.0

    def setup(self) -> None:
        self.stack = [
            Convolution(*sizes, name=f"conv_{i}" if i else "input") for i, sizes in enumerate(self.convolutions)
        ]
        first = len(self.convolutions) > 0
        self.layers = [
            _dense(width, math.sqrt(2), f"hidden_{i + first}" if i + first else "input")
            for i, width in enumerate(self.hidden)
        ]
        self.policy_head = _dense(self.num_outputs, 0.01, "policy_head")
        self.value_head = _dense(1, 1.0, "value_head")
        self.deviations = _log_std(self)

    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, *shape] -> actor outputs [B, A or 2 A], values [B]."""
        return self.heads(self.features(obs))

    def features(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> what comes out of the last layer before the heads, [B, features]."""
        x = jnp.asarray(obs, jnp.float32) * self.scale
        for convolution in self.stack:
            x = self.activation(convolution(x))
        x = _flatten(x)
        for layer in self.layers:
            x = self.activation(layer(x))
        return x

    def heads(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, features] -> actor outputs [B, A or 2 A], values [B]."""
        return _append(self.policy_head(x), self.deviations), self.value_head(x)[:, 0]

    def policy(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> actor outputs [B, A or 2 A]."""
        return self(obs)[0]

    def value(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> values [B]."""
        return self(obs)[1]


ActorCritic = SeparateActorCritic | SharedActorCritic


def _log_std(module: ActorCritic) -> jax.Array | None:
    if not module.log_std:
        return None
    return module.param("log_std", nn.initializers.zeros_init(), (module.num_outputs,))


def _append(outputs: jax.Array, log_std: jax.Array | None) -> jax.Array:
    if log_std is None:
        return outputs
    return jnp.concatenate([outputs, jnp.broadcast_to(log_std, outputs.shape)], axis=-1)


def _flatten(obs: jax.Array) -> jax.Array:
    return jnp.asarray(obs, jnp.float32).reshape(obs.shape[0], -1)


def _check(network: str, known: Sequence[str], activation: str, shape: Sequence[int]) -> None:
    """Refuses unknown names, and observations that a convolutional network cannot take."""
    if network not in known:
        raise ValueError(f"unknown network {network!r}; there are {', '.join(known)}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    smallest = {"minatar": 3, "nature": 36, "small": 10}.get(network)
    if smallest is not None and (len(shape) != 3 or min(shape[:2]) < smallest):
        raise ValueError(
            f"network {network!r} needs observations [H >= {smallest}, W >= {smallest}, C], got {tuple(shape)}; "
            "use network 'mlp'"
        )


def actor_critic(
    network: str,
    observation_shape: Sequence[int],
    num_outputs: int,
    hidden: Sequence[int],
    activation: str,
    log_std: bool = False,
) -> ActorCritic:
    """The network by name.

    Raises:
      ValueError: for an unknown network or activation, or an observation that does not fit the network.
    """
    parts = shared_parts(network, observation_shape, num_outputs, hidden, activation, log_std)
    return SeparateActorCritic(*parts[:4]) if network == "mlp" else SharedActorCritic(*parts)


def shared_parts(
    network: str,
    observation_shape: Sequence[int],
    num_outputs: int,
    hidden: Sequence[int],
    activation: str,
    log_std: bool,
) -> tuple[Any, ...]:
    """The arguments of `SharedActorCritic` for the layers that a name stands for; errors as of `actor_critic`."""
    _check(network, config.NETWORKS, activation, observation_shape)
    return num_outputs, tuple(hidden), ACTIVATIONS[activation], log_std, *_FRONT.get(network, ((), 1.0))


def q_network(
    network: str,
    observation_shape: Sequence[int],
    num_actions: int,
    hidden: Sequence[int],
    activation: str,
    layer_norm: bool = False,
) -> QNetwork:
    """The network of action values by name: "mlp", "minatar" or "nature".

    Raises:
      ValueError: for an unknown network or activation, or an observation that does not fit the network.
    """
    _check(network, dqn_config.NETWORKS, activation, observation_shape)
    front = _FRONT.get(network, ((), 1.0))
    return QNetwork(num_actions, tuple(hidden), ACTIVATIONS[activation], layer_norm, *front)
