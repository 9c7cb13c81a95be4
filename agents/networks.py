"""Networks for the agents. Tensors are named by place (`input`, `hidden_k`, `..._head`), which optimizers route by."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.initializers import orthogonal

Activation = Callable[[jax.Array], jax.Array]
ACTIVATIONS: dict[str, Activation] = {"tanh": nn.tanh, "relu": nn.relu}


def _dense(width: int, gain: float, name: str) -> nn.Dense:
    return nn.Dense(width, kernel_init=orthogonal(gain), name=name)


class MLP(nn.Module):
    """Dense layers `input`, `hidden_1`, ... and a linear `head`; orthogonal weights, zero biases.

    hidden: widths. outputs: width of the head. head_gain: scale of its initial weights.
    """

    hidden: Sequence[int]
    outputs: int
    activation: Activation
    head_gain: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, features] -> [B, outputs]."""
        for i, width in enumerate(self.hidden):
            x = self.activation(_dense(width, math.sqrt(2), f"hidden_{i}" if i else "input")(x))
        return _dense(self.outputs, self.head_gain, "head")(x)


class SeparateActorCritic(nn.Module):
    """An actor and a critic without shared weights, on the flattened observation."""

    num_actions: int
    hidden: Sequence[int]
    activation: Activation

    def setup(self) -> None:
        self.actor = MLP(self.hidden, self.num_actions, self.activation, head_gain=0.01)
        self.critic = MLP(self.hidden, 1, self.activation, head_gain=1.0)

    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, *shape] -> logits [B, A], values [B]."""
        return self.policy(obs), self.value(obs)

    def policy(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> logits [B, A]."""
        return self.actor(_flatten(obs))

    def value(self, obs: jax.Array) -> jax.Array:
        """[B, *shape] -> values [B]."""
        return self.critic(_flatten(obs))[:, 0]


class PatchConv(nn.Module):
    """A convolution without padding, as strided patches times a matrix.

    The function and the kernel [k, k, in, out] are those of a convolution. XLA's CPU backend runs the gradient
    of a convolution inside `lax.scan` 10-17 times slower than outside it, and vmapped over seeds slower still;
    a matrix product has neither trouble.
    """

    features: int
    kernel_size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', features]."""
        size, channels = self.kernel_size, x.shape[-1]
        kernel = self.param("kernel", orthogonal(math.sqrt(2)), (size, size, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        rows = (x.shape[-3] - size) // self.stride + 1
        columns = (x.shape[-2] - size) // self.stride + 1

        def shifted(i: int, j: int) -> jax.Array:
            last_row, last_column = i + (rows - 1) * self.stride + 1, j + (columns - 1) * self.stride + 1
            return x[..., i : last_row : self.stride, j : last_column : self.stride, :]

        patches = jnp.concatenate([shifted(i, j) for i in range(size) for j in range(size)], axis=-1)
        return patches @ kernel.reshape(-1, self.features) + bias


class MinAtarActorCritic(nn.Module):
    """The MinAtar network: 3x3 convolution of 16 features, a dense layer, two heads.

    Reference: Young and Tian, "MinAtar", arXiv 1903.03176.
    """

    num_actions: int
    hidden: Sequence[int]
    activation: Activation

    def setup(self) -> None:
        self.input = PatchConv(features=16, kernel_size=3)
        self.layers = [_dense(width, math.sqrt(2), f"hidden_{i + 1}") for i, width in enumerate(self.hidden)]
        self.policy_head = _dense(self.num_actions, 0.01, "policy_head")
        self.value_head = _dense(1, 1.0, "value_head")

    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, H, W, C] -> logits [B, A], values [B]."""
        x = _flatten(self.activation(self.input(jnp.asarray(obs, jnp.float32))))
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.policy_head(x), self.value_head(x)[:, 0]

    def policy(self, obs: jax.Array) -> jax.Array:
        """[B, H, W, C] -> logits [B, A]."""
        return self(obs)[0]

    def value(self, obs: jax.Array) -> jax.Array:
        """[B, H, W, C] -> values [B]."""
        return self(obs)[1]


def _flatten(obs: jax.Array) -> jax.Array:
    return jnp.asarray(obs, jnp.float32).reshape(obs.shape[0], -1)


NETWORKS: dict[str, type[SeparateActorCritic] | type[MinAtarActorCritic]] = {
    "mlp": SeparateActorCritic,
    "minatar": MinAtarActorCritic,
}


def actor_critic(
    network: str, observation_shape: Sequence[int], num_actions: int, hidden: Sequence[int], activation: str
) -> SeparateActorCritic | MinAtarActorCritic:
    """The network by name.

    Raises:
      ValueError: for an unknown network or activation, or an observation that does not fit the network.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; there are {', '.join(NETWORKS)}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    shape = tuple(observation_shape)
    if network == "minatar" and (len(shape) != 3 or min(shape[:2]) < 3):
        raise ValueError(f"network 'minatar' needs observations [H >= 3, W >= 3, C], got {shape}; use network 'mlp'")
    return NETWORKS[network](num_actions, tuple(hidden), ACTIVATIONS[activation])
