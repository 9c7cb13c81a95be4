"""The learned rules as optax citizens."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from helpers import by_default

THETA = celo2.init_theta("celo2", jax.random.key(0))
CELO_THETA = celo2.init_theta("celo", jax.random.key(0))
CELO_ADAM_THETA = celo2.init_theta("celo_adam", jax.random.key(0))


def scaled(tx, rate):
    """Celo has no learning rate: its update is scaled, so that every rule can be asked for a rate."""
    return optax.chain(tx, optax.scale_by_schedule(rate) if callable(rate) else optax.scale(rate))


MAKERS = {
    "scale_by_celo2": lambda rate: optax.chain(celo2.scale_by_celo2(THETA), optax.scale_by_learning_rate(rate)),
    "celo2": lambda rate: celo2.celo2(rate, THETA, weight_decay=0.01),
    "celo2_dimensions": lambda rate: celo2.celo2(rate, THETA, weight_dimension_numbers=celo2.fan_in_fan_out),
    "celo2_base": lambda rate: celo2.celo2_base(rate, THETA, weight_decay=0.01),
    "celo": lambda rate: scaled(celo2.celo(10, CELO_THETA), rate),
    "celo_phase1": lambda rate: scaled(celo2.celo(10, CELO_THETA, use_scheduler=False), rate),
    "celo_adam": lambda rate: scaled(celo2.celo_adam(10, CELO_ADAM_THETA), rate),
}
maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
# What takes long to compile is tried with these: celo2_base is celo2 without Newton-Schulz, scale_by_celo2 is what both are
# made of, celo_phase1 is celo without its scheduler.
WHOLE = {name: MAKERS[name] for name in ("celo2", "celo2_dimensions", "celo", "celo_adam")}
# Where the reading of a tensor as a matrix does not matter.
RULES = {name: MAKERS[name] for name in ("celo2", "celo", "celo_adam")}
# Celo is Celo2's statistics under Celo-Adam's schedule: where both are tried, what is left is seldom new.
most = pytest.mark.parametrize("make", by_default(RULES, "celo2", "celo_adam"))
# What costs more and says nothing of losses.
one = pytest.mark.parametrize("make", by_default(RULES, "celo2"))


def tree(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(1), 4)
    shapes = {"scalar": (), "bias": (5,), "kernel": (6, 5), "conv": (3, 3, 2, 4)}
    return {k: jax.random.normal(key, s).astype(dtype) for key, (k, s) in zip(keys, shapes.items(), strict=True)}


def small_tree():
    """Where ranks do not matter: every tensor takes a second to compile."""
    return {name: value for name, value in tree().items() if name in ("bias", "kernel")}


def affordable_tree(make):
    """Every rank for the rule that compiles quickly."""
    return tree() if make is RULES["celo_adam"] else small_tree()


def run(tx, params, steps=3):
    tx = optax.with_extra_args_support(tx)

    def step(carry, t):
        params, state = carry
        grads = jax.tree.map(lambda p: jnp.sin(3 * p + t.astype(p.dtype)), params)
        loss = sum(jnp.sum(jnp.cos(p)) for p in jax.tree.leaves(params)).astype(jnp.float32)
        updates, state = tx.update(grads, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), loss

    (params, state), _ = jax.lax.scan(step, (params, tx.init(params)), jnp.arange(steps))
    return params, state


def one_step(tx, params):
    tx = optax.with_extra_args_support(tx)
    return jax.jit(lambda p: tx.update(p, tx.init(p), p, value=1.0)[0])(params)


def assert_close(a, b, tolerance=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance, rtol=tolerance), a, b)


@pytest.mark.slow
@one
def test_jit_gives_the_same_numbers(make):
    tx = optax.with_extra_args_support(make(0.01))
    params = {"kernel": small_tree()["kernel"]}
    assert_close(one_step(tx, params), tx.update(params, tx.init(params), params, value=1.0)[0])


@most
def test_vmap_over_learning_rates_and_seeds_equals_single_runs(make):
    def train(rate, seed):
        return run(make(rate), {"kernel": small_tree()["kernel"] + 0.1 * seed})[0]

    rates, seeds = jnp.asarray([0.001, 0.01, 0.1]), jnp.arange(3.0)
    by_rate = jax.vmap(train, (0, None))
    together = jax.jit(jax.vmap(by_rate, (None, 0)))(rates, seeds)
    single = jax.jit(train)
    for seed in range(3):
        for i, rate in enumerate(rates):
            assert_close(jax.tree.map(lambda x, at=(seed, i): x[at], together), single(rate, seeds[seed]), 1e-4)


@pytest.mark.parametrize("make", by_default(WHOLE, "celo2", "celo_adam"))
def test_second_call_does_not_recompile(make, caplog):
    tx = optax.with_extra_args_support(make(0.01))
    params = small_tree()
    step = jax.jit(lambda g, s, p, loss: tx.update(g, s, p, value=loss))
    _, state = step(params, tx.init(params), params, 1.0)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        step(params, state, params, 0.5)
    assert not [r for r in caplog.records if "Compiling" in r.getMessage()]


@maker
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_updates_have_the_parameters_dtype_and_statistics_stay_float32(make, dtype):
    params = tree(dtype)
    tx = optax.with_extra_args_support(make(0.01))
    state = tx.init(params)
    updates, new_state = jax.eval_shape(lambda: tx.update(params, state, params, value=1.0))
    assert jax.tree.map(lambda x: x.dtype, updates) == jax.tree.map(lambda x: x.dtype, params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new_state) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


@pytest.mark.parametrize("make", by_default(WHOLE, "celo2", "celo_adam"))
def test_bfloat16_parameters_get_nearly_the_same_update(make):
    low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), small_tree())
    exact = one_step(make(0.01), jax.tree.map(lambda p: p.astype(jnp.float32), low))
    assert_close(jax.tree.map(lambda u: u.astype(jnp.float32), one_step(make(0.01), low)), exact, 0.02)


@pytest.mark.mesh
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((64, 128), 0),
        pytest.param((1024, 512), 1, marks=pytest.mark.slow),
        pytest.param((64, 128), 1, marks=pytest.mark.slow),
        pytest.param((1024, 512), 0, marks=pytest.mark.slow),
    ],
)
def test_statistics_of_sharded_parameters_stay_where_they_are(axis, shape):
    """Only orthogonalisation needs whole matrices; all else exchanges sums."""
    mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = [None, None]
    spec[axis] = "model"
    kernel = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    bias = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    params = {
        "kernel": jax.device_put(jnp.ones(shape), kernel),
        "bias": jax.device_put(jnp.ones(shape[1]), bias),
    }
    for tx in (
        celo2.scale_by_celo2(THETA, orthogonalize=False, odd=True, size="adam"),
        celo2.scale_by_celo(10, celo2.init_theta("celo", jax.random.key(0))),
    ):
        compiled = jax.jit(lambda g, s, p, tx=tx: tx.update(g, s, p, value=1.0)).lower(params, tx.init(params), params)
        assert "all-gather" not in compiled.compile().as_text()


@pytest.mark.mesh
@pytest.mark.parametrize("make", by_default(WHOLE, "celo2", "celo_adam"))
def test_sharded_parameters_give_the_same_update_and_keep_their_shardings(make):
    mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    params = {"kernel": jax.random.normal(jax.random.key(0), (16, 8)), "bias": jnp.arange(8.0)}
    tx = optax.with_extra_args_support(make(0.01))
    expected = one_step(tx, params)
    sharded = jax.device_put(params, sharding)
    state = jax.jit(tx.init)(sharded)
    updates, new_state = jax.jit(tx.update)(sharded, state, sharded, value=1.0)
    assert_close(updates, expected)
    assert jax.tree.map(lambda u: u.sharding.is_equivalent_to(sharding, u.ndim), updates) == {
        "kernel": True,
        "bias": True,
    }
    again, _ = jax.jit(tx.update)(updates, new_state, sharded, value=1.0)
    assert jax.tree.map(lambda u: u.sharding.is_equivalent_to(sharding, u.ndim), again) == {
        "kernel": True,
        "bias": True,
    }


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE.keys())
def test_unknown_extra_arguments_are_ignored(make):
    tx = optax.with_extra_args_support(make(0.01))
    params = small_tree()
    with_others = jax.make_jaxpr(lambda p: tx.update(p, tx.init(p), p, value=1.0, loss=None, anything=3))(params)
    assert str(with_others) == str(jax.make_jaxpr(lambda p: tx.update(p, tx.init(p), p, value=1.0))(params))


@most
def test_a_schedule_is_followed(make):
    constant, _ = jax.jit(lambda p: run(make(0.02), p, 2))(small_tree())
    scheduled, _ = jax.jit(lambda p: run(make(optax.constant_schedule(0.02)), p, 2))(small_tree())
    assert_close(scheduled, constant)


@most
def test_zero_gradients_and_zero_parameters_stay_finite(make):
    tx = optax.with_extra_args_support(make(0.01))

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params, value=0.0)
        return (optax.apply_updates(params, updates), state), None

    params = jax.tree.map(jnp.zeros_like, affordable_tree(make))
    (params, state), _ = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=200))(params)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((params, state)))


@most
def test_one_bad_batch_does_not_stay_in_the_statistics(make):
    """NaN and infinite gradients and losses: the state stays finite, and so do this update and the next."""
    tx = optax.with_extra_args_support(make(0.01))
    params = affordable_tree(make)
    bad = jax.tree.map(lambda p: jnp.where(jnp.arange(p.size).reshape(p.shape) % 2, jnp.nan, jnp.inf), params)

    update = jax.jit(tx.update)

    def steps(params, loss):
        _, state = update(params, tx.init(params), params, value=1.0)
        poisoned, state = update(bad, state, params, value=loss)
        updates, state = update(params, state, params, value=1.0)
        return poisoned, updates, state

    for loss in (jnp.nan, jnp.inf, -jnp.inf):
        result = steps(params, loss)
        if make in (MAKERS["celo2"], MAKERS["celo2_dimensions"]):
            # optax's Adam branch has no such guard: only the learned rule's part is ours to keep clean.
            result = [u["kernel"] for u in result[:2]]
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(result))


WRAPPERS = ("inject_hyperparams", "multi_steps", "apply_if_finite", "masked", "partition")


@functools.cache
def unwrapped(make):
    return one_step(make(0.01), small_tree())


# Celo-Adam needs the loss that a wrapper passes on; what else a wrapper changes is the same for every rule.
@pytest.mark.parametrize(
    "case",
    by_default(
        {f"{wrapper}-{rule}": (RULES[rule], wrapper) for wrapper in WRAPPERS for rule in RULES},
        *("inject_hyperparams-celo_adam", "multi_steps-celo_adam", "apply_if_finite-celo_adam"),
        *("masked-celo_adam", "partition-celo_adam", "partition-celo2"),
    ),
)
def test_optax_wrappers_do_not_change_the_update(case):
    make, wrapper = case
    params = small_tree()
    tx = make(0.01)
    if wrapper == "inject_hyperparams":
        around = optax.inject_hyperparams(lambda learning_rate: make(learning_rate))(learning_rate=0.01)
    elif wrapper == "multi_steps":
        several = optax.MultiSteps(tx, 1)  # its gradient_transformation() would drop value=
        around = optax.GradientTransformationExtraArgs(several.init, several.update)
    elif wrapper == "apply_if_finite":
        around = optax.apply_if_finite(tx, 3)
    elif wrapper == "partition":
        around = optax.partition({"a": tx, "b": optax.sgd(1.0)}, jax.tree.map(lambda _: "a", params))
    else:
        around = optax.masked(tx, jax.tree.map(lambda _: True, params))
    assert_close(one_step(around, params), unwrapped(make))


def test_inject_hyperparams_takes_celo2_itself():
    params = small_tree()
    tx = optax.inject_hyperparams(celo2.celo2)(learning_rate=0.01)
    assert_close(one_step(tx, params), one_step(celo2.celo2(0.01), params))


@pytest.mark.slow
def test_every_matrix_step_has_unit_rms():
    params = {"kernel": jax.random.normal(jax.random.key(0), (7, 9)), "conv": jnp.ones((3, 3, 4, 8))}
    grads = jax.tree.map(lambda p: jax.random.normal(jax.random.key(1), p.shape) * 1e-4, params)
    for orthogonalize in (True, False):
        tx = celo2.scale_by_celo2(THETA, orthogonalize=orthogonalize)
        steps = jax.jit(lambda g, tx=tx: tx.update(g, tx.init(params), params)[0])(grads)
        for step in jax.tree.leaves(steps):
            np.testing.assert_allclose(jnp.sqrt(jnp.mean(step**2, axis=(-2, -1))), 1.0, atol=1e-4)


def test_adam_branch_runs_at_the_multiple_of_the_rate():
    params = {"bias": jnp.zeros(4)}
    grads = {"bias": jnp.asarray([1.0, -2.0, 3.0, -4.0])}
    tx = celo2.celo2(0.01, THETA, mult_1d=7.0)
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["bias"], -0.07 * np.sign(grads["bias"]), rtol=1e-4)


def test_the_multiple_of_the_rate_and_the_decay_may_be_schedules():
    params, grads = {"bias": jnp.ones(4)}, {"bias": jnp.asarray([1.0, -2.0, 3.0, -4.0])}
    tx = celo2.celo2(0.01, THETA, mult_1d=lambda t: 7.0 + t, weight_decay=lambda t: 0.5 * t)
    state = tx.init(params)
    first, state = tx.update(grads, state, params)
    second, _ = tx.update(grads, state, params)
    np.testing.assert_allclose(first["bias"], -0.07 * np.sign(grads["bias"]), rtol=1e-4)
    np.testing.assert_allclose(second["bias"], -0.08 * (np.sign(grads["bias"]) + 0.5), rtol=1e-4)


MASKS = {"tree": {"kernel": True, "bias": False}, "function": lambda p: jax.tree.map(lambda x: x.ndim > 1, p)}


@pytest.mark.parametrize(
    ("make", "mask"),
    [
        pytest.param(celo2.celo2_base, "tree"),
        pytest.param(celo2.celo2_base, "function", marks=pytest.mark.slow),
        pytest.param(celo2.celo2, "tree", marks=pytest.mark.slow),
        pytest.param(celo2.celo2, "function", marks=pytest.mark.slow),
    ],
)
def test_a_mask_says_what_decays(make, mask):
    params = {"kernel": tree()["kernel"], "bias": jnp.ones(5)}
    rest = one_step(make(0.01, THETA), params)
    everything = one_step(make(0.01, THETA, weight_decay=0.1), params)
    masked = one_step(make(0.01, THETA, weight_decay=0.1, weight_decay_mask=MASKS[mask]), params)
    assert_close(masked["bias"], rest["bias"])
    assert_close(masked["kernel"], everything["kernel"])
    assert_close(everything["kernel"], rest["kernel"] - 0.01 * 0.1 * params["kernel"])


@pytest.mark.filterwarnings("ignore:no output layer was recognised")
@pytest.mark.parametrize("make", [celo2.celo2_base, pytest.param(celo2.celo2, marks=pytest.mark.slow)])
def test_a_matrix_without_any_gradient_stays_where_it_is(make):
    params = {"used": jnp.ones((4, 3)), "unused": jnp.ones((4, 3)), "unused_conv": jnp.ones((2, 2, 3, 4))}
    grads = jax.tree.map(jnp.zeros_like, params) | {"used": jax.random.normal(jax.random.key(0), (4, 3))}
    tx = make(0.01, THETA)
    updates = jax.jit(lambda g: tx.update(g, tx.init(params), params)[0])(grads)
    assert not np.any(updates["unused"])
    assert not np.any(updates["unused_conv"])
    assert np.all(np.abs(updates["used"]) > 0)
    published = one_step(celo2.scale_by_celo2(THETA, orthogonalize=make is celo2.celo2), {"unused": jnp.zeros((4, 3))})
    assert np.any(published["unused"])


def test_celo_too_leaves_a_tensor_without_any_gradient_where_it_is():
    params = {"used": jnp.ones((4, 3)), "unused": jnp.ones((4, 3)), "unused_bias": jnp.ones(3)}
    grads = jax.tree.map(jnp.zeros_like, params) | {"used": jax.random.normal(jax.random.key(0), (4, 3))}

    def steps(tx):
        return jax.jit(lambda g: tx.update(g, tx.init(params), params, value=1.0)[0])(grads)

    still, published = (steps(celo2.celo(10, "celo_v1", still_without_gradient=still)) for still in (True, False))
    for name in ("unused", "unused_bias"):
        assert not np.any(still[name])
        assert np.any(published[name])
    np.testing.assert_array_equal(still["used"], published["used"])


@pytest.mark.slow
def test_derivatives_pass_through_an_update():
    tx = celo2.scale_by_celo2(THETA, newton_schulz_steps=1)
    params = {"w": jax.random.normal(jax.random.key(0), (4, 8))}

    def loss(scale):
        updates, _ = tx.update(jax.tree.map(lambda p: jnp.sin(scale * p), params), tx.init(params), params)
        return jnp.sum(updates["w"] ** 3)

    both = jax.jit(jax.value_and_grad(loss))  # one program
    (above, _), (below, _), (_, gradient) = map(both, (0.701, 0.699, 0.7))
    difference = (above - below) / 0.002
    np.testing.assert_allclose(gradient, difference, rtol=0.02)
