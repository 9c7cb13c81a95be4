"""What agents tell their optimizers: docs/optimizers.md, word by word."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents import dormancy, networks, telling
from helpers import by_default

PPO = agents.PPOConfig(total_steps=4 * 8 * 3, num_envs=4, rollout_length=8, epochs=2, minibatches=2, hidden=(8,))
PQN = agents.PQNConfig(total_steps=4 * 8 * 3, num_envs=4, rollout_length=8, epochs=2, minibatches=2, hidden=(8,))
DQN = agents.DQNConfig(
    total_steps=64,
    num_envs=4,
    steps_per_iteration=2,
    updates_per_iteration=2,
    learning_starts=16,
    target_interval=16,
    replay_capacity=64,
    batch_size=4,
    hidden=(8,),
)
RPPO = agents.RPPOConfig(4 * 8 * 3, 4, rollout_length=8, epochs=2, minibatches=2, hidden=(8,), memory_size=4)
AGENTS = {
    "ppo": (agents.ppo, PPO),
    "pqn": (agents.pqn, PQN),
    "dqn": (agents.dqn, DQN),
    "rppo": (agents.rppo, RPPO),
}


def recorder(num_updates, asked=()):
    """An optimizer that keeps what it was told at every update, and moves nothing."""

    def init(params):
        kept = {"progress": 0.0, "epoch": 0.0, "value": 0.0, "key": jnp.zeros(2, jnp.uint32)}
        return jnp.int32(0), {k: jnp.zeros((num_updates, *jnp.shape(x)), jnp.result_type(x)) for k, x in kept.items()}

    def update(updates, state, params=None, *, value, progress, epoch, is_actor, key, dormancy):
        count, kept = state
        assert all(isinstance(x, bool) for x in jax.tree.leaves(is_actor))
        assert jax.tree.structure(is_actor) == jax.tree.structure(params)
        if "dormancy" in asked:
            assert jax.tree.structure(dormancy()) == jax.tree.structure(params)
        now = {"progress": progress, "epoch": epoch, "value": value, "key": jax.random.key_data(key)}
        kept = {name: kept[name].at[count].set(x) for name, x in now.items()}
        return jax.tree.map(jnp.zeros_like, updates), (count + 1, kept)

    return optax.GradientTransformationExtraArgs(init, update)


def listening(name, asked):
    make, config = AGENTS[name]
    return make(envs.make("CartPole-v1", num_envs=4), config, lambda rate, num_updates: recorder(num_updates, asked))


def told(name, iterations, asked=()):
    agent, config = listening(name, asked), AGENTS[name][1]
    state = jax.jit(agent.init)(jax.random.key(0), agent.hyperparams(1e-3))
    step = jax.jit(agent.step)
    for _ in range(iterations):
        state, _ = step(state)
    count, kept = state.opt_state[1]
    return config, int(count), {k: np.asarray(x)[: int(count)] for k, x in kept.items()}


@pytest.mark.parametrize("name", by_default(["ppo", "pqn", "rppo"], "ppo"))
def test_progress_epoch_and_keys_of_agents_that_learn_from_rollouts(name):
    config, count, kept = told(name, config_iterations(name), asked=("dormancy",))
    assert count == config.num_updates == 12
    np.testing.assert_allclose(kept["progress"], np.arange(12) / 12, rtol=1e-6)
    np.testing.assert_allclose(kept["epoch"], np.tile([0, 0.25, 0.5, 0.75], 3))
    assert len({tuple(x) for x in kept["key"]}) == 12
    assert np.all(kept["value"] != 0)


def test_of_dqn_the_objective_is_the_target_network():
    config, count, kept = told("dqn", config_iterations("dqn"), asked=("dormancy",))
    # Learning starts after two of eight iterations of two updates; a target serves two iterations.
    assert count == config.num_updates == 12
    np.testing.assert_allclose(kept["progress"], np.arange(12) / 12, rtol=1e-6)
    np.testing.assert_allclose(kept["epoch"], np.tile([0, 0.25, 0.5, 0.75], 3))
    assert len({tuple(x) for x in kept["key"]}) == 12


def config_iterations(name):
    return AGENTS[name][1].num_iterations


def test_what_nobody_asks_for_is_not_computed(monkeypatch):
    """Nor even traced; what is asked for is, in every agent."""
    score, scored = dormancy.score, []
    monkeypatch.setattr(dormancy, "score", lambda *args: scored.append(1) or score(*args))
    for name in AGENTS:
        for asked in ((), ("dormancy",)):
            agent = listening(name, asked)
            jax.eval_shape(agent.step, jax.eval_shape(agent.init, jax.random.key(0), agent.hyperparams(1e-3)))
            assert bool(scored) == bool(asked), name
            scored.clear()


def test_which_tensors_act():
    obs = jnp.zeros((1, 4))
    separate = networks.actor_critic("mlp", (4,), 2, (8,), "tanh")
    params = separate.init(jax.random.key(0), obs)
    found = telling.is_actor(params)["params"]
    assert all(jax.tree.leaves(found["actor"]))
    assert not any(jax.tree.leaves(found["critic"]))
    shared = networks.actor_critic("shared_mlp", (4,), 2, (8,), "tanh", log_std=True)
    found = telling.is_actor(shared.init(jax.random.key(0), obs))["params"]
    acting = {name: set(jax.tree.leaves(part)) for name, part in found.items()}
    assert acting == {"input": {True}, "policy_head": {True}, "log_std": {True}, "value_head": {False}}
    q = networks.q_network("mlp", (4,), 2, (8,), "relu")
    assert all(jax.tree.leaves(telling.is_actor(q.init(jax.random.key(0), obs))))


def test_dormancy_by_hand():
    network = networks.q_network("mlp", (3,), 2, (4, 5), "relu")
    obs = jax.random.normal(jax.random.key(1), (6, 3))
    params = network.init(jax.random.key(0), obs)
    layers = params["params"]["dense"]
    layers["input"]["bias"] = layers["input"]["bias"].at[2].set(-1e3)  # a dead unit
    first = np.maximum(np.asarray(obs) @ layers["input"]["kernel"] + layers["input"]["bias"], 0)
    second = np.maximum(first @ layers["hidden_1"]["kernel"] + layers["hidden_1"]["bias"], 0)
    found = dormancy.score(network, params, obs)["params"]["dense"]
    for name, units in (("input", first), ("hidden_1", second)):
        busy = np.abs(units).mean(0)
        for tensor in ("kernel", "bias"):
            np.testing.assert_allclose(found[name][tensor], busy / busy.mean(), rtol=1e-5)
    assert found["input"]["kernel"][2] == 0
    assert found["head"] == {"kernel": 1.0, "bias": 1.0}


@pytest.mark.parametrize(
    "case",
    by_default(
        {"minatar": ("minatar", (10, 10, 4)), "nature": ("nature", (84, 84, 4)), "small": ("small", (42, 42, 4))},
        "minatar",
    ),
)
def test_dormancy_of_convolutions_and_norms(case):
    network, shape = case
    obs = jax.random.uniform(jax.random.key(1), (2, *shape))
    for net in (
        networks.actor_critic(network, shape, 3, (8,), "relu"),
        networks.q_network(network, shape, 3, (8,), "relu", layer_norm=True),
    ):
        params = jax.jit(net.init)(jax.random.key(0), obs)
        found = jax.jit(lambda params, net=net: dormancy.score(net, params, obs))(params)
        for (path, score), x in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(params), strict=True):
            if score.ndim:
                assert score.shape == x.shape[-1:], path
                np.testing.assert_allclose(score.mean(), 1, rtol=1e-4)
            else:
                assert "head" in jax.tree_util.keystr(path), path


def test_dormancy_of_a_normed_layer_is_that_behind_the_norm():
    net = networks.q_network("mlp", (3,), 2, (4,), "relu", layer_norm=True)
    obs = jax.random.normal(jax.random.key(1), (6, 3))
    params = net.init(jax.random.key(0), obs)
    params["params"]["dense"]["norm_0"]["bias"] = jnp.asarray([-1e3, 0.0, 0.0, 0.0])
    found = dormancy.score(net, params, obs)["params"]["dense"]
    for layer in (found["input"]["kernel"], found["norm_0"]["scale"]):
        assert layer[0] == 0
        assert np.all(layer[1:] > 0)
