"""Supervised tasks that no rule is meta-trained on: other networks, other depths and widths, other data.

Images are those that meta-training leaves out (the split "outer_valid"); test losses are those on the images that
meta-validation uses ("inner_valid"), on text that goes on where the trained one ends, and on fresh inputs.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents.convolution import by_patches
from celo2.names import check_known
from metatrain import datasets
from rlopt.metatest import text
from rlopt.metatest.task import Sample, Samplers, Task, of_network

# To be raised with every change of a task or of an optimizer in `optimizers`: results of two versions do not mix.
VERSION = 2
SPLIT, TEST_SPLIT = "outer_valid", "inner_valid"
CONTEXT = 32
# Characters of the text.
TRAINED, TESTED = 60_000, 10_000


class Dense(nn.Module):
    """Layers of the given widths; norm: layer norm before each activation; residual: adds equal-sized layers up."""

    widths: Sequence[int]
    outputs: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    norm: bool = False
    residual: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, inputs] -> [B, outputs]."""
        for i, width in enumerate(self.widths):
            y = nn.Dense(width, name=f"dense_{i}")(x)
            y = self.activation(nn.LayerNorm(name=f"norm_{i}")(y) if self.norm else y)
            x = x + y if self.residual and x.shape[-1] == width else y
        return nn.Dense(self.outputs, name="head")(x)


class Patches(nn.Module):
    """A 3x3 convolution, [B, H, W, C] -> [B, H', W', features]."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """No padding."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return by_patches(x, kernel, self.stride) + bias


class _Convolution(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(Patches(16, 1, name="conv_0")(x.reshape(-1, 8, 8, 1)))
        x = nn.relu(Patches(32, 1, name="conv_1")(x))
        return nn.Dense(10, name="head")(x.mean(axis=(1, 2)))


class _Transformer(nn.Module):
    vocabulary: int
    width: int = 32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.param("position_embed", nn.initializers.normal(0.02), (CONTEXT, self.width))
        x = nn.Embed(self.vocabulary, self.width, name="token_embed")(tokens) + positions
        mask = nn.make_causal_mask(tokens)
        attention = nn.MultiHeadDotProductAttention(num_heads=2, name="attention")
        x = x + attention(nn.LayerNorm(name="norm_0")(x), mask=mask)
        y = nn.gelu(nn.Dense(64, name="up")(nn.LayerNorm(name="norm_1")(x)))
        x = x + nn.Dense(self.width, name="down")(y)
        return nn.Dense(self.vocabulary, name="head")(nn.LayerNorm(name="norm_2")(x))


class _LSTM(nn.Module):
    vocabulary: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = nn.Embed(self.vocabulary, 16, name="token_embed")(tokens)
        x = nn.RNN(nn.OptimizedLSTMCell(32, recurrent_kernel_init=nn.initializers.lecun_normal()), name="lstm")(x)
        return nn.Dense(self.vocabulary, name="head")(x)


def _images(name: str) -> Samplers:
    return Samplers(_images_of(name, SPLIT), _images_of(name, TEST_SPLIT))


def _images_of(name: str, split: str, batch_size: int = 64) -> Sample:
    data = datasets.load(name, split)

    def sample(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = jax.random.randint(key, (batch_size,), 0, len(data.labels))
        return jnp.asarray(data.images)[rows].astype(jnp.float32) / 255, jnp.asarray(data.labels)[rows]

    return sample


def _with_noisy_labels(samplers: Samplers, share: float) -> Samplers:
    """Redraws this share of the labels in every batch.

    A network may know a small set by heart. Its loss would go to zero, and a ratio of two such losses says which rate
    of a coarse grid came closer, little more; fresh noise is a floor that all share.
    """

    def noisy(sample: Sample, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        images, labels = sample(key)
        which, what = jax.random.split(jax.random.fold_in(key, 1))
        redrawn = jax.random.uniform(which, labels.shape) < share
        return images, jnp.where(redrawn, jax.random.randint(what, labels.shape, 0, datasets.NUM_CLASSES), labels)

    return Samplers(*(partial(noisy, sample) for sample in samplers))


def _reconstruction(logits: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, images))


def _teacher() -> Samplers:
    """Inputs of 16 numbers; targets from a random network of tanh units, of about unit variance, plus noise of 0.1."""
    first, second = jax.random.split(jax.random.key(0))
    hidden, out = jax.random.normal(first, (16, 32)) / 4 * 2, jax.random.normal(second, (32, 1)) / 32**0.5 * 1.5

    def sample(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = jax.random.normal(key, (64, 16))
        noise = 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (64, 1))
        return x, jnp.tanh(x @ hidden) @ out + noise

    return Samplers(sample, sample)  # no batch comes twice


def _text() -> tuple[Samplers, int]:
    tokens, vocabulary = text.generate(TRAINED + TESTED)
    return Samplers(_windows(tokens[:TRAINED]), _windows(tokens[TRAINED:])), vocabulary


def _windows(tokens: np.ndarray, batch_size: int = 16) -> Sample:
    def sample(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        starts = jax.random.randint(key, (batch_size, 1), 0, len(tokens) - CONTEXT)
        window = jnp.asarray(tokens)[starts + jnp.arange(CONTEXT + 1)]
        return window[:, :-1], window[:, 1:]

    return sample


def _same_image(samplers: Samplers) -> Samplers:
    def pair(sample: Sample, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        images, _ = sample(key)
        return images, images

    return Samplers(*(partial(pair, sample) for sample in samplers))


def _squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(outputs - targets))


def _transformer() -> Task:
    samplers, vocabulary = _text()
    return of_network("transformer", "one block of width 32 on generated text", _Transformer(vocabulary), samplers)


def _lstm() -> Task:
    samplers, vocabulary = _text()
    return of_network("lstm", "32 units on generated text", _LSTM(vocabulary), samplers)


_TASKS: dict[str, Callable[[], Task]] = {
    "wide": lambda: of_network("wide", "64-128-10, ReLU, Fashion-MNIST", Dense((128,), 10), _images("fashion")),
    "deep": lambda: of_network(
        "deep", "64-48-48-48-10, tanh, 500 inverted digits of MNIST, a fifth of each batch's labels redrawn",
        Dense((48, 48, 48), 10, nn.tanh), _with_noisy_labels(_images("mnist_inverted"), 0.2),
    ),
    "small_set": lambda: of_network(
        "small_set", "64-64-10, GELU, 180 digits, a fifth of each batch's labels redrawn",
        Dense((64,), 10, nn.gelu), _with_noisy_labels(_images("digits"), 0.2),
    ),
    "layer_norm": lambda: of_network(
        "layer_norm", "64-64-64-10, layer norm, ReLU, noisy Fashion-MNIST",
        Dense((64, 64), 10, norm=True), _images("fashion_noisy"),
    ),
    "residual": lambda: of_network(
        "residual", "four residual layers of 64 with layer norm, binary Fashion-MNIST",
        Dense((64,) * 4, 10, nn.gelu, norm=True, residual=True), _images("fashion_binary"),
    ),
    "convolution": lambda: of_network(
        "convolution", "two 3x3 convolutions and a mean, Fashion-MNIST", _Convolution(), _images("fashion")
    ),
    "autoencoder": lambda: of_network(
        "autoencoder", "64-48-12-48-64, tanh, Fashion-MNIST",
        Dense((48, 12, 48), 64, nn.tanh), _same_image(_images("fashion")), _reconstruction,
    ),
    "teacher": lambda: of_network(
        "teacher", "16-64-64-1, tanh, squared error to a random network", Dense((64, 64), 1, nn.tanh), _teacher(),
        _squared_error,
    ),
    "transformer": _transformer,
    "lstm": _lstm,
}  # fmt: skip
NAMES = tuple(_TASKS)


def make(name: str) -> Task:
    """A task by name.

    Raises:
      ValueError: for an unknown name; the message lists what there is.
    """
    check_known("task", name, NAMES)
    return _TASKS[name]()
