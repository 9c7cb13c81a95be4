"""Action distributions: sampled as they say they are, in the environment's bounds; running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import actions, normalization
from envs import Box, Discrete

BOX = Box(np.float32([-1, 0]), np.float32([3, 1]), (2,))


def test_categorical_samples_follow_the_softmax():
    head = actions.make(Discrete(3), "clip")
    logits = jnp.log(jnp.asarray([0.2, 0.5, 0.3]))
    draws = head.sample(logits, head.draw_noise(jax.random.key(0), (20_000,)))
    np.testing.assert_allclose(np.bincount(draws) / 20_000, [0.2, 0.5, 0.3], atol=0.015)
    np.testing.assert_allclose(jnp.exp(head.log_prob(logits, jnp.arange(3))), [0.2, 0.5, 0.3], rtol=1e-5)
    assert int(head.mode(logits)) == 1


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_gaussian_actions_stay_in_bounds_and_reach_them(squash):
    head = actions.make(BOX, squash)
    outputs = jnp.asarray([0.0, 0.0, 1.0, 1.0])
    u = head.sample(outputs, head.draw_noise(jax.random.key(0), (5000,)))
    got = np.asarray(head.to_env(u))
    np.testing.assert_allclose(got.min(0), BOX.low, atol=0.02)
    np.testing.assert_allclose(got.max(0), BOX.high, atol=0.02)
    np.testing.assert_allclose(head.to_env(head.mode(outputs)), [1.0, 0.5])


def test_tanh_densities_integrate_to_one_in_the_environments_units():
    head = actions.make(Box(np.float32([-2]), np.float32([2]), (1,)), "tanh")
    outputs = jnp.asarray([0.3, -0.5])
    a = np.linspace(-2 + 1e-6, 2 - 1e-6, 20_001)
    u = jnp.asarray(np.arctanh(a / 2))[:, None]
    density = np.exp(head.log_prob(outputs, u)) / 2  # half the width of the box is one unit
    np.testing.assert_allclose(np.trapezoid(density, a), 1.0, atol=2e-3)


def test_the_estimated_entropy_of_tanh_and_its_gradient_are_right_on_average():
    head = actions.make(Box(np.float32([-1]), np.float32([1]), (1,)), "tanh")
    noise = head.draw_noise(jax.random.key(0), (50_000,))

    def estimate(outputs):
        return jnp.mean(head.entropy(jnp.broadcast_to(outputs, (50_000, 2)), noise))

    def exact(outputs):  # - integral of p log p over the box, by a fine sum over quantiles of the Gaussian
        quantiles = jax.scipy.special.ndtri((jnp.arange(20_000) + 0.5) / 20_000)[:, None]
        u = head.sample(outputs, quantiles)
        return -jnp.mean(head.log_prob(jnp.broadcast_to(outputs, (20_000, 2)), u))

    both = [jax.jit(jax.value_and_grad(f)) for f in (estimate, exact)]
    for outputs in ([0.3, -0.5], [1.0, 0.5]):
        (ours, got), (theirs, wanted) = (f(jnp.asarray(outputs)) for f in both)
        np.testing.assert_allclose(ours, theirs, atol=0.02)
        # A wide policy off the centre sits at the bounds: more noise and more mean both make it more certain.
        np.testing.assert_allclose(got, wanted, atol=0.03)
    assert np.all(got < -0.5)


@pytest.mark.parametrize(
    ("space", "squash", "message"),
    [
        (BOX, "sigmoid", "unknown squash 'sigmoid'; there are clip, tanh"),
        (Box(np.zeros((2, 2)), np.ones((2, 2)), (2, 2)), "clip", "actions must be vectors"),
        (Box(np.float32([-np.inf]), np.float32([1]), (1,)), "clip", "action bounds must be finite"),
    ],
)
def test_action_spaces_that_cannot_be_served_are_refused(space, squash, message):
    with pytest.raises(ValueError, match=message):
        actions.make(space, squash)


def test_running_moments_equal_those_of_all_valid_samples():
    rng = np.random.default_rng(0)
    batches = [(rng.normal(3, 2, (7, 5, 2)), rng.random((7, 5)) < 0.7) for _ in range(4)]
    moments = normalization.init((2,))
    for samples, valid in batches:
        moments = normalization.update(moments, jnp.asarray(samples), jnp.asarray(valid))
    seen = np.concatenate([samples[valid] for samples, valid in batches])
    np.testing.assert_allclose(moments.mean, seen.mean(0), rtol=1e-3)
    np.testing.assert_allclose(moments.variance, seen.var(0), rtol=1e-3)
    nothing = normalization.update(moments, jnp.full((3, 2), 1e6), jnp.zeros(3, bool))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), nothing, moments)


def test_rewards_are_scaled_by_the_deviation_of_discounted_returns():
    rewards = jnp.asarray([[1.0], [2.0], [4.0], [8.0]])
    done = jnp.asarray([[False], [True], [False], [False]])
    valid = jnp.asarray([[True], [True], [False], [True]])
    scaled, scale = normalization.scale_rewards(normalization.init_rewards(1), rewards, done, valid, 0.5)
    # Discounted returns: 1, 2 + 0.5, (invalid), 8, of which three count.
    deviation = np.std([1.0, 2.5, 8.0])
    np.testing.assert_allclose(scaled[:, 0], np.asarray([1, 2, 4, 8]) / deviation, rtol=1e-3)
    np.testing.assert_allclose(scale.discounted, [8.0])
