"""What the learned rules refuse as optax transformations: rates, parameters, gradients, weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2

THETA = celo2.init_theta("celo2", jax.random.key(0))


def test_gradient_of_another_shape():
    tx = celo2.scale_by_celo2(THETA)
    params = {"w": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match=r"gradient of shape \(4, 1\) .* parameter of shape \(2, 2\)"):
        tx.update({"w": jnp.ones((4, 1))}, tx.init(params), params)


@pytest.mark.parametrize("rate", [np.float32(-1), jnp.float32(-1), "1e-3", float("nan")])
def test_learning_rates_that_are_no_rates(rate):
    with pytest.raises(ValueError, match="learning_rate must be a"):
        celo2.celo2(rate, THETA)


def test_missing_params():
    tx = celo2.scale_by_celo2(THETA)
    with pytest.raises(ValueError, match=r"update\(grads, state, params\)"):
        tx.update({"w": jnp.ones((2, 2))}, tx.init({"w": jnp.ones((2, 2))}))


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64])
def test_parameters_that_are_not_real_floats(dtype):
    with pytest.raises(ValueError, match=r"\['w'\] has dtype"):
        celo2.scale_by_celo2(THETA).init({"w": jnp.ones((2, 2), dtype)})


def test_theta_with_a_missing_array():
    arrays = {k: v for k, v in THETA["ff_mod_stack"]["~"].items() if k != "w1"}
    with pytest.raises(ValueError, match=r"missing arrays \['ff_mod_stack/~/w1'\]"):
        celo2.scale_by_celo2({"ff_mod_stack": {"~": arrays}})


def test_theta_of_the_wrong_shape():
    arrays = THETA["ff_mod_stack"]["~"] | {"w1": jnp.ones((8, 7))}
    with pytest.raises(ValueError, match=r"w1' must have shape \(8, 8\), got \(8, 7\)"):
        celo2.scale_by_celo2({"ff_mod_stack": {"~": arrays}})


def test_theta_with_nan():
    arrays = THETA["ff_mod_stack"]["~"] | {"b1": jnp.full(8, jnp.nan)}
    with pytest.raises(ValueError, match="NaN or infinite"):
        celo2.scale_by_celo2({"ff_mod_stack": {"~": arrays}})


@pytest.mark.parametrize("make", [celo2.celo2, celo2.celo2_base])
def test_negative_learning_rate(make):
    with pytest.raises(ValueError, match=r"learning_rate must be .* got -0.1"):
        make(-0.1, THETA)
