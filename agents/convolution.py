"""Convolutions as matrix products.

XLA's CPU backend runs the gradient of a convolution inside `lax.scan` 10-17 times slower than outside it, and vmapped
over seeds slower still; a matrix product has neither trouble, and runs batched on accelerators.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import optimization_barrier

from agents.initializers import orthogonal
from agents.products import product

# Patches are gathered in pieces as long as a pixel has channels. Where that is less than this, and the image's width at
# most so many times the kernel's, multiplying whole rows by a mostly empty matrix is faster.
LONG = 16
MAX_EMPTY = 4


class Convolution(nn.Module):
    """A convolution without padding; the kernel is [k, k, in, out], of orthogonal columns times sqrt(2)."""

    features: int
    kernel_size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', features]."""
        size, channels = self.kernel_size, x.shape[-1]
        kernel = self.param("kernel", orthogonal(math.sqrt(2)), (size, size, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return _fastest(x.shape[2], channels, size, self.stride)(x, kernel, self.stride) + bias


def _fastest(width: int, channels: int, size: int, stride: int) -> Callable[[jax.Array, jax.Array, int], jax.Array]:
    if stride > 1 and size % stride == 0 and stride * channels >= LONG:
        return by_blocks
    return by_rows if channels < LONG and width <= MAX_EMPTY * size else by_patches


def _places(length: int, size: int, stride: int) -> int:
    return (length - size) // stride + 1


def _window(start: int, places: int, stride: int) -> slice:
    """What a kernel's row or column `start` meets."""
    return slice(start, start + (places - 1) * stride + 1, stride)


def by_patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """[B, H, W, C] * [k, k, C, F] -> [B, H', W', F]: patches of k k C numbers times a matrix."""
    size, _, channels, features = kernel.shape
    rows, columns = (_places(length, size, stride) for length in x.shape[1:3])
    pieces = [x[:, _window(i, rows, stride), _window(j, columns, stride)] for i in range(size) for j in range(size)]
    patches = jnp.concatenate(pieces, axis=-1).reshape(-1, size * size * channels)
    return product(patches, kernel.reshape(-1, features)).reshape(-1, rows, columns, features)


def by_blocks(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """[B, H, W, C] * [k, k, C, F] -> [B, H', W', F]: as stride 1 on blocks of stride x stride pixels.

    The stride must divide k. Patches are then gathered from a few long pieces: Nature's 8 x 8 kernel with stride 4 has
    four of 64 numbers where `by_patches` has 64 of four.
    """
    size, _, channels, features = kernel.shape
    across, (rows, columns) = size // stride, (length // stride for length in x.shape[1:3])
    whole = x[:, : rows * stride, : columns * stride]
    pixels = whole.reshape(-1, rows, stride, columns, stride, channels).swapaxes(2, 3)
    weights = kernel.reshape(across, stride, across, stride, channels, features).swapaxes(1, 2)
    depth = stride * stride * channels
    return by_patches(
        pixels.reshape(-1, rows, columns, depth), weights.reshape(across, across, depth, features), stride=1
    )


def by_rows(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """[B, H, W, C] * [k, k, C, F] -> [B, H', W', F]: k whole rows times a banded matrix [k W C, W' F].

    W / k times the multiplications of `by_patches`, but in one large product, and only long pieces are copied.
    """
    size, _, channels, features = kernel.shape
    width = x.shape[2]
    rows, columns = (_places(length, size, stride) for length in x.shape[1:3])
    # meets[j, w, p]: whether column j of the kernel in place p meets column w of the image.
    meets = jnp.arange(width)[:, None] == stride * jnp.arange(columns) + jnp.arange(size)[:, None, None]
    banded = jnp.einsum("jwp,ijcf->iwcpf", meets.astype(kernel.dtype), kernel)
    # Without the barrier, the choice of a minibatch's rows would be fused into the copying below, once per piece.
    lines = optimization_barrier(x.reshape(x.shape[0], x.shape[1], width * channels))
    stacked = jnp.concatenate([lines[:, _window(i, rows, stride)] for i in range(size)], axis=-1)
    flat = product(stacked.reshape(-1, size * width * channels), banded.reshape(-1, columns * features))
    return flat.reshape(-1, rows, columns, features)
