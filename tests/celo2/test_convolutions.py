"""Convolution kernels of the Nature network, read per tap and as one matrix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2
from celo2.rule_celo2 import newton_schulz

THETA = celo2.init_theta("celo2", jax.random.key(0))
# The second of the network's convolutions is to a rule what the third is.
SHAPES = {"conv_0": (8, 8, 4, 32), "conv_2": (3, 3, 64, 64), "dense": (96, 32)}


def nature(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


def step(params, grads, **options):
    tx = celo2.scale_by_celo2(THETA, **options)
    return jax.jit(lambda g, p: tx.update(g, tx.init(p), p)[0])(grads, params)


@functools.cache
def steps_of_nature(numbers):
    return step(nature(0), nature(1), weight_dimension_numbers=numbers)


@pytest.mark.parametrize(
    ("numbers", "axes"), [pytest.param(None, (-2, -1), marks=pytest.mark.slow), (celo2.fan_in_fan_out, (0, 1, 2, 3))]
)
def test_steps_have_unit_rms_per_matrix(numbers, axes):
    for name, value in steps_of_nature(numbers).items():
        rms = jnp.sqrt(jnp.mean(value**2, axis=axes if value.ndim > 2 else (0, 1)))
        np.testing.assert_allclose(rms, 1.0, atol=1e-4, err_msg=name)


def test_fan_in_by_fan_out_is_what_the_flattened_kernel_gets():
    params, grads = nature(0), nature(1)
    flat = [jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), tree) for tree in (params, grads)]
    expected = step(*flat)
    for name, value in steps_of_nature(celo2.fan_in_fan_out).items():
        np.testing.assert_allclose(value.reshape(expected[name].shape), expected[name], atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_two_readings_differ_for_kernels_only():
    published, matrices = steps_of_nature(None), steps_of_nature(celo2.fan_in_fan_out)
    np.testing.assert_array_equal(published["dense"], matrices["dense"])
    assert not np.allclose(published["conv_2"], matrices["conv_2"], atol=0.1)


@pytest.mark.parametrize(("rows", "columns"), [(32, 64), (40, 500), (64, 33), (500, 64)])
@pytest.mark.parametrize("spectrum", ["flat", "steep", "rank_one"])
def test_gram_newton_schulz_gives_the_same_singular_values(rows, columns, spectrum):
    """Against the polynomial applied to the singular values in float64; wide and tall matrices use the Gram form."""
    rng = np.random.default_rng(0)
    n = min(rows, columns)
    left, right = (np.linalg.qr(rng.standard_normal((size, n)))[0] for size in (rows, columns))
    values = {"flat": np.ones(n), "steep": np.logspace(0, -5, n), "rank_one": np.eye(n)[0]}[spectrum]
    x = (left * values) @ right.T
    expected = values / np.linalg.norm(values)
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    result = np.asarray(newton_schulz(jnp.asarray(x, jnp.float32)), np.float64)
    # On processors without AVX-512 one entry in 2,048 is off by 2.1e-4.
    np.testing.assert_allclose(result, (left * expected) @ right.T, atol=4e-4)
