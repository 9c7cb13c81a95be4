"""Networks of a user's own, and the scalars that `init` takes."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from helpers import by_default

SIZES = {"total_steps": 4 * 8 * 2, "num_envs": 4}
PPO = agents.PPOConfig(**SIZES, rollout_length=8, epochs=1, minibatches=1)
PQN = agents.PQNConfig(**SIZES, rollout_length=8, epochs=1, minibatches=1)
DQN = agents.DQNConfig(**SIZES, steps_per_iteration=4, learning_starts=16, replay_capacity=64, batch_size=8)
CONFIGS = {"ppo": PPO, "pqn": PQN, "dqn": DQN}


class Own(nn.Module):
    """One layer; `critic` beside it where there is one."""

    num_outputs: int
    has_critic: bool = False

    @nn.compact
    def __call__(self, obs):
        x = nn.relu(nn.Dense(5, name="torso")(obs))
        outputs = nn.Dense(self.num_outputs, name="out")(x)
        return (outputs, nn.Dense(1, name="critic")(x)[:, 0]) if self.has_critic else outputs


def sgd(learning_rate, num_updates):
    return optax.sgd(learning_rate)


def make(name, own=None, **changes):
    config = dataclasses.replace(CONFIGS[name], **changes)
    return agents.make(envs.make("CartPole-v1", 4), config, sgd, own), config


def trained(name, own=None, **changes):
    agent, config = make(name, own, **changes)
    train = jax.jit(lambda key: agents.train(agent, key, agent.hyperparams(0.1), config.num_iterations))
    state, metrics = train(jax.random.key(0))
    action = agent.act(agent.policy(state), state.obs, jax.random.key(1), greedy=False)
    assert action.shape == (4,)
    return state, metrics


@pytest.mark.parametrize("name", by_default(list(CONFIGS), "ppo"))
def test_a_module_of_ones_own_is_trained(name):
    own = Own(2, has_critic=name == "ppo")
    state, metrics = trained(name, own)
    assert set(state.params["params"]) == {"torso", "out", *(["critic"] if name == "ppo" else [])}
    assert metrics.loss.shape == (CONFIGS[name].num_iterations,)
    start = own.init(jax.random.key(9), state.obs)
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (state.params, start)), strict=True) if a.ndim > 1)
    other, _ = trained(name, (own.init, own.apply))
    jax.tree.map(np.testing.assert_array_equal, state.params, other.params)


def test_a_network_is_named_as_code(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "import flax.linen as nn\n\n\nclass Values(nn.Module):\n    n: int\n\n    @nn.compact\n"
        "    def __call__(self, obs):\n        return nn.Dense(self.n)(obs)\n\n\ndef broken(n):\n    raise OSError('no')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    state, _ = trained("dqn", network="my_networks:Values")
    assert state.params["params"]["Dense_0"]["kernel"].shape == (4, 2)
    for path in ("my_networks:broken", "my_networks:Absent", "no_such_module:Values"):
        with pytest.raises(ValueError, match=f"cannot make a network from '{path}' with 2 outputs"):
            make("dqn", network=path)
    with pytest.raises(ValueError, match=r"must return \(actor outputs \[B, 2\], values \[B\]\); .* were \(3, 2\)"):
        make("ppo", network="my_networks:Values")
    with pytest.raises(
        ValueError, match="unknown network 'mpl'; there are mlp, minatar, nature, small, and module:name"
    ):
        make("dqn", network="mpl")


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"must return action values \[B, 2\]; for B = 3 the shapes were \(3, 7\)"):
        make("pqn", Own(7))
    with pytest.raises(ValueError, match=r"pair of functions \(init, apply\), got 3"):
        make("pqn", 3)
    with pytest.raises(ValueError, match=r"does not take observations \[B, 4\]"):
        make("pqn", (lambda key, obs: {}, lambda params, obs: obs @ jnp.ones((9, 2))))


def test_scalars_come_from_the_configuration():
    agent, _ = make("ppo", gamma=0.9, target_kl=0.1)
    found = agent.hyperparams(0.5, entropy_coef=0.3)
    assert (found.learning_rate, found.gamma, found.entropy_coef, found.target_kl) == (0.5, 0.9, 0.3, 0.1)
    assert make("dqn")[0].hyperparams(0.5).max_grad_norm == np.inf
    for name, kind in (("ppo", agents.PPOHyperparams), ("dqn", agents.DQNHyperparams), ("pqn", agents.PQNHyperparams)):
        assert type(make(name)[0].hyperparams(0.1)) is kind


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("ppo", {"gama": 0.9}, "'gama' cannot differ between the members of a population; gamma, "),
        ("ppo", {"epochs": 2}, "'epochs' cannot differ"),
        ("ppo", {"target_kl": 0.1}, "target_kl would have no effect: the configuration has target_kl None"),
        ("dqn", {"priority_exponent": 0.1}, "no effect: the configuration has prioritized False"),
    ],
)
def test_scalars_without_effect_are_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        make(name)[0].hyperparams(0.1, **overrides)


# Searches have it in default runs (tests/rlopt/runs/test_search.py).
@pytest.mark.slow
def test_members_of_a_population_differ_in_any_scalar():
    agent, config = make("ppo")
    several = jax.vmap(lambda gamma: agent.hyperparams(0.1, gamma=gamma))(jnp.array([0.5, 0.99]))
    several = several._replace(**{k: jnp.broadcast_to(v, 2) for k, v in several._asdict().items()})
    train = jax.vmap(lambda hyperparams: agents.train(agent, jax.random.key(0), hyperparams, config.num_iterations))
    state, _ = jax.jit(train)(several)
    assert all(np.any(x[0] != x[1]) for x in jax.tree.leaves(state.params) if x.ndim > 2)


def test_bad_calls_are_refused():
    agent, _ = make("ppo")
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        agents.train(agent, jax.random.key(0), agent.hyperparams(0.1), 0)
    with pytest.raises(ValueError, match=r"a configuration must be one of PPOConfig, DQNConfig, PQNConfig, .*, got 3"):
        agents.make(envs.make("CartPole-v1", 4), 3, sgd)


def test_public_names_are_listed():
    assert (
        {"ppo", "PPOState", "PPOMetrics", "PPOPolicy", "DQNState", "train"} <= set(dir(agents)) == set(agents.__all__)
    )
    for name in agents.__all__:
        assert getattr(agents, name) is not None
