"""Convolutions and products: the same function and the same gradients as JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import convolution, networks
from agents.products import product


def plain(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("convolve", [convolution.by_patches, convolution.by_blocks, convolution.by_rows])
@pytest.mark.parametrize(
    ("size", "stride"),
    [(3, 1), (4, 2), pytest.param(2, 2, marks=pytest.mark.slow), pytest.param(3, 3, marks=pytest.mark.slow)],
)
def test_every_way_equals_a_convolution_and_so_do_its_gradients(convolve, size, stride):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 5))
    np.testing.assert_allclose(convolve(x, kernel, stride), plain(x, kernel, stride), atol=1e-4)

    def gradients(f):
        return jax.grad(lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel, stride))), argnums=(0, 1))(x, kernel)

    for ours, theirs in zip(gradients(convolve), gradients(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "channels", "size", "stride"), [(10, 4, 3, 1), (20, 4, 3, 1), (20, 4, 8, 4), (9, 16, 3, 1)]
)
def test_the_layer_adds_a_bias_and_takes_small_and_large_images(side, channels, size, stride):
    layer = convolution.Convolution(features=5, kernel_size=size, stride=stride)
    x = jax.random.normal(jax.random.key(0), (2, side, side, channels))
    params = layer.init(jax.random.key(1), x)
    params["params"]["bias"] = jnp.arange(5.0)
    expected = plain(x, params["params"]["kernel"], stride) + jnp.arange(5.0)
    np.testing.assert_allclose(layer.apply(params, x), expected, atol=1e-4)


def test_vmapped_convolutions_equal_single_ones():
    x = jax.random.normal(jax.random.key(0), (3, 2, 10, 10, 4))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4, 5))
    together = jax.vmap(lambda x, kernel: convolution.by_rows(x, kernel, 1))(x, kernel)
    for i in range(3):
        np.testing.assert_allclose(together[i], plain(x[i], kernel[i], 1), atol=1e-4)


@pytest.mark.parametrize(("inputs", "outputs"), [(7, 3), (3, 7), (5, 5)])
def test_products_have_the_usual_gradients(inputs, outputs):
    x = jax.random.normal(jax.random.key(0), (6, inputs))
    kernel = jax.random.normal(jax.random.key(1), (inputs, outputs))

    def gradients(f):
        return jax.grad(lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel))), argnums=(0, 1))(x, kernel)

    for ours, theirs in zip(gradients(product), gradients(jnp.matmul), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_networks_still_train_without_float_surprises():
    network = networks.q_network("minatar", (10, 10, 4), 3, (16,), "relu")
    obs = jnp.ones((2, 10, 10, 4), bool)
    params = jax.jit(network.init)(jax.random.key(0), obs)
    grads = jax.jit(jax.grad(lambda p: jnp.sum(network.apply(p, obs))))(params)
    assert all(x.dtype == jnp.float32 and bool(jnp.any(x != 0)) for x in jax.tree.leaves(grads))
