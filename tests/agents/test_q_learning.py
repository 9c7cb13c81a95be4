"""DQN and PQN on probe environments, and what they refuse."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents import exploration, networks
from envs import probes
from helpers import by_default

DQN = agents.DQNConfig(
    total_steps=16_000,
    num_envs=4,
    steps_per_iteration=2,
    updates_per_iteration=2,
    batch_size=32,
    replay_capacity=2000,
    learning_starts=400,
    target_interval=80,
    gamma=0.9,
    hidden=(16,),
    anneal=True,
)
PQN = agents.PQNConfig(
    total_steps=20_000, num_envs=8, rollout_length=16, epochs=4, minibatches=4, gamma=0.9, hidden=(16,)
)
QUICK_PROBE = ("Probe-ActionReward",)
SLOW_PROBES = ("Probe-TimeLimit", "Probe-FinalObservation")
CASES = {
    "dqn": (agents.dqn, DQN),
    "dqn, prioritised, 3 steps": (
        agents.dqn,
        dataclasses.replace(DQN, prioritized=True, n_step=3),
    ),
    "dqn, soft target, single": (
        agents.dqn,
        dataclasses.replace(DQN, target_rate=0.05, target_interval=8, double=False, loss="huber"),
    ),
    "pqn": (agents.pqn, PQN),
}


def adam(learning_rate, num_updates):
    return optax.adam(learning_rate, eps=1e-5)


def train(case, env_id, optimizer=adam, rate=1e-2, **changes):
    make, config = CASES[case]
    config = dataclasses.replace(config, **changes)
    env = envs.make(env_id, config.num_envs) if isinstance(env_id, str) else env_id
    agent = make(env, config, optimizer)
    state = agent.init(jax.random.key(0), agent.hyperparams(rate))
    run = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=config.num_iterations))
    state, metrics = run(state)
    network = networks.q_network(config.network, (1,), 2, config.hidden, config.activation, layer_norm=case == "pqn")
    return agent, state, metrics, lambda obs: np.asarray(network.apply(state.params, jnp.full((1, 1), obs)))[0]


@pytest.mark.parametrize("case", by_default(list(CASES), "dqn", "dqn, soft target, single", "pqn"))
def test_probe_values_and_actions_are_learned(case, learned_from_probes):
    # Variants of DQN are tried on what they could get wrong: which action, and what lies beyond an end.
    make, config = CASES[case]
    # A value of 5 at a discount of 0.8 takes many bootstraps.
    config = dataclasses.replace(config, total_steps=30_000, gamma=0.8)
    agent = functools.partial(make, config=config, optimizer=adam)
    env_ids = probes.ids() if case in ("dqn", "pqn") else [*QUICK_PROBE, *SLOW_PROBES]
    found = learned_from_probes(env_ids, config.num_envs, agent, 1e-2, config.num_iterations)
    network = networks.q_network(config.network, (1,), 2, config.hidden, config.activation, layer_norm=case == "pqn")
    apply = jax.jit(network.apply)

    def values(env_id, observation):
        return apply(found[env_id], jnp.full((1, 1), observation))[0]

    for env_id in found:
        for observation, value in probes.VALUES[env_id].items():
            got = values(env_id, observation).max()
            np.testing.assert_allclose(
                got, value(config.gamma), rtol=0.05, atol=0.02, err_msg=f"{env_id}, at {observation}"
            )
    np.testing.assert_allclose(values("Probe-ActionReward", 0.0), [-1, 1], atol=0.05)
    if case in ("dqn", "pqn"):
        best = [int(np.argmax(values("Probe-ObservationActionReward", x))) for x in (1.0, -1.0)]
        assert best == [1, 0]


@pytest.mark.parametrize(
    "case", by_default(["dqn", "dqn, prioritised, 3 steps", "pqn"], "dqn, prioritised, 3 steps", "pqn")
)
def test_autoreset_steps_are_not_learned_from(with_autoreset_steps, case):
    env = with_autoreset_steps(envs.make("Probe-ConstantReward", CASES[case][1].num_envs))
    _, _, metrics, values = train(case, env)
    np.testing.assert_allclose(values(0.0), [1.0, 1.0], rtol=0.02)
    np.testing.assert_allclose(metrics.return_sum, metrics.num_episodes)


def test_three_step_transitions_are_what_the_steps_add_up_to():
    # Probe-FinalObservation: observations 0, 1, 1, 1, 1, rewards 0, 1, 1, 1, 1, then a cut and 0 is shown again.
    config = dataclasses.replace(DQN, n_step=3, total_steps=480)
    agent = agents.dqn(envs.make("Probe-FinalObservation", config.num_envs), config, adam)
    state = agent.init(jax.random.key(0), agent.hyperparams(1e-2))
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=40))(state)
    data = jax.tree.map(lambda x: np.asarray(x)[: int(state.replay.size)], state.replay.data)
    kinds = {
        # From observation 0: rewards 0, 1, 1. From 1: three rewards, or two or one before the cut; all go on from 1.
        (0.0, round(0.9 + 0.81, 4), round(0.9**3, 4), 1.0),
        *((1.0, round(sum(0.9**i for i in range(m)), 4), round(0.9**m, 4), 1.0) for m in (1, 2, 3)),
    }
    rows = zip(data.obs[:, 0], data.reward, data.factor, data.next_obs[:, 0], strict=True)
    found = [tuple(round(float(x), 4) for x in row) for row in rows]
    assert set(found) == kinds
    assert len(found) == 80 * config.num_envs - 2 * config.num_envs  # the last two steps still wait for their rewards
    assert found.count((0.0, 1.71, 0.729, 1.0)) == 16 * config.num_envs


@pytest.mark.parametrize("case", by_default(["dqn", "pqn"], "dqn"))
def test_population_members_equal_single_runs(case):
    make, config = CASES[case]
    agent = make(envs.make("CartPole-v1", config.num_envs), config, adam)
    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.asarray([1e-3, 1e-2])

    def run(key, rate):
        state = agent.init(key, agent.hyperparams(rate))
        return jax.lax.scan(lambda s, _: agent.step(s), state, None, length=60)[0].params

    together = jax.jit(jax.vmap(run))(keys, rates)
    for i in range(2):
        single = jax.jit(run)(keys[i], rates[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4, rtol=1e-3), together, single)


@pytest.mark.parametrize("case", by_default(["dqn", "pqn"], "pqn"))
def test_the_optimizer_gets_the_loss_and_the_number_of_updates(case):
    seen = {}

    def recording(learning_rate, num_updates):
        seen["num_updates"] = num_updates

        def update(updates, state, params=None, *, value, **extra):
            seen["value_shape"] = value.shape
            return jax.tree.map(jnp.zeros_like, updates), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    train(case, "Probe-ConstantReward", recording)
    assert seen == {"num_updates": CASES[case][1].num_updates, "value_shape": ()}


def test_nothing_is_learned_before_there_is_enough_to_learn_from():
    _, state, metrics, _ = train("dqn", "Probe-ConstantReward", total_steps=800)
    warmup = DQN.warmup_iterations
    assert warmup == 50
    assert not np.any(metrics.loss[:warmup])
    assert np.all(metrics.loss[warmup:] > 0)
    counts = [int(x) for x in jax.tree.leaves(state.opt_state) if x.dtype == jnp.int32]
    assert set(counts) == {dataclasses.replace(DQN, total_steps=800).num_updates}


def test_a_population_computes_no_update_before_learning_starts():
    computed = []

    def counting(learning_rate, num_updates):
        inner = optax.adam(learning_rate)

        def update(updates, state, params=None):
            jax.debug.callback(lambda: computed.append(1))
            return inner.update(updates, state, params)

        return optax.GradientTransformation(inner.init, update)

    config = dataclasses.replace(DQN, total_steps=800)
    agent = agents.dqn(envs.make("Probe-ConstantReward", config.num_envs), config, counting)
    population = jax.jit(jax.vmap(jax.vmap(agent.init, (0, None)), (None, 0)))  # rates x seeds
    rates = jax.vmap(agent.hyperparams)(jnp.asarray([1e-3, 1e-2]))
    state = population(jax.random.split(jax.random.key(0), 2), rates)
    step = jax.jit(jax.vmap(jax.vmap(agent.step)))
    for _ in range(config.warmup_iterations):
        state, _ = step(state)
    jax.effects_barrier()
    assert not computed
    step(state)
    jax.effects_barrier()
    assert computed


def test_the_target_network_is_copied_when_due():
    # Probe-TwoStep bootstraps; with a target that is never copied the value of the first state cannot follow.
    _, state, _, values = train("dqn", "Probe-TwoStep", target_interval=10**6)
    assert abs(values(0.0).max() - 0.9) > 0.1
    agent = agents.dqn(envs.make("Probe-TwoStep", 4), DQN, adam)
    start = agent.init(jax.random.key(0), agent.hyperparams(3e-3))
    jax.tree.map(np.testing.assert_array_equal, state.target_params, start.params)


def test_epsilon_falls_linearly_and_random_actions_are_that_frequent():
    _, _, metrics, _ = train("dqn", "Probe-ConstantReward", exploration_fraction=0.5, epsilon_end=0.1)
    n = len(metrics.epsilon)
    np.testing.assert_allclose(
        np.asarray(metrics.epsilon)[[0, n // 4, n // 2, n - 1]], [1.0, 0.55, 0.1, 0.1], atol=0.01
    )
    noise = exploration.draw(jax.random.key(0), (10_000,), 4)
    chosen = exploration.epsilon_greedy(jnp.asarray([[0.0, 1.0, 0.0, 0.0]]), noise, jnp.float32(0.4))
    np.testing.assert_allclose(np.bincount(chosen) / 10_000, [0.1, 0.7, 0.1, 0.1], atol=0.02)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (
            agents.DQNConfig,
            {"replay_capacity": 100},
            r"replay_capacity \(100\) must hold a batch of batch_size \(128\)",
        ),
        (agents.DQNConfig, {"learning_starts": 10}, r"learning_starts \(10\) must be at least batch_size"),
        (agents.DQNConfig, {"total_steps": 5000}, r"total_steps \(5000\) must go beyond learning_starts \(10000\)"),
        (agents.DQNConfig, {"target_rate": 0.0}, r"target_rate must lie in \(0, 1\], got 0.0"),
        (agents.DQNConfig, {"epsilon_end": 2.0}, r"epsilon_end must lie in \[0, 1\], got 2.0"),
        (agents.DQNConfig, {"loss": "hubr"}, "loss must be one of squared, huber, got 'hubr'"),
        (agents.DQNConfig, {"n_step": 0}, "n_step must be at least 1, got 0"),
        (agents.PQNConfig, {"minibatches": 3}, "batch of 2048 .* does not divide into 3 minibatches"),
        (agents.PQNConfig, {"q_lambda": -1.0}, r"q_lambda must lie in \[0, 1\], got -1.0"),
        (agents.PQNConfig, {"total_steps": 10}, r"total_steps \(10\) must cover one rollout of 2048"),
    ],
)
def test_impossible_settings_are_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes).check()


@pytest.mark.parametrize("name", ["dqn", "pqn"])
def test_continuous_actions_and_unfit_observations_are_refused(name):
    make, config = CASES[name]
    with pytest.raises(ValueError, match=f"{name} needs discrete actions; Pendulum-v1 has Box"):
        make(envs.make("Pendulum-v1", config.num_envs), config, adam)
    with pytest.raises(ValueError, match="network 'minatar' needs observations"):
        make(envs.make("CartPole-v1", config.num_envs), dataclasses.replace(config, network="minatar"), adam)
