"""The head over an optimizer's steps: what it reads, and that nothing changes without it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2.step_head import FEATURES

PARAMS = {
    "actor": {"input": {"kernel": jnp.full((4, 3), 2.0), "bias": jnp.zeros(3)}, "head": {"kernel": jnp.ones((3, 2))}},
    "critic": {"hidden_1": {"kernel": jnp.ones((3, 3))}},
}
IS_ACTOR = {**jax.tree.map(lambda _: True, PARAMS), "critic": {"hidden_1": {"kernel": False}}}
STEPS = jax.tree.map(lambda x: jnp.full(x.shape, 0.5), PARAMS)


def factors(weights, num_steps=100, state=None, params=PARAMS, steps=STEPS, **extra):
    tx = celo2.scale_by_step_head(jnp.asarray(weights), num_steps)
    state = tx.init(PARAMS) if state is None else state
    scaled, state = tx.update(steps, state, params, **extra)
    return jax.tree.map(lambda new, old: float((new / old).reshape(-1)[0]), scaled, steps), state


def only(name, weight=1.0):
    return np.where(np.asarray(FEATURES) == name, weight, 0.0)


def test_without_weights_an_optimizer_is_what_it_is():
    plain = optax.chain(optax.scale_by_adam(), optax.scale(-1e-2))
    headed = optax.chain(
        optax.scale_by_adam(), celo2.scale_by_step_head(jnp.zeros(len(FEATURES)), 10), optax.scale(-1e-2)
    )
    ours, theirs = headed.init(PARAMS), plain.init(PARAMS)
    for _ in range(3):
        one, ours = headed.update(STEPS, ours, PARAMS)
        other, theirs = plain.update(STEPS, theirs, PARAMS)
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    ("name", "critic", "input_", "head", "bias"),
    [
        ("constant", 1, 1, 1, 1),
        ("critic", 1, 0, 0, 0),
        ("input", 0, 1, 0, 0),
        ("head", 0, 0, 1, 0),
        ("one_dimensional", 0, 0, 0, 1),
    ],
)
def test_what_a_tensor_is(name, critic, input_, head, bias):
    found, _ = factors(only(name), is_actor=IS_ACTOR)
    expected = {
        "actor": {"input": {"kernel": input_, "bias": bias}, "head": {"kernel": head}},
        "critic": {"hidden_1": {"kernel": critic}},
    }
    jax.tree.map(lambda x, e: np.testing.assert_allclose(x, np.exp(e), rtol=1e-6), found, expected)


def of_kernel(weights, **how):
    found, state = factors(weights, **how)
    return np.log(found["critic"]["hidden_1"]["kernel"]), state


def test_how_far_training_is():
    first, state = of_kernel(only("progress"))
    second, _ = of_kernel(only("progress"), state=state)
    np.testing.assert_allclose([first, second], [0.0, 0.01], atol=1e-6)  # by its own count
    told = {"progress": jnp.float32(0.5), "epoch": jnp.float32(0.25)}
    np.testing.assert_allclose(of_kernel(only("progress"), **told)[0], 0.5, rtol=1e-5)
    np.testing.assert_allclose(of_kernel(only("progress_squared"), **told)[0], 0.25, rtol=1e-5)
    np.testing.assert_allclose(of_kernel(only("epoch"), **told)[0], 0.25, rtol=1e-5)
    np.testing.assert_allclose(of_kernel(only("log_updates"), num_steps=100)[0], -2.0, rtol=1e-5)


def test_steps_and_growth():
    np.testing.assert_allclose(of_kernel(only("log_step"))[0], 1 + np.log(0.5) / 2, rtol=1e-5)
    tiny = jax.tree.map(lambda x: 1e-9 * x, STEPS)
    np.testing.assert_allclose(of_kernel(only("log_step"), steps=tiny)[0], -2.0, rtol=1e-5)
    grown = jax.tree.map(lambda x: 3 * x, PARAMS)
    np.testing.assert_allclose(of_kernel(only("log_growth"), params=grown)[0], np.log(3), rtol=1e-5)
    found, _ = factors(only("log_growth"), params=jax.tree.map(lambda x: x + 1, PARAMS))
    assert found["actor"]["input"]["bias"] == 1  # began at zero: nothing can be said


def test_factors_have_limits():
    np.testing.assert_allclose(of_kernel(only("constant", 100.0))[0], 4.0, rtol=1e-5)
    np.testing.assert_allclose(of_kernel(only("constant", -100.0))[0], -4.0, rtol=1e-5)


def test_a_population_of_heads_is_one_program():
    heads = jnp.stack([jnp.asarray(only("constant", x)) for x in (0.0, 1.0)])

    def first_factor(head):
        tx = celo2.scale_by_step_head(head, 10)
        return tx.update(STEPS, tx.init(PARAMS), PARAMS)[0]["critic"]["hidden_1"]["kernel"][0, 0]

    np.testing.assert_allclose(jax.jit(jax.vmap(first_factor))(heads), 0.5 * np.exp([0.0, 1.0]), rtol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match=r"weights must have shape \(11,\), got \(3,\)"):
        celo2.scale_by_step_head(jnp.zeros(3), 10)
    tx = celo2.scale_by_step_head(jnp.zeros(len(FEATURES)), 10)
    with pytest.raises(ValueError, match="needs params"):
        tx.update(STEPS, tx.init(PARAMS))
