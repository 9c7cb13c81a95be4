"""The learned rules as optax citizens."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2 import update_mlp

THETA = update_mlp.init(jax.random.key(0))
MAKERS = {
    "scale_by_celo2": lambda rate: optax.chain(celo2.scale_by_celo2(THETA), optax.scale_by_learning_rate(rate)),
    "celo2": lambda rate: celo2.celo2(rate, THETA, weight_decay=0.01),
    "celo2_base": lambda rate: celo2.celo2_base(rate, THETA, weight_decay=0.01),
}
maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def tree(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(1), 4)
    shapes = {"scalar": (), "bias": (5,), "kernel": (6, 5), "conv": (3, 3, 2, 4)}
    return {k: jax.random.normal(key, s).astype(dtype) for key, (k, s) in zip(keys, shapes.items(), strict=True)}


def run(tx, params, steps=3):
    state = tx.init(params)
    for t in range(steps):
        grads = jax.tree.map(lambda p, t=t: jnp.sin(3 * p + t), params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def assert_close(a, b, tolerance=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance, rtol=tolerance), a, b)


@maker
def test_jit_gives_the_same_numbers(make):
    tx = make(0.01)
    assert_close(jax.jit(lambda p: run(tx, p))(tree()), run(tx, tree()))


@maker
def test_vmap_over_learning_rates_equals_single_runs(make):
    rates = jnp.asarray([0.001, 0.01, 0.1])
    together = jax.vmap(lambda rate: run(make(rate), tree())[0])(rates)
    for i, rate in enumerate(rates):
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), run(make(float(rate)), tree())[0], 1e-4)


@maker
def test_second_call_does_not_recompile(make, caplog):
    tx = make(0.01)
    params = tree()
    step = jax.jit(lambda g, s, p: tx.update(g, s, p))
    _, state = step(params, tx.init(params), params)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        step(params, state, params)
    assert not [r for r in caplog.records if "Compiling" in r.getMessage()]


@maker
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_updates_have_the_parameters_dtype_and_statistics_stay_float32(make, dtype):
    params = tree(dtype)
    tx = make(0.01)
    state = tx.init(params)
    updates, new_state = tx.update(params, state, params)
    assert jax.tree.map(lambda x: x.dtype, updates) == jax.tree.map(lambda x: x.dtype, params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new_state) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


@maker
def test_sharded_parameters_give_the_same_update(make):
    mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    params = {"kernel": jax.random.normal(jax.random.key(0), (16, 8)), "bias": jnp.arange(8.0)}
    tx = make(0.01)
    expected, _ = tx.update(params, tx.init(params), params)
    sharded = jax.device_put(params, sharding)
    updates, _ = jax.jit(tx.update)(sharded, jax.jit(tx.init)(sharded), sharded)
    assert_close(updates, expected)


@maker
def test_unknown_extra_arguments_are_ignored(make):
    tx = optax.with_extra_args_support(make(0.01))
    params = tree()
    expected, _ = tx.update(params, tx.init(params), params)
    assert_close(tx.update(params, tx.init(params), params, value=1.0, loss=2.0, anything=3)[0], expected)


@maker
def test_a_schedule_is_followed(make):
    constant, _ = run(make(0.02), tree(), 2)
    scheduled, _ = run(make(optax.constant_schedule(0.02)), tree(), 2)
    assert_close(scheduled, constant)


@maker
def test_zero_gradients_and_zero_parameters_stay_finite(make):
    params = jax.tree.map(jnp.zeros_like, tree())
    tx = make(0.01)
    state = tx.init(params)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (params, state), length=200)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((params, state)))


@maker
@pytest.mark.parametrize("wrapper", ["inject_hyperparams", "multi_steps", "apply_if_finite", "masked"])
def test_optax_wrappers_do_not_change_the_update(make, wrapper):
    params = {"kernel": tree()["kernel"], "bias": tree()["bias"]}
    tx = make(0.01)
    if wrapper == "inject_hyperparams":
        around = optax.inject_hyperparams(lambda learning_rate: make(learning_rate))(learning_rate=0.01)
    elif wrapper == "multi_steps":
        around = optax.MultiSteps(tx, 1)
    elif wrapper == "apply_if_finite":
        around = optax.apply_if_finite(tx, 3)
    else:
        around = optax.masked(tx, jax.tree.map(lambda _: True, params))
    assert_close(one_step(around, params), one_step(tx, params))


def one_step(tx, params):
    return jax.jit(lambda p: tx.update(p, tx.init(p), p)[0])(params)


def test_inject_hyperparams_takes_celo2_itself():
    params = {"kernel": tree()["kernel"], "bias": tree()["bias"]}
    tx = optax.inject_hyperparams(celo2.celo2)(learning_rate=0.01)
    assert_close(one_step(tx, params), one_step(celo2.celo2(0.01), params))


def test_every_matrix_step_has_unit_rms():
    params = {"kernel": jax.random.normal(jax.random.key(0), (7, 9)), "conv": jnp.ones((3, 3, 4, 8))}
    grads = jax.tree.map(lambda p: jax.random.normal(jax.random.key(1), p.shape) * 1e-4, params)
    for orthogonalize in (True, False):
        tx = celo2.scale_by_celo2(THETA, orthogonalize=orthogonalize)
        steps, _ = tx.update(grads, tx.init(params), params)
        for step in jax.tree.leaves(steps):
            np.testing.assert_allclose(jnp.sqrt(jnp.mean(step**2, axis=(-2, -1))), 1.0, atol=1e-4)


def test_routing_sends_heads_embeddings_and_biases_to_adam():
    params = {
        name: {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
        for name in ("input", "hidden_0", "policy_head", "embed")
    }
    labels = celo2.matrix_labels(params)
    assert {name for name in params if labels[name]["kernel"] == "rule"} == {"input", "hidden_0"}
    assert all(labels[name]["bias"] == "adam" for name in params)
    assert celo2.hidden_matrix_labels(params)["input"]["kernel"] == "adam"


def test_adam_branch_runs_at_the_multiple_of_the_rate():
    params = {"bias": jnp.zeros(4)}
    grads = {"bias": jnp.asarray([1.0, -2.0, 3.0, -4.0])}
    tx = celo2.celo2(0.01, THETA, mult_1d=7.0)
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["bias"], -0.07 * np.sign(grads["bias"]), rtol=1e-4)


def test_attention_kernels_stay_with_the_rule():
    params = {"MultiHeadDotProductAttention_0": {n: {"kernel": jnp.ones((2, 2))} for n in ("query", "key", "out")}}
    params |= {"overhead": jnp.ones((2, 2)), "lm_head": jnp.ones((2, 2)), "TokenEmbed_0": jnp.ones((2, 2))}
    labels = celo2.matrix_labels(params)
    attention = jax.tree.leaves(labels["MultiHeadDotProductAttention_0"])
    assert attention == ["rule"] * 3
    assert (labels["overhead"], labels["lm_head"]) == ("rule", "adam")


class TestBadInput:
    def test_gradient_of_another_shape(self):
        tx = celo2.scale_by_celo2(THETA)
        params = {"w": jnp.ones((2, 2))}
        with pytest.raises(ValueError, match=r"gradient of shape \(4, 1\) .* parameter of shape \(2, 2\)"):
            tx.update({"w": jnp.ones((4, 1))}, tx.init(params), params)

    @pytest.mark.parametrize("rate", [np.float32(-1), jnp.float32(-1), "1e-3", float("nan")])
    def test_learning_rates_that_are_no_rates(self, rate):
        with pytest.raises(ValueError, match="learning_rate must be a"):
            celo2.celo2(rate, THETA)

    def test_missing_params(self):
        tx = celo2.scale_by_celo2(THETA)
        with pytest.raises(ValueError, match=r"update\(grads, state, params\)"):
            tx.update({"w": jnp.ones((2, 2))}, tx.init({"w": jnp.ones((2, 2))}))

    @pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64])
    def test_parameters_that_are_not_real_floats(self, dtype):
        with pytest.raises(ValueError, match=r"\['w'\] has dtype"):
            celo2.scale_by_celo2(THETA).init({"w": jnp.ones((2, 2), dtype)})

    def test_theta_with_a_missing_array(self):
        arrays = {k: v for k, v in THETA["ff_mod_stack"]["~"].items() if k != "w1"}
        with pytest.raises(ValueError, match=r"missing arrays \['ff_mod_stack/~/w1'\]"):
            celo2.scale_by_celo2({"ff_mod_stack": {"~": arrays}})

    def test_theta_of_the_wrong_shape(self):
        arrays = THETA["ff_mod_stack"]["~"] | {"w1": jnp.ones((8, 7))}
        with pytest.raises(ValueError, match=r"w1' must have shape \(8, 8\), got \(8, 7\)"):
            celo2.scale_by_celo2({"ff_mod_stack": {"~": arrays}})

    def test_theta_with_nan(self):
        arrays = THETA["ff_mod_stack"]["~"] | {"b1": jnp.full(8, jnp.nan)}
        with pytest.raises(ValueError, match="NaN or infinite"):
            celo2.scale_by_celo2({"ff_mod_stack": {"~": arrays}})

    @pytest.mark.parametrize("make", [celo2.celo2, celo2.celo2_base])
    def test_negative_learning_rate(self, make):
        with pytest.raises(ValueError, match=r"learning_rate must be .* got -0.1"):
            make(-0.1, THETA)
