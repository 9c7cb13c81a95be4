"""Advantages and losses on numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from agents import losses
from agents.returns import generalized_advantages, lambda_returns, n_step_targets


def test_advantages_tell_termination_from_truncation():
    # gamma = 0.5, lambda = 0.5, so an advantage decays by 0.25 per step.
    rewards = jnp.asarray([1.0, 2.0, 3.0, 4.0])
    values = jnp.asarray([10.0, 20.0, 30.0, 40.0])
    next_values = jnp.asarray([20.0, 100.0, 40.0, 200.0])
    terminated = jnp.asarray([False, False, False, True])
    truncated = jnp.asarray([False, True, False, False])
    # t=3 ends: delta = 4 - 40 = -36.
    # t=2: delta = 3 + 0.5*40 - 30 = -7, A = -7 + 0.25*(-36) = -16.
    # t=1 is cut off: delta = 2 + 0.5*100 - 20 = 32, and nothing flows back from t=2.
    # t=0: delta = 1 + 0.5*20 - 10 = 1, A = 1 + 0.25*32 = 9.
    got = generalized_advantages(rewards, values, next_values, terminated, truncated, 0.5, 0.5)
    np.testing.assert_allclose(got, [9.0, 32.0, -16.0, -36.0])


def test_termination_wins_where_both_flags_are_set():
    got = generalized_advantages(*(jnp.asarray([x]) for x in (1.0, 2.0, 50.0)), *([jnp.asarray([True])] * 2), 0.9, 0.9)
    np.testing.assert_allclose(got, [-1.0])


def test_lambda_one_gives_the_discounted_return():
    rewards = jnp.asarray([1.0, 1.0, 1.0])
    no = jnp.zeros(3, bool)
    # 1 + 0.5 + 0.25 + 0.125 * 8 - V(s_0)
    got = generalized_advantages(rewards, jnp.asarray([5.0, 6.0, 7.0]), jnp.asarray([6.0, 7.0, 8.0]), no, no, 0.5, 1.0)
    np.testing.assert_allclose(got[0], 1 + 0.5 + 0.25 + 1.0 - 5.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 2.0, -2.4), (0.5, 2.0, -1.0), (1.5, -2.0, 3.0), (0.5, -2.0, 1.6), (1.1, 1.0, -1.1)],
)
def test_clipped_surrogate_takes_the_pessimistic_side(ratio, advantage, expected):
    got = losses.clipped_surrogate(jnp.log(ratio), jnp.float32(advantage), 0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_clipped_value_loss_takes_the_larger_loss():
    # V moved from 0 to 3, clipped to 1; target 3: the clipped one is the larger, (1-3)^2/2.
    np.testing.assert_allclose(losses.clipped_value_loss(jnp.float32(3), jnp.float32(0), jnp.float32(3), 1.0), 2.0)


def test_masked_statistics_ignore_what_is_masked():
    x, mask = jnp.asarray([1.0, 3.0, 1000.0]), jnp.asarray([True, True, False])
    np.testing.assert_allclose(losses.masked_mean(x, mask), 2.0)
    np.testing.assert_allclose(losses.standardize(x, mask)[:2], [-1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(losses.masked_mean(x, jnp.zeros(3, bool)), 0.0)
    for broken in (jnp.nan, jnp.inf):  # what was computed beside an update that was not made
        np.testing.assert_allclose(losses.masked_mean(x.at[2].set(broken), mask), 2.0)
        np.testing.assert_allclose(losses.standardize(x.at[2].set(broken), mask)[:2], [-1.0, 1.0], rtol=1e-6)


def test_lambda_returns_by_hand_with_an_end_and_a_time_limit():
    # gamma = lambda = 0.5. Backwards: t=3 bootstraps fully: 4 + 0.5*8 = 8. t=2 terminates: 3.
    # t=1 is cut off: 2 + 0.5*6 = 5. t=0: 1 + 0.5*(0.5*4 + 0.5*5) = 3.25.
    got = lambda_returns(
        jnp.asarray([1.0, 2.0, 3.0, 4.0]),
        jnp.asarray([4.0, 6.0, 100.0, 8.0]),
        jnp.asarray([False, False, True, False]),
        jnp.asarray([False, True, False, False]),
        0.5,
        0.5,
    )
    np.testing.assert_allclose(got, [3.25, 5.0, 3.0, 8.0])


def test_n_step_targets_by_hand_with_an_end_and_a_time_limit():
    rewards = jnp.asarray([1.0, 2.0, 4.0, 8.0, 16.0])
    terminated = jnp.asarray([False, False, True, False, False])
    truncated = jnp.asarray([False, False, False, True, False])
    total, factor, offset = n_step_targets(rewards, terminated, truncated, 0.5, 2)
    # t=0: 1 + 2/2, bootstrap 1/4 from step 1. t=1: 2 + 4/2, ended: none. t=2 ends at once. t=3 is cut off at once:
    # 8, bootstrap 1/2 from its own final observation.
    np.testing.assert_allclose(total, [2.0, 4.0, 4.0, 8.0])
    np.testing.assert_allclose(factor, [0.25, 0.0, 0.0, 0.5])
    np.testing.assert_array_equal(offset, [1, 1, 0, 0])


def test_one_step_targets_are_the_rewards():
    rewards, no = jnp.asarray([1.0, 2.0]), jnp.zeros(2, bool)
    total, factor, offset = n_step_targets(rewards, no, no, 0.9, 1)
    np.testing.assert_array_equal(total, rewards)
    np.testing.assert_allclose(factor, 0.9)
    np.testing.assert_array_equal(offset, 0)


@pytest.mark.parametrize(("error", "expected"), [(0.5, 0.125), (-1.0, 0.5), (3.0, 2.5), (-3.0, 2.5)])
def test_huber_loss_is_square_inside_and_linear_outside(error, expected):
    np.testing.assert_allclose(losses.huber(jnp.float32(error)), expected)
