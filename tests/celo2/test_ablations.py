"""Variants that the papers compare with: another normalisation, schedules of another form or for every tensor."""

import importlib.util
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2 import checks, form, scheduler, tensor_features
from helpers import same_program

SPEC = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)

PARAMS = {"bias": jnp.linspace(-1.0, 1.0, 5), "kernel": jnp.linspace(-0.5, 0.7, 12).reshape(4, 3)}
LENGTH = 6
LOSSES = np.asarray([2.3, 2.1, 2.2, 1.9, 1.5, 1.6], np.float32)
CELO = celo2.init_theta("celo", jax.random.key(1))
TENSORS = celo2.init_theta("celo", jax.random.key(1), tensor_features=True)


def gradients():
    """Over time, [LENGTH, ...], soon large and soon small."""
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-2, 1, LENGTH)
    return {
        name: jnp.asarray(scale.reshape(-1, *[1] * x.ndim) * rng.normal(size=(LENGTH, *x.shape)), jnp.float32)
        for name, x in PARAMS.items()
    }


def courses(*made):
    """Steps over time of several transformations on parameters that stay, in one program."""

    def course(tx):
        def step(state, xs):
            grads, loss = xs
            updates, state = tx.update(grads, state, PARAMS, value=loss)
            return state, updates

        return jax.lax.scan(step, tx.init(PARAMS), (gradients(), jnp.asarray(LOSSES)))[1]

    return jax.tree.map(np.asarray, jax.jit(lambda: [course(tx) for tx in made])())


def test_normalisations_divide_the_same_output():
    theta = celo2.init_theta("celo2", jax.random.key(0))
    theta["ff_mod_stack"]["~"]["w2"] *= 8  # so that outputs lie on both sides of 1
    kinds = ("raw", "step", "clipped", "rolling")
    raw, step, clipped, rolling = courses(*(celo2.scale_by_celo2(theta, False, normalization=kind) for kind in kinds))
    lengths = []
    for name in PARAMS:
        mean, squares = 0.0, [np.mean(u.astype(np.float64) ** 2) for u in raw[name]]
        lengths += squares
        for t, (u, square) in enumerate(zip(raw[name], squares, strict=True)):
            mean = 0.99 * mean + 0.01 * square
            np.testing.assert_allclose(step[name][t], u / np.sqrt(square), rtol=1e-4)
            np.testing.assert_allclose(clipped[name][t], u / max(1.0, np.sqrt(square)), rtol=1e-5)
            np.testing.assert_allclose(rolling[name][t], u / np.sqrt(mean / (1 - 0.99 ** (t + 1))), rtol=1e-4)
    assert min(lengths) < 1 < max(lengths)


def test_the_rolling_normalisation_is_of_every_matrix_by_itself():
    """Of a stack of matrices too, whether or not the layout says that they are one."""
    theta = celo2.init_theta("celo2", jax.random.key(0))
    params = {"layers": jnp.ones((3, 4, 2)), "scalar": jnp.ones(())}
    tx = celo2.scale_by_celo2(theta, False, normalization="rolling", size="adam")
    state = tx.init(params)
    assert (state.output["layers"].shape, state.output["scalar"].shape) == ((3,), ())
    after = jax.eval_shape(tx.update, params, state, params)[1]
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    numbered = {"layers": celo2.fan_in_fan_out(params)["layers"], "scalar": None}
    other = celo2.scale_by_celo2(theta, False, normalization="rolling", weight_dimension_numbers=numbered)
    state = other.init(params)
    assert state.nu["layers"] is None
    after = jax.eval_shape(other.update, params, state, params)[1]
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_a_form_is_on_the_card_where_it_is_not_the_published_one(tmp_path):
    assert {"normalization", "schedule_form"}.isdisjoint(form.to_card(form.PUBLISHED))
    mine = form.PUBLISHED._replace(normalization="clipped")
    path = tmp_path / "mine.theta"
    celo2.save_checkpoint(path, celo2.init_theta("celo2", jax.random.key(0)))
    (tmp_path / "mine.json").write_text(json.dumps({"form": form.to_card(mine)}))
    assert celo2.load_weights(path).form == mine
    theta = celo2.load_theta(path)
    named, explicit, plain = (
        jax.make_jaxpr(lambda tx=tx: tx.update(PARAMS, tx.init(PARAMS), PARAMS))()
        for tx in (
            celo2.scale_by_celo2(path),
            celo2.scale_by_celo2(theta, normalization="clipped"),
            celo2.scale_by_celo2(theta),
        )
    )
    assert same_program(named, explicit)
    assert str(named) != str(plain)


@pytest.mark.parametrize("rule", ["celo", "celo_adam"])
def test_forms_of_the_schedule_are_functions_of_the_same_output(rule):
    theta = celo2.init_theta(rule, jax.random.key(1))
    theta["rnn_params"]["step_size"]["w"] *= 45  # so that 0.1 (1 + o) is cut
    make = {"celo": celo2.scale_by_celo, "celo_adam": celo2.scale_by_celo_adam}[rule]
    exp, linear, clipped = courses(*(make(LENGTH, theta, schedule_form=kind) for kind in form.SCHEDULE_FORMS))
    schedule = reference.Schedule(theta, LENGTH)
    outputs = np.log([schedule(float(loss)) / 0.1 for loss in LOSSES])
    assert min(outputs) < -1 or max(outputs) > 9
    for name in PARAMS:
        for t, o in enumerate(outputs):
            base = exp[name][t] / (0.1 * np.exp(o))
            bound = 1e-3 * np.max(np.abs(base))
            np.testing.assert_allclose(linear[name][t], 0.1 * (1 + o) * base, rtol=2e-2, atol=bound)
            np.testing.assert_allclose(clipped[name][t], np.clip(0.1 * (1 + o), 0, 1) * base, rtol=2e-2, atol=bound)


def test_every_form_begins_at_a_tenth_and_only_the_linear_one_goes_below_zero():
    for kind in form.SCHEDULE_FORMS:
        np.testing.assert_allclose(scheduler.multiplier(jnp.float32(0), kind), 0.1, rtol=1e-6)
    found = [float(scheduler.multiplier(jnp.float32(o), kind)) for kind in ("linear", "clipped") for o in (-3, 2, 20)]
    np.testing.assert_allclose(found, [-0.2, 0.3, 2.1, 0, 0.3, 1], rtol=1e-6)


def test_a_schedule_that_reads_tensors_has_a_multiplier_for_each():
    theta = jax.tree.map(lambda x: x, TENSORS)
    theta["rnn_params"]["step_size"]["w"] *= 10
    tx = celo2.scale_by_celo(LENGTH, theta)
    phase_1 = celo2.scale_by_celo(LENGTH, theta, use_scheduler=False)
    found, whole = courses(tx, phase_1)
    assert tx.init(PARAMS).schedule.hidden.shape == (2, 64)
    # The features are those of the statistics before the update, as VeLO's are, which have tests of their own.
    state, own = phase_1.init(PARAMS), []
    update = jax.jit(phase_1.update)
    for t in range(LENGTH):
        own.append(np.asarray(tensor_features.of_tree(PARAMS, state.m, state.v)))
        _, state = update(jax.tree.map(lambda x, t=t: x[t], gradients()), state, PARAMS)
    schedule = reference.Schedule(theta, LENGTH)
    etas = np.asarray([schedule(float(loss), tensors) for loss, tensors in zip(LOSSES, own, strict=True)])
    assert np.max(np.abs(etas[:, 0] / etas[:, 1] - 1)) > 0.05
    for i, name in enumerate(sorted(PARAMS)):
        for t in range(LENGTH):
            np.testing.assert_allclose(found[name][t], etas[t, i] * whole[name][t], rtol=2e-3, atol=1e-9)


def test_without_weights_for_them_tensor_features_change_nothing():
    zeros = {name: {"w": jnp.zeros_like(TENSORS["rnn_params"][name]["w"])} for name in scheduler.TENSOR_LAYERS}
    extended = {**CELO, "rnn_params": {**CELO["rnn_params"], **zeros}}
    plain, same = courses(celo2.scale_by_celo(LENGTH, CELO), celo2.scale_by_celo(LENGTH, extended))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9), plain, same)
    drawn = {name: x for name, x in TENSORS["rnn_params"].items() if name not in scheduler.TENSOR_LAYERS}
    jax.tree.map(np.testing.assert_array_equal, {**TENSORS, "rnn_params": drawn}, CELO)


def test_weights_with_tensor_features_go_through_files_and_through_partitions(tmp_path):
    path = tmp_path / "mine.theta"
    celo2.save_checkpoint(path, TENSORS)
    assert checks.rule_of(celo2.load_theta(path)) == "celo"
    # Of a tree whose tensors are all masked out nothing moves.
    tx = celo2.celo(LENGTH, path)
    state = tx.init({"masked": optax.MaskedNode()})
    assert state.schedule.hidden.shape == (0, 64)
    updates, _ = tx.update({"masked": optax.MaskedNode()}, state, {"masked": optax.MaskedNode()}, value=1.0)
    assert not jax.tree.leaves(updates)


def half(theta):
    """Without one of the two arrays."""
    layers = {name: x for name, x in theta["rnn_params"].items() if name != scheduler.TENSOR_LAYERS[1]}
    return {**theta, "rnn_params": layers}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: celo2.scale_by_celo(9, half(TENSORS)), "missing arrays ['rnn_params/tensor_2/w']"),
        (
            lambda: celo2.celo_adam(9, {name: TENSORS[name] for name in ("rnn_params", "lstm_init_state")}),
            "unexpected arrays ['rnn_params/rnn_to_controls/b'",
        ),
        (
            lambda: celo2.init_theta("celo_adam", jax.random.key(0), tensor_features=True),
            "tensor_features is for celo, not for celo_adam",
        ),
        (lambda: celo2.scale_by_celo(9, CELO, schedule_form="cosine"), "unknown schedule_form 'cosine'; there are "),
        (lambda: celo2.scale_by_celo2(normalization="batch"), "unknown normalization 'batch'; there are "),
        (
            lambda: celo2.scale_by_celo(9, celo2.Weights(CELO, form.PUBLISHED._replace(normalization="raw"))),
            "normalization must be step, got 'raw'",
        ),
        (
            lambda: celo2.celo2(
                0.1, celo2.Weights(celo2.load_theta("celo2"), form.PUBLISHED._replace(schedule_form="linear"))
            ),
            "celo2 has no schedule, so its weights have no schedule_form, got 'linear'",
        ),
        (
            lambda: celo2.celo(9, celo2.Weights(CELO, card={"rule": "celo_phase1"}, name="first.theta")),
            "the schedule of first.theta is random: phase 1 trains the update rule only",
        ),
    ],
)
def test_what_an_optimizer_cannot_apply_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_the_update_rule_of_phase_1_is_used_without_a_schedule():
    weights = celo2.Weights(CELO, card={"rule": "celo_phase1"})
    tx = celo2.celo(9, weights, use_scheduler=False)
    assert tx.init(PARAMS).schedule is None
