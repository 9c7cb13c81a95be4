"""The learned baselines: published numbers, a plain second implementation, their weights, bad input."""

import functools
import importlib.util
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2 import checks
from celo2.baselines import depth, thetas
from helpers import by_default


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plain, celo_reference = beside("reference_baselines"), beside("reference")
NUM_STEPS = 30
SMALL = {
    "nnadam": {"lstm": 4},
    "adafac_mlp": {"hidden": 3},
    "rnn_mlp": {"lstm": 4, "hidden": 5},
    "velo": {"lstm": 4, "hidden": 3, "bank": 2},
    "open": {"gru": 4, "hidden": 5},
}
REFERENCES = {
    "nnadam": plain.NNAdam,
    "adafac_mlp": plain.AdafacMLP,
    "rnn_mlp": plain.RnnMLP,
    "velo": functools.partial(plain.VeLO, num_steps=NUM_STEPS, reference=celo_reference),
    "open": lambda theta, params: plain.Open(theta, params, functools.partial(told_in_numbers, params)),
}
rules = pytest.mark.parametrize("rule", SMALL)
PARAMS = {"a": jnp.ones((4, 3)), "b": jnp.arange(3.0), "c": jnp.float32(2)}


def make(rule, theta, **options):
    if rule == "velo":
        return celo2.velo(NUM_STEPS, theta, **options)
    return getattr(celo2, "open_rule" if rule == "open" else rule)(theta, **options)


def told(params, loss=1.0, step=0):
    """What an agent says at an update; all but OPEN leave most of it."""
    names = sorted(params)
    dormancy = {k: jnp.linspace(0.2, 2.0 + i, p.shape[-1] if p.ndim else 1) for i, (k, p) in enumerate(params.items())}
    return {
        "value": loss,
        "progress": 0.1 + step / 10,
        "epoch": 0.7 - step / 10,
        "is_actor": {name: i % 2 == 0 for i, name in enumerate(names)},
        "key": jax.random.fold_in(jax.random.key(5), step),
        "dormancy": lambda: {k: x if params[k].ndim else x[0] for k, x in dormancy.items()},
    }


def told_in_numbers(params, step):
    """The same for the plain implementation, with the noise drawn."""
    found = told(params, step=step)
    acts = found["is_actor"]
    drawn = jax.random.normal(found["key"], (sum(params[name].size for name in sorted(params) if acts[name]),))
    noise, place = {}, 0
    for name in sorted(params):
        if acts[name]:
            noise[name] = np.asarray(drawn[place : place + params[name].size]).reshape(params[name].shape)
            place += params[name].size
    layer = dict(zip(sorted(params), depth.shares(params, [acts[name] for name in sorted(params)]), strict=True))
    return found | {"acts": acts, "dormancy": found["dormancy"](), "noise": noise, "layer": layer}


def weights(rule, seed=0):
    """Small random weights without zeros, which would hide what they multiply."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: celo2.init_theta(rule, jax.random.key(0), **SMALL[rule]))

    def drawn(x):
        return jnp.asarray((0.05 if x.ndim < 2 else x.shape[-2] ** -0.5) * rng.standard_normal(x.shape, np.float32))

    theta = jax.tree.map(drawn, shapes)
    if rule == "velo":  # so that steps are far above rounding
        theta["ff_mod_stack"] = jax.tree.map(lambda x: 10 * x, theta["ff_mod_stack"])
    return theta


@functools.cache
def compiled(rule):
    """One program for all weights: (theta, params, grads [T, ...], losses [T]) -> updates [T, ...]."""

    @jax.jit
    def run(theta, params, grads, losses):
        tx = make(rule, theta)

        def step(carry, xs):
            params, state = carry
            updates, state = tx.update(xs[0], state, params, **told(params, *xs[1:]))
            return (optax.apply_updates(params, updates), state), (updates, params)

        return jax.lax.scan(step, (params, tx.init(params)), (grads, losses, jnp.arange(len(losses))))[1]

    return run


@pytest.mark.parametrize("rule", [rule for rule in SMALL if rule != "open"])
def test_parameters_follow_the_published_trajectory(golden, rule):
    data = golden(f"baseline_{'velo_s' if rule == 'velo' else rule}")
    theta = published(data.group("theta"), rule)
    params, grads = data.group("params"), data.group("grads")
    start = {k: jnp.asarray(x[0]) for k, x in params.items()}
    tx = celo2.velo(int(data["num_steps"]), theta) if rule == "velo" else make(rule, theta)
    state, update = tx.init(start), jax.jit(tx.update)
    for t, loss in enumerate(data["losses"]):
        updates, state = update({k: g[t] for k, g in grads.items()}, state, start, value=loss)
        for k in start:
            moved = params[k][t + 1] - params[k][t]
            # The parameters themselves are rounded at a few millionths of the steps' size.
            bound = 1e-3 * np.abs(moved).max() + 2e-7 * np.abs(params[k][t]).max()
            np.testing.assert_allclose(updates[k], moved, atol=bound, rtol=0, err_msg=f"{k} step {t}")
        start = optax.apply_updates(start, updates)


def published(arrays, rule):
    """The tree of names that are joined with slashes; names of layers have slashes of their own."""
    named = {"/".join(path): path for path in celo2.baselines.thetas.BASELINES[rule].shapes()}
    theta = {}
    for name, value in arrays.items():
        *folders, last = named[name]
        node = theta
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = value
    return theta


@rules
def test_a_plain_implementation_gives_the_same_steps(rule):
    # Of a convolution's long axes the last is the longest, of a tall matrix the first.
    shapes = {"bias": (7,), "conv": (3, 2, 2, 4), "one": (1,), "scalar": (), "tall": (6, 3)}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        theta = weights(rule, seed)
        params = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
        grads = {k: (10 ** rng.uniform(-2, 1) * rng.normal(size=(5, *s))).astype(np.float32) for k, s in shapes.items()}
        grads["bias"][1] = 0
        grads["conv"][2, 0, 0, 0, 0] = 1e5
        grads["tall"][3, 0, 0] = np.nan
        losses = (3 - np.cumsum(rng.uniform(-0.1, 0.3, 5))).astype(np.float32)
        updates, visited = compiled(rule)(theta, params, grads, losses)
        reference = REFERENCES[rule](theta, params)
        for t, loss in enumerate(losses):
            at = {k: np.asarray(x[t], np.float64) for k, x in visited.items()}
            steps = reference(at, {k: np.asarray(g[t], np.float64) for k, g in grads.items()}, float(loss))
            for k, step in steps.items():
                bound = 2e-3 * np.abs(step).max() + 1e-9
                np.testing.assert_allclose(updates[k][t], -step, atol=bound, rtol=0, err_msg=f"{seed} {k} step {t}")


@rules
def test_random_weights_are_those_of_the_published_sizes_and_come_back_from_a_file(rule, tmp_path):
    theta = celo2.init_theta(rule, jax.random.key(0))
    count = sum(np.size(x) for x in jax.tree.leaves(theta))
    assert count == {"nnadam": 21_896, "adafac_mlp": 197, "rnn_mlp": 35_799, "velo": 46_337, "open": 1_211}[rule]
    assert checks.rule_of(theta) == rule
    celo2.save_checkpoint(tmp_path / "mine.theta", theta)
    jax.tree.map(np.testing.assert_array_equal, celo2.load_theta(tmp_path / "mine.theta"), theta)
    with pytest.raises(ValueError, match="unknown size of"):
        celo2.init_theta(rule, jax.random.key(0), width=3)
    with pytest.raises(ValueError, match="must be a whole number of at least 1, got 0"):
        celo2.init_theta(rule, jax.random.key(0), **dict.fromkeys(SMALL[rule], 0))


def test_the_large_velo_loads_from_a_file_as_it_is_published(tmp_path):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: celo2.init_theta("velo", jax.random.key(0), lstm=512, bank=256))
    theta = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)
    file = {"params": theta, "gen_id": "", "step": 0}
    (tmp_path / "velo.theta").write_bytes(flax.serialization.to_bytes(file))
    jax.tree.map(np.testing.assert_array_equal, celo2.load_theta(tmp_path / "velo.theta"), theta)


@rules
def test_weights_of_another_rule_or_shape_are_refused(rule):
    with pytest.raises(ValueError, match=f"this is a theta of 'celo2', but '{rule}' is needed"):
        make(rule, "celo2")
    theta = weights(rule)
    path = sorted(thetas.BASELINES[rule].shapes())[0]
    node = theta
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = jnp.ones((2, 2, 2, 2))
    with pytest.raises(ValueError, match="must have shape"):
        make(rule, theta)
    del node[path[-1]]
    with pytest.raises(ValueError, match=f"theta of '{rule}': missing arrays"):
        make(rule, theta)


@rules
def test_bad_input_is_refused(rule):
    tx = make(rule, weights(rule))
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match="reads the parameters"):
        tx.update(PARAMS, state, value=1.0)
    with pytest.raises(ValueError, match=r"a gradient of shape \(2,\) was given for a parameter of shape \(4, 3\)"):
        tx.update(PARAMS | {"a": jnp.ones(2)}, state, PARAMS, value=1.0)
    with pytest.raises(ValueError, match="learned rules need real floating-point"):
        tx.init({"n": jnp.arange(3)})
    if rule in ("rnn_mlp", "velo"):
        with pytest.raises(ValueError, match="reads the training loss"):
            tx.update(PARAMS, state, PARAMS)


@pytest.mark.parametrize("rule", by_default(list(SMALL), "nnadam", "velo", "open"))
def test_steps_have_the_multiple_and_the_dtype_asked_for(rule):
    theta, params = weights(rule), {"a": PARAMS["a"]}

    @jax.jit
    def steps(params, half):
        def step(params, multiplier):
            tx = make(rule, theta, multiplier=multiplier)
            return tx.update(params, tx.init(params), params, **told(params))

        return *(step(params, x) for x in (1.0, 3.0, lambda count: 3.0 - count)), step(half, 1.0)

    (one, state), (three, _), (later, _), (rounded, _) = steps(params, {"a": PARAMS["a"].astype(jnp.bfloat16)})
    np.testing.assert_allclose(3 * one["a"], three["a"], rtol=1e-5)
    np.testing.assert_allclose(three["a"], later["a"], rtol=1e-6)
    np.testing.assert_allclose(rounded["a"].astype(jnp.float32), one["a"], rtol=1e-2)
    assert np.all(one["a"] != 0)
    assert rounded["a"].dtype == jnp.bfloat16
    assert state.count == 1


@pytest.mark.parametrize("rule", by_default(list(SMALL), "nnadam", "open"))
def test_they_work_where_optax_masks_and_where_nothing_is_left(rule):
    ours, alone = make(rule, weights(rule)), {"a": PARAMS["a"]}
    tx = optax.partition({"ours": ours, "sgd": optax.sgd(1.0)}, {"a": "ours", "b": "sgd", "c": "sgd"})
    nothing = optax.masked(ours, dict.fromkeys(PARAMS, False))
    found = ((tx, PARAMS), (nothing, PARAMS), (ours, alone))
    updates, same, own = jax.jit(lambda: [x.update(p, x.init(p), p, **told(p))[0] for x, p in found])()
    np.testing.assert_array_equal(updates["b"], -PARAMS["b"])
    np.testing.assert_allclose(updates["a"], own["a"], rtol=1e-5)
    assert np.all(own["a"] != 0)
    jax.tree.map(np.testing.assert_array_equal, same, PARAMS)


def test_nnadam_starts_as_adam_without_bias_correction():
    theta = celo2.init_theta("nnadam", jax.random.key(0), lstm=2)
    params, grads = {"w": jnp.ones(3)}, {"w": jnp.asarray([1.0, -2.0, 3.0])}
    tx = celo2.nnadam(theta)
    state, m, v = tx.init(params), 0.0, 0.0
    for _ in range(3):
        updates, state = tx.update(grads, state, params)
        m, v = 0.9 * m + 0.1 * grads["w"], 0.999 * v + 0.001 * grads["w"] ** 2
        np.testing.assert_allclose(updates["w"], -1e-4 * m / jnp.sqrt(v + 1e-10), rtol=1e-4)


@pytest.mark.parametrize("rule", ["rnn_mlp", "velo"])
def test_a_loss_that_is_not_finite_is_left_out(rule):
    theta = weights(rule)
    params, grads = jax.tree.map(jnp.ones_like, PARAMS), jax.tree.map(lambda x: jnp.ones((4, *x.shape)), PARAMS)
    updates, _ = compiled(rule)(theta, params, grads, jnp.asarray([1.0, jnp.nan, jnp.inf, 1.0]))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(updates))
