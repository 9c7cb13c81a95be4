"""Agents told that final_obs is always obs learn what they learn by looking at it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs

SIZES = {"num_envs": 2, "rollout_length": 8, "total_steps": 48, "minibatches": 2, "hidden": (8,)}


def three_steps_and_a_reset(next_step_reset):
    """Two games that are cut off after three steps and start again in a step of its own; they stand at 0..3 quarters."""
    no, zeros = jnp.zeros(2, bool), jnp.zeros(2)

    def reset(key):
        del key
        return jnp.arange(2), jnp.arange(2)[:, None] / 4.0

    def step(key, state, action):
        del key
        now = (state + 1) % 4
        obs = now[:, None] / 4.0
        reward = jnp.where(now > 0, 1.0 * action + now, 0.0)
        return now, envs.TimeStep(obs, reward, no, now == 3, obs, now > 0, zeros, zeros.astype(jnp.int32))

    spec = envs.EnvSpec("three steps", 2, (1,), jnp.float32, envs.Discrete(2), None, next_step_reset)
    return envs.VectorEnv(spec, reset, step)


@pytest.mark.parametrize(
    "config",
    [agents.PPOConfig(**SIZES), agents.PPOConfig(**SIZES, network="shared_mlp"), agents.PQNConfig(**SIZES)],
    ids=["ppo", "ppo, shared", "pqn"],
)
def test_what_is_seen_next_stands_in_for_what_a_step_led_to(config):
    def train(told):
        agent = agents.make(three_steps_and_a_reset(told), config, lambda rate, num_updates: optax.sgd(rate))
        state = agent.init(jax.random.key(0), agents.hyperparams(config, 0.1))
        after = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=3)[0])(state)
        return jax.tree.leaves(state.params), jax.tree.leaves(after.params)

    (before, told), (_, untold) = train(told=True), train(told=False)
    for a, b in zip(told, untold, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert any(not np.allclose(a, b, atol=1e-3) for a, b in zip(before, told, strict=True))
