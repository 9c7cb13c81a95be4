"""The PES estimator: the published numbers, and what it estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metatrain import pes


@pytest.mark.parametrize("truncation", [0, 1, 2])
def test_estimate_equals_the_published_one(golden, truncation):
    data = golden("pes_grad")

    def tree(name):
        return {k: data[f"{name}_{k}|{truncation}"] for k in ("a", "w")}

    def array(name):
        return data[f"{name}|{truncation}"]

    got = pes.estimate(
        array("pos_loss"),
        array("neg_loss"),
        array("is_done") > 0,
        array("mask") > 0,
        tree("eps"),
        tree("acc_in"),
        float(data["std"]),
    )
    for k in ("a", "w"):
        np.testing.assert_allclose(got.grad[k], tree("grad")[k], rtol=1e-5, atol=0)
        np.testing.assert_array_equal(got.accumulator[k], tree("acc_out")[k])
    np.testing.assert_allclose(got.loss, array("mean_loss"), rtol=1e-6)


def test_estimates_average_to_the_gradient_of_a_linear_loss():
    # Losses <c, theta> at every step: the gradient of the mean loss is c, and PES is unbiased for it.
    c = jnp.asarray([1.0, -2.0, 0.5])
    n, steps, std = 4096, 5, 0.1
    perturbation = pes.sample_perturbation(jax.random.key(0), jnp.zeros((n, 3)), std)
    loss = jnp.broadcast_to(perturbation @ c, (steps, n))
    never, always = jnp.zeros((steps, n), bool), jnp.ones((steps, n), bool)
    got = pes.estimate(loss, -loss, never, always, perturbation, jnp.zeros((n, 3)), std)
    error = jnp.linalg.norm(c) * jnp.sqrt(2 / n)  # at least the standard error of each entry
    assert float(jnp.abs(got.grad - c).max()) < 4 * float(error)


def test_losses_after_an_end_are_credited_to_the_fresh_perturbation_only():
    std = 1.0
    perturbation, accumulator = jnp.asarray([[2.0]]), jnp.asarray([[10.0]])
    positive = jnp.asarray([[1.0], [3.0], [0.0], [5.0]])
    is_done = jnp.asarray([[False], [True], [False], [False]])
    mask = jnp.asarray([[True], [True], [False], [True]])
    got = pes.estimate(positive, jnp.zeros((4, 1)), is_done, mask, perturbation, accumulator, std)
    # Before the end: 1/3 with weight 10 + 2; from the end on: (3 + 5)/3 with weight 2; over 2 std^2.
    np.testing.assert_allclose(got.grad, [(12 * 1 / 3 + 2 * 8 / 3) / 2], rtol=1e-6)
    np.testing.assert_array_equal(got.accumulator, perturbation)


def test_flipping_the_perturbation_flips_the_estimate():
    key = jax.random.key(1)
    positive, negative = jax.random.uniform(key, (2, 6, 3))
    no, yes = jnp.zeros((6, 3), bool), jnp.ones((6, 3), bool)
    e = jax.random.normal(key, (3, 4))
    a = pes.estimate(positive, negative, no, yes, e, jnp.zeros((3, 4)), 0.5).grad
    b = pes.estimate(negative, positive, no, yes, -e, jnp.zeros((3, 4)), 0.5).grad
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_plain_evolution_strategies_leave_the_past_out():
    key = jax.random.key(1)
    positive, negative = jax.random.uniform(key, (2, 6, 3))
    no, yes = jnp.zeros((6, 3), bool), jnp.ones((6, 3), bool)
    e, past = jax.random.normal(key, (2, 3, 4))
    plain = pes.estimate(positive, negative, no, yes, e, past, 0.5, persistent=False).grad
    np.testing.assert_array_equal(plain, pes.estimate(positive, negative, no, yes, e, 0 * past, 0.5).grad)
    assert np.any(plain != pes.estimate(positive, negative, no, yes, e, past, 0.5).grad)


def test_persistent_estimates_see_long_term_effects_that_truncated_ones_miss():
    # A state that theta feeds at every step: s <- s + theta, loss (s - 10)^2 over 20 steps in truncations of one.
    # The meta-gradient at theta = 0 is sum_t 2 (0 - 10) t over 20 steps; truncated ES sees t = 1 alone at every step.
    std, n, horizon = 0.01, 20_000, 20
    key = jax.random.key(0)
    total = {True: 0.0, False: 0.0}
    for persistent in total:
        states, accumulator = jnp.zeros((2, n)), jnp.zeros((n,))
        for t in range(horizon):
            e = std * jax.random.normal(jax.random.fold_in(key, t), (n,))
            states = states + jnp.stack([e, -e])
            losses = jnp.square(states - 10)[:, None]
            got = pes.estimate(
                *losses, jnp.zeros((1, n), bool), jnp.ones((1, n), bool), e, accumulator, std, persistent=persistent
            )
            accumulator = got.accumulator
            total[persistent] += float(got.grad)
    np.testing.assert_allclose(total[True], -20 * sum(range(1, horizon + 1)), rtol=0.05)
    np.testing.assert_allclose(total[False], -20 * horizon, rtol=0.1)
