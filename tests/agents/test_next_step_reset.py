"""Environments that reset in a step of its own: agents told so learn what they learn by looking at final_obs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents import networks

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
    [
        pytest.param(agents.PPOConfig(**SIZES), id="ppo"),
        pytest.param(agents.PPOConfig(**SIZES, network="shared_mlp"), id="ppo, shared", marks=pytest.mark.slow),
        pytest.param(agents.PQNConfig(**SIZES), id="pqn", marks=pytest.mark.slow),
        pytest.param(agents.RPPOConfig(**SIZES), id="rppo", marks=pytest.mark.slow),
    ],
)
def test_what_is_seen_next_stands_in_for_what_a_step_led_to(config):
    def train(told):
        agent = agents.make(three_steps_and_a_reset(told), config, lambda rate, num_updates: optax.sgd(rate))
        state = agent.init(jax.random.key(0), agent.hyperparams(0.1))
        after = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=3)[0])(state)
        return jax.tree.leaves(state.params), jax.tree.leaves(after.params)

    (before, told), (_, untold) = train(told=True), train(told=False)
    for a, b in zip(told, untold, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert any(not np.allclose(a, b, atol=1e-3) for a, b in zip(before, told, strict=True))


def what_was_shown_before():
    """Two frames: a bit, 1 or 2, then 0. The second action is rewarded if it names the bit, which only shows before."""

    def drawn(key):
        return jax.random.randint(key, (4,), 1, 3)

    def reset(key):
        bit = drawn(key)
        return (bit, jnp.zeros(4, int)), jnp.stack([bit, bit], -1).astype(jnp.uint8)[:, None, None]

    def step(key, state, action):
        bit, phase = state
        new = jnp.where(phase == 2, drawn(key), bit)
        before, now = jnp.choose(phase, [bit, 0, new], mode="clip"), jnp.choose(phase, [0, 3, new], mode="clip")
        obs = jnp.stack([before, now], -1).astype(jnp.uint8)[:, None, None]
        reward = jnp.where((phase == 1) & (action == bit - 1), 1.0, 0.0)
        ends, no, zeros = phase == 1, jnp.zeros(4, bool), jnp.zeros(4)
        timestep = envs.TimeStep(obs, reward, ends, no, obs, phase != 2, zeros, zeros.astype(jnp.int32))
        return (new, (phase + 1) % 3), timestep

    spec = envs.EnvSpec("shown before", 4, (1, 1, 2), jnp.uint8, envs.Discrete(2), None, True, frame_stack=2)
    return envs.VectorEnv(spec, reset, step)


@pytest.mark.parametrize("prioritized", [pytest.param(False, marks=pytest.mark.slow), True])
def test_dqn_learns_from_single_frames_what_takes_two_to_see(prioritized):
    config = agents.DQNConfig(
        *(12_000, 4),
        batch_size=32,
        replay_capacity=800,
        learning_starts=400,
        target_interval=80,
        gamma=0.9,
        hidden=(32,),
        anneal=True,
        prioritized=prioritized,
    )
    agent = agents.make(what_was_shown_before(), config, lambda rate, num_updates: optax.adam(rate))
    state = agent.init(jax.random.key(0), agent.hyperparams(1e-2))
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=config.num_iterations))(state)
    assert state.replay.frames.shape == (200, 4, 1)
    network = networks.q_network("mlp", (1, 1, 2), 2, config.hidden, config.activation)
    seen = jnp.asarray([[1, 1], [2, 2], [1, 0], [2, 0]], jnp.uint8)[:, None, None]
    expected = [[0.9, 0.9], [0.9, 0.9], [1, 0], [0, 1]]
    np.testing.assert_allclose(network.apply(state.params, seen), expected, atol=0.06)
