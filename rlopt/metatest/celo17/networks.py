"""Networks of the seventeen tasks, in flax; shapes and first weights as the public code of the tasks has them."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from rlopt.metatest.tasks import Patches

_PATCH = 16
# Per head, whatever the width of the transformer.
_KEY_SIZE = 32


class BatchNorm(nn.Module):
    """Normalises with the mean and variance of the batch, over all axes but the last; scale and offset are learned.

    There are no running averages: the published task normalises with the batch in training and in evaluation, so that
    they would be carried along and never read.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Any shape -> the same."""
        scale = self.param("scale", nn.initializers.ones_init(), x.shape[-1:])
        offset = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
        axes = tuple(range(x.ndim - 1))
        mean, variance = jnp.mean(x, axes), jnp.var(x, axes)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + offset


def _padded(x: jax.Array, stride: int) -> jax.Array:
    """Zeros around an image as TensorFlow puts them, so that a 3x3 kernel gives [B, H / stride, W / stride, C]."""
    around = (0, 1) if stride == 2 else (1, 1)
    return jnp.pad(x, ((0, 0), around, around, (0, 0)))


class Convolutional(nn.Module):
    """Convolutions of 32, 64 and 64 channels, the first with stride 2, each with ReLU and then a norm; mean; linear."""

    classes: int
    norm: Literal["none", "batch", "layer"] = "none"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> logits [B, classes]."""
        for i, (features, stride) in enumerate(((32, 2), (64, 1), (64, 1))):
            x = nn.relu(Patches(features, stride, name=f"conv_{i}")(_padded(x, stride)))
            if self.norm == "batch":
                x = BatchNorm(name=f"norm_{i}")(x)
            elif self.norm == "layer":
                x = nn.LayerNorm(name=f"norm_{i}")(x)
        return nn.Dense(self.classes, name="head")(x.mean(axis=(1, 2)))


class _Block(nn.Module):
    """Attention and a layer four times as wide, each after a layer norm and added up.

    heads; keys: of all heads together. causal: sees what came before. initializer: of the matrices.
    """

    heads: int
    keys: int
    causal: bool
    initializer: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        attention = nn.MultiHeadDotProductAttention(
            self.heads, qkv_features=self.keys, out_features=width, kernel_init=self.initializer, name="attention"
        )
        x = x + attention(nn.LayerNorm(name="norm_0")(x), mask=mask)
        y = nn.Dense(4 * width, kernel_init=self.initializer, name="up")(nn.LayerNorm(name="norm_1")(x))
        return x + nn.Dense(width, kernel_init=self.initializer, name="down")(nn.gelu(y))


class VisionTransformer(nn.Module):
    """16x16 patches and a class token; its last output, normalised, goes through a linear layer that starts at zero."""

    classes: int
    width: int
    layers: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> logits [B, classes]."""
        batch, height, breadth, channels = x.shape
        rows, columns = height // _PATCH, breadth // _PATCH
        x = x.reshape(batch, rows, _PATCH, columns, _PATCH, channels).swapaxes(2, 3)
        x = nn.Dense(self.width, name="patch_embed")(x.reshape(batch, rows * columns, _PATCH * _PATCH * channels))
        token = self.param("class_token", nn.initializers.zeros_init(), (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (batch, 1, self.width)), x], axis=1)
        positions = self.param("position_embed", nn.initializers.normal(0.02), x.shape[1:])
        x = x + positions
        for i in range(self.layers):
            init = nn.initializers.xavier_uniform()
            x = _Block(self.heads, self.width, causal=False, initializer=init, name=f"block_{i}")(x)
        x = nn.LayerNorm(name="norm")(x)
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros_init(), name="head")(x[:, 0])


class TransformerLM(nn.Module):
    """A decoder, [B, L] int32 -> logits [B, L, vocabulary], with keys of 32 per head and no position embedding.

    The dropout of 0.1 that the public code has in the smallest of the three is left out.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[B, L] -> [B, L, vocabulary]."""
        x = _embedding(self.vocabulary, self.width)(tokens)
        init = nn.initializers.variance_scaling(2 / self.layers, "fan_in", "truncated_normal")
        for i in range(self.layers):
            keys = self.heads * _KEY_SIZE
            x = _Block(self.heads, keys, causal=True, initializer=init, name=f"block_{i}")(x)
        return nn.Dense(self.vocabulary, name="head")(nn.LayerNorm(name="norm")(x))


class LSTMLM(nn.Module):
    """An LSTM of 256 units on embeddings of 128, [B, L] int32 -> logits [B, L, vocabulary]; its start is learned."""

    vocabulary: int
    embedding: int = 128
    units: int = 256

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[B, L] -> [B, L, vocabulary]."""
        x = _embedding(self.vocabulary, self.embedding)(tokens)
        # The four gates in one matrix; flax's own cells start the recurrent half orthogonal and have it apart.
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.embedding + self.units, 4 * self.units))
        bias = self.param("bias", nn.initializers.zeros_init(), (4 * self.units,))
        start = [self.param(f"start_{name}", nn.initializers.zeros_init(), (self.units,)) for name in ("h", "c")]
        from_input = x @ kernel[: self.embedding] + bias

        def step(carry: tuple[jax.Array, jax.Array], given: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            hidden, cell = carry
            gates = given + hidden @ kernel[self.embedding :]
            take, candidate, keep, show = jnp.split(gates, 4, axis=-1)
            # One is added to the gate that keeps, so that it starts open.
            cell = jax.nn.sigmoid(keep + 1) * cell + jax.nn.sigmoid(take) * jnp.tanh(candidate)
            hidden = jax.nn.sigmoid(show) * jnp.tanh(cell)
            return (hidden, cell), hidden

        first = tuple(jnp.broadcast_to(s, (tokens.shape[0], self.units)) for s in start)
        outputs = jax.lax.scan(step, first, from_input.swapaxes(0, 1))[1]  # type: ignore[arg-type]
        return nn.Dense(self.vocabulary, name="head")(outputs.swapaxes(0, 1))


def _embedding(vocabulary: int, width: int) -> nn.Embed:
    return nn.Embed(vocabulary, width, embedding_init=nn.initializers.truncated_normal(1.0), name="token_embed")
