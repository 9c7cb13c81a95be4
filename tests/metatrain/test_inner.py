"""Inner training: data, tasks, re-parametrisation, rules, truncated unrolls."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import by_default
from metatrain import augmentation, datasets, rules, tasks
from metatrain.config import Inner
from metatrain.unroll import TruncatedUnroll

TASK = tasks.make("relu")


def batch(seed=0):
    data = datasets.load("digits")
    rows = np.random.default_rng(seed).integers(0, len(data.labels), 64)
    return tasks.Batch(jnp.asarray(data.images[rows], jnp.float32) / 255, jnp.asarray(data.labels[rows]))


@pytest.mark.parametrize(("name", "size"), [("digits", 1797), ("mnist", 5000), ("fashion", 60000)])
def test_splits_share_no_image_and_cover_the_set(name, size):
    parts = [datasets.load(name, split) for split in datasets.SPLITS]
    assert sum(len(p.labels) for p in parts) == size
    assert len(parts[0].labels) == round(0.8 * size)
    seen = [{image.tobytes() for image in part.images} for part in parts]
    assert len(set.union(*seen)) == sum(map(len, seen))
    for part in parts:
        assert part.images.shape == (len(part.labels), 64)
        assert set(np.unique(part.labels)) == set(range(10))


def test_binary_variant_has_two_values():
    assert set(np.unique(datasets.load("digits_binary").images)) == {0, 255}


def test_variants_change_images_or_labels_and_combine():
    plain, changed = datasets.load("mnist"), datasets.load("mnist_inverted_noisy")
    np.testing.assert_array_equal(plain.images, 255 - changed.images)
    # Half the labels are redrawn, a tenth of those hit the old one again.
    assert 0.42 < np.mean(plain.labels != changed.labels) < 0.48


@pytest.mark.parametrize("name", ["cifar", "fashion_loud", "noisy"])
def test_unknown_data_set_lists_what_there_is(name):
    with pytest.raises(ValueError, match=rf"unknown data set '{name}'; there are .*fashion"):
        datasets.load(name)


def test_task_has_the_published_size_and_starts_near_chance():
    params = TASK.init(jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(params)) == 2410
    assert abs(float(TASK.loss(params, None, batch())) - np.log(10)) < 0.5


@pytest.mark.parametrize("network", tasks.NETWORKS)
def test_every_network_starts_well_below_its_cap_and_learns(network):
    task = tasks.make(network)
    params = task.init(jax.random.key(0))
    start = task.loss(params, None, batch())
    assert abs(float(start) * tasks.CAP / task.loss_cap - 1) < 0.3
    grad = jax.jit(jax.grad(task.loss))
    for _ in range(100):
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, grad(params, None, batch()))
    assert float(task.loss(params, None, batch())) < 0.9 * float(start)


@jax.jit
def of_rule(params, scale):
    """The loss and its gradient at parameters as the rule has them."""
    return jax.value_and_grad(lambda p: TASK.loss(augmentation.to_task(p, scale), None, batch()))(params)


@pytest.mark.parametrize("level", augmentation.LEVELS)
def test_reparametrisation_leaves_the_function_and_scales_the_gradient(level):
    params = TASK.init(jax.random.key(0))
    scale = augmentation.draw_scale(jax.random.key(1), params, level, (1e-3, 1e3))
    scaled = augmentation.to_rule(params, scale)
    loss, grads = of_rule(scaled, scale)
    expected_loss, expected_grads = jax.jit(jax.value_and_grad(TASK.loss))(params, None, batch())
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    jax.tree.map(
        lambda g, e, s: np.testing.assert_allclose(g / s, e, rtol=1e-4, atol=1e-6), grads, expected_grads, scale
    )


def test_global_scales_are_shared_by_all_tensors_and_log_uniform():
    params = TASK.init(jax.random.key(0))
    draw = jax.vmap(lambda k: augmentation.draw_scale(k, params, "global", (1e-3, 1e3)))
    scales = jax.tree.leaves(draw(jax.random.split(jax.random.key(2), 2000)))
    for other in scales[1:]:
        np.testing.assert_array_equal(other, scales[0])
    logs = np.log10(scales[0])
    assert -3 <= logs.min() <= -2.9
    assert 2.9 <= logs.max() <= 3
    assert abs(logs.mean()) < 0.15


def scales(level, num=2000):
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
    draw = jax.vmap(lambda k: augmentation.draw_scale(k, params, level, (1e-3, 1e3)))
    found = draw(jax.random.split(jax.random.key(3), num))
    return {name: np.log10(np.asarray(x).reshape(num, -1)) for name, x in found.items()}


def test_tensor_scales_differ_between_tensors_and_parameter_scales_within():
    tensor, parameter = scales("tensor"), scales("parameter")
    assert tensor["w"].shape[1] == 1
    assert abs(np.corrcoef(tensor["w"][:, 0], tensor["b"][:, 0])[0, 1]) < 0.1
    assert parameter["w"].shape[1] == 6
    assert abs(np.corrcoef(parameter["w"].T)[0, 1]) < 0.1


def test_mixed_draws_levels_and_ranges_anew_for_every_unroll():
    mixed = scales("mixed", 7000)
    w, b = mixed["w"], mixed["b"]
    none = np.all(w == 0, axis=1) & np.all(b == 0, axis=1)
    within = np.all(w == w[:, :1], axis=1) & np.all(b == b[:, :1], axis=1)
    shared = within & (w[:, 0] == b[:, 0])
    shares = [np.mean(none), np.mean(shared & ~none), np.mean(within & ~shared), np.mean(~within)]
    np.testing.assert_allclose(shares, [2 / 7, 2 / 7, 2 / 7, 1 / 7], atol=0.03)
    # A third of the draws reaches beyond two thirds of the range only if the range is drawn too: 1/3 * 1/3 of them.
    beyond = np.mean(np.abs(w[shared & ~none, 0]) > 2)
    assert abs(beyond - 1 / 9) < 0.03


@pytest.mark.parametrize(("name", "orthogonalize"), [("celo2_wrapper_dual", True), ("celo2_wrapper_base", False)])
def test_inner_optimizers_follow_the_published_wrappers(golden, name, orthogonalize):
    data = golden(name)
    tx = rules.inner_celo2(
        data.theta(),
        orthogonalize,
        Inner(step_mult=float(data["step_mult"]), weight_decay=float(data["weight_decay"])),
    )
    expected, grads = data.group("params"), data.group("grads")
    params = {k: jnp.asarray(v[0]) for k, v in expected.items()}
    state = tx.init(params)
    for t in range(len(grads["mlp/~/linear_0/b"])):
        updates, state = tx.update({k: jnp.asarray(v[t]) for k, v in grads.items()}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for k in expected:
            np.testing.assert_allclose(params[k], expected[k][t + 1], atol=1e-6, rtol=1e-4, err_msg=f"{k} at {t}")


def unroll(rule="celo2_base", **changes):
    settings = {"min_length": 100, "max_length": 200, "augmentation_level": "none", "scale_range": (1.0, 1.0)}
    return TruncatedUnroll(TASK, rules.get(rule), **(settings | changes))


@functools.cache
def stepping(rule):
    """An unroll with that rule, and its step, compiled once for all tests."""
    problem = unroll(rule)
    return problem, jax.jit(problem.step)


def test_lengths_are_log_uniform():
    lengths = jax.vmap(unroll(max_length=2000).draw_length)(jax.random.split(jax.random.key(0), 4000))
    assert 100 <= int(lengths.min()) < 105
    assert 1950 < int(lengths.max()) <= 2000
    np.testing.assert_allclose(np.log(lengths).mean(), (np.log(100) + np.log(2000)) / 2, atol=0.05)


def test_an_unroll_ends_at_its_length_and_starts_anew_on_the_next_step():
    problem, step = stepping("celo2_base")
    theta = problem.rule.init_theta(jax.random.key(0))
    state = problem.init(jax.random.key(1), theta)._replace(inner_step=jnp.int32(97), length=jnp.int32(100))
    restart = problem.draw_restart(jax.random.key(2))
    records = []
    for _ in range(5):
        state, record = step(theta, state, restart, batch())
        records.append(record)
    assert [bool(r.is_done) for r in records] == [False, False, True, False, False]
    assert [bool(r.mask) for r in records] == [True, True, True, False, True]
    assert float(records[3].loss) == 0.0
    assert int(state.inner_step) == 1
    assert int(state.length) == int(restart.next_length)
    np.testing.assert_allclose(records[4].loss, TASK.loss(restart.params, None, batch()), rtol=1e-5)


def test_recorded_losses_are_capped_and_nan_counts_as_the_cap():
    problem, step = stepping("celo2_base")
    theta = problem.rule.init_theta(jax.random.key(0))
    state = problem.init(jax.random.key(1), theta)._replace(inner_step=jnp.int32(0))
    restart = problem.draw_restart(jax.random.key(2))
    for factor in (1e6, jnp.nan):
        broken = state._replace(params=jax.tree.map(lambda p, f=factor: p * f, state.params))
        _, record = step(theta, broken, restart, batch())
        np.testing.assert_allclose(record.loss, 1.5 * np.log(10), rtol=1e-6)


# Celo has Celo2's statistics and Celo-Adam's schedule.
@pytest.mark.parametrize("name", by_default(list(rules.RULES), "celo2", "celo_adam", "velo"))
def test_every_rule_trains_under_traced_lengths_and_splits_its_theta(name):
    problem, step = stepping(name)
    theta = problem.rule.init_theta(jax.random.key(0))
    trained, frozen = problem.rule.split(theta)
    assert trained
    assert {**frozen, **trained}.keys() == theta.keys()
    state = problem.init(jax.random.key(1), theta)._replace(inner_step=jnp.int32(0))
    restart = problem.draw_restart(jax.random.key(2))
    after, record = step(theta, state, restart, batch())
    assert np.isfinite(record.loss)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True))


def test_celo_trains_its_update_first_and_its_schedule_second():
    theta = rules.get("celo").init_theta(jax.random.key(0))
    first, second = (rules.get(name).split(theta)[0].keys() for name in ("celo_phase1", "celo"))
    assert first == {"ff_mod_stack"}
    assert second == {"lstm_init_state", "rnn_params"}
