"""Every agent with every optimizer and network. Traced, not compiled: a loop needs a state of unchanged shapes."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

import agents
import envs
from helpers import weights_for
from rlopt.optimizers.catalog import OPTIMIZERS
from rlopt.training import loop, presets
from rlopt.training.config import TrainConfig


def check_one_iteration(agent):
    state = jax.eval_shape(agent.init, jax.random.key(0), agent.hyperparams(1e-3))
    after, metrics = jax.eval_shape(agent.step, state)

    def looks(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    assert looks(after) == looks(state)
    assert metrics.loss.shape == ()


LEARNED = [name for name, info in OPTIMIZERS.items() if info.learned]
# In what they ask an agent for, or keep as their state; tests/rlopt/optimizers has every one learn.
UNLIKE = (
    "adam",
    "adam_rel",
    "muon_routed",
    "schedule_free",
    "soap",
    "celo2",
    "celo",
    "celo_adam",
    "velo",
    "open",
)


@pytest.mark.parametrize(
    ("agent", "optimizer"),
    [
        *(pytest.param("ppo", name, marks=[] if name in UNLIKE else [pytest.mark.slow]) for name in OPTIMIZERS),
        *(
            pytest.param(
                agent,
                name,
                marks=[] if name in ("celo_adam", "adam") else [pytest.mark.slow],
            )
            for agent in ("dqn", "pqn", "rppo", "sac")
            for name in (*LEARNED, "adam", "adam_rel", "muon_routed")
        ),
    ],
)
def test_every_optimizer_fits_every_agent(agent, optimizer, tmp_path):
    env_id = "Pendulum-v1" if agent == "sac" else "CartPole-v1"
    hyper = dataclasses.replace(presets.config(agent, env_id), hidden=(8, 8), anneal=True)
    theta = weights_for(optimizer, tmp_path)
    config = TrainConfig(agent=agent, env=env_id, optimizer=optimizer, theta=theta, hyper=hyper)
    check_one_iteration(loop.make_agent(config))


@pytest.mark.parametrize(
    ("config", "network"),
    [
        (agents.PPOConfig(num_envs=2), "shared_mlp"),
        (agents.PPOConfig(num_envs=2), "nature"),
        (agents.DQNConfig(num_envs=2), "nature"),
        pytest.param(agents.PQNConfig(num_envs=2), "nature", marks=pytest.mark.slow),
        (agents.RPPOConfig(num_envs=4), "nature"),
    ],
)
def test_every_network_fits_its_agents(config, network):
    env = inner = envs.make("CartPole-v1", config.num_envs)
    if network == "nature":
        pictures = jnp.zeros((config.num_envs, 84, 84, 4), jnp.uint8)
        spec = dataclasses.replace(inner.spec, observation_shape=(84, 84, 4), observation_dtype=jnp.dtype("uint8"))

        def step(key, state, action):
            state, timestep = inner.step(key, state, action)
            return state, timestep._replace(obs=pictures, final_obs=pictures)

        env = envs.VectorEnv(spec, lambda key: (inner.reset(key)[0], pictures), step)
    config = dataclasses.replace(config, network=network)
    agent = agents.make(env, config, lambda learning_rate, num_updates: optax.adam(learning_rate))
    check_one_iteration(agent)
