"""Evaluation: whole first episodes, the same every time, apart from training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents.evaluation import evaluate

CONFIG = agents.PPOConfig(total_steps=512, num_envs=4, rollout_length=32, minibatches=2, hidden=(8,))


@pytest.fixture(scope="module")
def trained():
    agent = agents.ppo(envs.make("CartPole-v1", 4), CONFIG, lambda rate, n: optax.adam(rate))
    init = jax.vmap(agent.init, in_axes=(0, None))
    state = init(jax.random.split(jax.random.key(0), 3), agent.hyperparams(1e-3))
    return agent, jax.vmap(agent.policy)(state)


def test_a_population_is_evaluated_on_first_episodes(trained):
    agent, policies = trained
    env = envs.make("CartPole-v1", 16)
    run = jax.jit(jax.vmap(lambda p, k: evaluate(agent, env, p, k, max_steps=500), in_axes=(0, None)))
    found = run(policies, jax.random.key(1))
    assert found.returns.shape == (3, 16)
    np.testing.assert_array_equal(found.returns, found.lengths)  # CartPole pays 1 per step
    assert np.all(found.lengths >= 5)
    np.testing.assert_array_equal(found.returns, run(policies, jax.random.key(1)).returns)
    assert np.any(found.returns != run(policies, jax.random.key(2)).returns)


def test_episodes_longer_than_allowed_are_missing_not_cut_short(trained):
    agent, policies = trained
    env = envs.make("MountainCar-v0", 2)
    always = agent._replace(act=lambda policy, obs, key, greedy: jnp.zeros(2, jnp.int32))
    found = evaluate(always, env, policies, jax.random.key(0), max_steps=199)
    assert np.all(np.isnan(found.returns))
    np.testing.assert_array_equal(evaluate(always, env, policies, jax.random.key(0), max_steps=200).returns, -200.0)
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        evaluate(always, env, policies, jax.random.key(0), max_steps=0)


def test_greedy_and_sampled_actions_differ(trained):
    agent, policies = trained
    policy = jax.tree.map(lambda x: x[0], policies)
    env = envs.make("CartPole-v1", 16)
    greedy, sampled = (
        evaluate(agent, env, policy, jax.random.key(0), max_steps=500, greedy=greedy) for greedy in (True, False)
    )
    assert np.any(greedy.returns != sampled.returns)
