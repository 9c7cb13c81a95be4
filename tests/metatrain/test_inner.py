"""Inner training: data, tasks, re-parametrisation, rules, truncated unrolls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metatrain import augmentation, datasets, rules, tasks
from metatrain.unroll import LOSS_CAP, TruncatedUnroll

TASK = tasks.mlp_classifier()


def batch(seed=0):
    data = datasets.load("digits")
    rows = np.random.default_rng(seed).integers(0, len(data.labels), 64)
    return tasks.Batch(jnp.asarray(data.images[rows], jnp.float32) / 255, jnp.asarray(data.labels[rows]))


@pytest.mark.parametrize(("name", "size"), [("digits", 1797), ("mnist", 5000), ("fashion", 60000)])
def test_splits_share_no_image_and_cover_the_set(name, size):
    parts = [datasets.load(name, split) for split in datasets.SPLITS]
    assert sum(len(p.labels) for p in parts) == size
    assert len(parts[0].labels) == round(0.8 * size)
    for part in parts:
        assert part.images.shape == (len(part.labels), 64)
        assert set(np.unique(part.labels)) == set(range(10))


def test_binary_variant_has_two_values():
    assert set(np.unique(datasets.load("digits_binary").images)) == {0, 255}


def test_unknown_data_set_lists_what_there_is():
    with pytest.raises(ValueError, match=r"unknown data set 'cifar'; there are .*fashion"):
        datasets.load("cifar")


def test_task_has_the_published_size_and_starts_near_chance():
    params = TASK.init(jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(params)) == 2410
    assert abs(float(TASK.loss(params, batch())) - np.log(10)) < 0.5


@pytest.mark.parametrize("level", augmentation.LEVELS)
def test_reparametrisation_leaves_the_function_and_scales_the_gradient(level):
    params = TASK.init(jax.random.key(0))
    scale = augmentation.draw_scale(jax.random.key(1), params, level, (1e-3, 1e3))
    scaled = augmentation.to_rule(params, scale)
    loss, grads = jax.value_and_grad(lambda p: augmentation.loss(TASK, p, scale, batch()))(scaled)
    expected_loss, expected_grads = jax.value_and_grad(TASK.loss)(params, batch())
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


@pytest.mark.parametrize(("name", "orthogonalize"), [("celo2_wrapper_dual", True), ("celo2_wrapper_base", False)])
def test_inner_optimizers_follow_the_published_wrappers(golden, name, orthogonalize):
    data = golden(name)
    tx = rules.inner_celo2(
        data.theta(), orthogonalize, step_mult=float(data["step_mult"]), weight_decay=float(data["weight_decay"])
    )
    expected, grads = data.group("params"), data.group("grads")
    params = {k: jnp.asarray(v[0]) for k, v in expected.items()}
    state = tx.init(params)
    for t in range(len(grads["mlp/~/linear_0/b"])):
        updates, state = tx.update({k: jnp.asarray(v[t]) for k, v in grads.items()}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for k in expected:
            np.testing.assert_allclose(params[k], expected[k][t + 1], atol=1e-6, rtol=1e-4, err_msg=f"{k} at {t}")


def unroll(**changes):
    settings = {"min_length": 100, "max_length": 200, "augmentation_level": "none", "scale_range": (1.0, 1.0)}
    return TruncatedUnroll(TASK, rules.get("celo2_base"), **(settings | changes))


def test_lengths_are_log_uniform():
    lengths = jax.vmap(unroll(max_length=2000).draw_length)(jax.random.split(jax.random.key(0), 4000))
    assert 100 <= int(lengths.min()) < 105
    assert 1950 < int(lengths.max()) <= 2000
    np.testing.assert_allclose(np.log(lengths).mean(), (np.log(100) + np.log(2000)) / 2, atol=0.05)


def test_an_unroll_ends_at_its_length_and_starts_anew_on_the_next_step():
    problem = unroll()
    theta = problem.rule.init_theta(jax.random.key(0))
    state = problem.init(jax.random.key(1), theta)._replace(inner_step=jnp.int32(97), length=jnp.int32(100))
    restart = problem.draw_restart(jax.random.key(2))
    step = jax.jit(problem.step)
    records = []
    for _ in range(5):
        state, record = step(theta, state, restart, batch())
        records.append(record)
    assert [bool(r.is_done) for r in records] == [False, False, True, False, False]
    assert [bool(r.mask) for r in records] == [True, True, True, False, True]
    assert float(records[3].loss) == 0.0
    assert int(state.inner_step) == 1
    assert int(state.length) == int(restart.next_length)
    np.testing.assert_allclose(records[4].loss, TASK.loss(restart.params, batch()), rtol=1e-5)


def test_recorded_losses_are_capped_and_nan_counts_as_the_cap():
    problem = unroll()
    theta = problem.rule.init_theta(jax.random.key(0))
    state = problem.init(jax.random.key(1), theta)._replace(inner_step=jnp.int32(0))
    restart = problem.draw_restart(jax.random.key(2))
    for factor in (1e6, jnp.nan):
        broken = state._replace(params=jax.tree.map(lambda p, f=factor: p * f, state.params))
        _, record = problem.step(theta, broken, restart, batch())
        np.testing.assert_allclose(record.loss, LOSS_CAP)
