"""PPO on probe environments, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents import metrics, networks
from envs import probes
from helpers import by_default

CONFIG = agents.PPOConfig(
    total_steps=20_000, num_envs=8, rollout_length=32, epochs=4, minibatches=2, hidden=(16,), anneal=True, gamma=0.9
)


def adam(learning_rate, num_updates):
    return optax.adam(learning_rate, eps=1e-5)


def train(env_id, config=CONFIG, optimizer=adam, rate=0.01, seed=0):
    env = envs.make(env_id, config.num_envs)
    agent = agents.ppo(env, config, optimizer)
    state = agent.init(jax.random.key(seed), agent.hyperparams(rate))
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=config.num_iterations))(state)
    return agent, state


def test_probe_values_and_actions_are_learned(learned_from_probes):
    def make(env):
        return agents.ppo(env, CONFIG, adam)

    found = learned_from_probes(probes.ids(), CONFIG.num_envs, make, 0.01, CONFIG.num_iterations)
    network = networks.actor_critic("mlp", (1,), 2, CONFIG.hidden, CONFIG.activation)
    outputs = jax.jit(network.apply)
    for env_id, values in probes.VALUES.items():
        for observation, value in values.items():
            _, got = outputs(found[env_id], jnp.full((1, 1), observation))
            np.testing.assert_allclose(got, [value(CONFIG.gamma)], rtol=0.01, err_msg=f"{env_id}, at {observation}")
    for env_id, observation, best in (
        ("Probe-ActionReward", 0.0, 1),
        ("Probe-ObservationActionReward", 1.0, 1),
        ("Probe-ObservationActionReward", -1.0, 0),
    ):
        logits, _ = outputs(found[env_id], jnp.full((1, 1), observation))
        assert int(jnp.argmax(logits)) == best, (env_id, observation)


def test_taking_a_time_limit_for_an_end_gives_the_lower_value():
    config = dataclasses.replace(CONFIG, bootstrap_on_truncation=False)
    _, state = train("Probe-TimeLimit", config)
    network = networks.actor_critic("mlp", (1,), 2, CONFIG.hidden, CONFIG.activation)
    value = float(network.apply(state.params, jnp.zeros((1, 1)), method="value")[0])
    # Observations do not show the time, so the critic learns the mean over the five steps: far below 1 / (1 - gamma).
    assert value < 4.0


@pytest.mark.parametrize("normalize", by_default([False, True], True))
def test_autoreset_steps_enter_neither_losses_nor_statistics(with_autoreset_steps, normalize):
    env = with_autoreset_steps(envs.make("Probe-ConstantReward", CONFIG.num_envs))
    config = dataclasses.replace(CONFIG, normalize_observations=normalize, normalize_rewards=normalize)
    agent = agents.ppo(env, config, adam)
    state = agent.init(jax.random.key(0), agent.hyperparams(0.01))
    iterate = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=config.num_iterations))
    state, measured = iterate(state)
    if normalize:
        # All valid observations are 0 and all returns 1.
        np.testing.assert_allclose(state.observations.mean, 0.0, atol=1e-6)
        np.testing.assert_allclose(state.rewards.moments.mean, 1.0, rtol=1e-3)
        assert float(state.rewards.moments.variance) < 1e-3
    else:
        network = networks.actor_critic("mlp", (1,), 2, CONFIG.hidden, CONFIG.activation)
        value = network.apply(state.params, jnp.zeros((1, 1)), method="value")[0]
        np.testing.assert_allclose(value, 1.0, rtol=0.01)
    np.testing.assert_allclose(measured.return_sum, measured.num_episodes)


# Of DQN, test_q_learning.py tries it; of PPO, test_sweep.py with the loop around it.
@pytest.mark.slow
def test_population_members_equal_single_runs():
    config = agents.PPOConfig(total_steps=512, num_envs=4, rollout_length=32, minibatches=2, hidden=(8,))
    env = envs.make("CartPole-v1", 4)
    agent = agents.ppo(env, config, adam)
    keys = jax.random.split(jax.random.key(0), 2)
    rates = jnp.asarray([1e-3, 1e-2])

    def run(key, rate):
        state = agent.init(key, agent.hyperparams(rate))
        return jax.lax.scan(lambda s, _: agent.step(s), state, None, length=4)[0].params

    together = jax.jit(jax.vmap(run))(keys, rates)
    alone = jax.jit(run)
    for i in range(2):
        single = alone(keys[i], rates[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4, rtol=1e-3), together, single)


def test_the_optimizer_gets_the_loss_and_the_number_of_updates():
    seen = {}

    def recording(learning_rate, num_updates):
        seen["num_updates"] = num_updates

        def update(updates, state, params=None, *, value, **extra):
            seen["value_shape"] = value.shape
            return jax.tree.map(lambda g: -learning_rate * g, updates), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    train("Probe-ConstantReward", optimizer=recording)
    assert seen == {"num_updates": CONFIG.num_updates, "value_shape": ()}


def test_initialisation_uses_no_lapack():
    # A batched QR in a vmapped program can hang XLA's CPU backend for ever (see agents/initializers.py).
    env = envs.make("SpaceInvaders-MinAtar", 2)
    config = agents.PPOConfig(num_envs=2, network="minatar", hidden=(16,), activation="relu")
    agent = agents.ppo(env, config, adam)
    init = jax.jit(jax.vmap(agent.init, in_axes=(0, None)))
    text = init.lower(jax.random.split(jax.random.key(0), 4), agent.hyperparams(1e-3)).as_text()
    assert "lapack" not in text
    assert "Qr" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minibatches": 3}, "batch of 512 .* does not divide into 3 minibatches"),
        ({"minibatches": 512}, "512 minibatches leave one sample each, whose standardised advantage is always 0"),
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"gamma": 1.5}, r"gamma must lie in \[0, 1\], got 1.5"),
        ({"total_steps": 100}, r"total_steps \(100\) must cover one rollout of 512"),
        ({"clip_epsilon": -0.1}, "clip_epsilon must be positive"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be positive"),
        ({"hidden": ()}, "hidden must name at least one width"),
        ({"optimizer_loss": "totl"}, "optimizer_loss must be one of total, value, got 'totl'"),
        ({"squash": "tan"}, "squash must be one of clip, tanh, got 'tan'"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        agents.PPOConfig(**changes).check()


@pytest.mark.parametrize("squash", by_default(["clip", "tanh"], "tanh"))
def test_continuous_actions_find_the_target(squash):
    # One step, reward -(a - 1.2)^2 in a box from -2 to 3: the greedy action must become 1.2.
    spec = dataclasses.replace(
        envs.make("Probe-ConstantReward", CONFIG.num_envs).spec,
        action_space=envs.Box(np.float32([-2]), np.float32([3]), (1,)),
    )
    n = CONFIG.num_envs

    def step(key, state, action):
        assert action.shape == (n, 1)
        zeros, no = jnp.zeros((n, 1)), jnp.zeros(n, bool)
        reward = -jnp.square(action[:, 0] - 1.2)
        return state, envs.TimeStep(zeros, reward, ~no, no, zeros, ~no, reward, jnp.ones(n, jnp.int32))

    env = envs.VectorEnv(spec, lambda key: ((), jnp.zeros((n, 1))), step)
    config = dataclasses.replace(CONFIG, squash=squash, entropy_coef=0.0)
    agent = agents.ppo(env, config, adam)
    state = agent.init(jax.random.key(0), agent.hyperparams(0.01))
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, length=config.num_iterations))(state)
    action = agent.act(agent.policy(state), jnp.zeros((1, 1)), jax.random.key(0))
    np.testing.assert_allclose(action, [[1.2]], atol=0.1)
    samples = agent.act(agent.policy(state), jnp.zeros((500, 1)), jax.random.key(0), greedy=False)
    assert -2 <= float(samples.min()) < float(samples.max()) <= 3


def test_a_policy_that_has_moved_too_far_is_not_updated_further():
    env = envs.make("Probe-ActionReward", CONFIG.num_envs)
    thetas, measured = {}, {}
    for first, targets in ((None, (None,)), (1.0, (1e3, 1e-12))):
        agent = agents.ppo(env, dataclasses.replace(CONFIG, target_kl=first), adam)
        step = jax.jit(agent.step)
        for target in targets:
            told = {} if target is None else {"target_kl": target}
            state = jax.jit(agent.init)(jax.random.key(0), agent.hyperparams(0.1, **told))
            thetas[target], measured[target] = step(state)
    same = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), thetas[None].params, thetas[1e3].params)
    assert all(jax.tree.leaves(same))
    count = [x for x in jax.tree.leaves(thetas[1e-12].opt_state) if x.dtype == jnp.int32]
    # The first minibatch finds no distance at all; the second does, and nothing follows.
    assert {int(x) for x in count} == {1}
    # Reported is the update that was made, not those that were not.
    moved = jax.jit(lambda a, b: metrics.rms(jax.tree.map(jnp.subtract, a, b)))(thetas[1e-12].params, state.params)
    np.testing.assert_allclose(measured[1e-12].update_rms, moved, rtol=1e-5)


@pytest.mark.slow
def test_normalised_observations_and_rewards_do_not_change_what_is_best():
    config = dataclasses.replace(CONFIG, normalize_observations=True, normalize_rewards=True)
    agent, state = train("Probe-ObservationActionReward", config)
    actions = agent.act(agent.policy(state), jnp.asarray([[1.0], [-1.0]]), jax.random.key(0))
    np.testing.assert_array_equal(actions, [1, 0])
    np.testing.assert_allclose(state.observations.mean, [0.0], atol=0.02)
    np.testing.assert_allclose(state.observations.variance, [1.0], atol=0.02)
    assert float(state.observations.count) == pytest.approx(
        config.num_iterations * config.env_steps_per_iteration, rel=1e-3
    )


@pytest.mark.parametrize("target_kl", by_default([None, 1e-12], 1e-12))
def test_the_learning_rate_falls_once_per_iteration_whatever_the_kl_stop_drops(target_kl):
    def recording(learning_rate, num_updates):
        def update(updates, state, params=None, **extra):
            return jax.tree.map(lambda g: -learning_rate * g, updates), state.at[0].set(learning_rate)

        return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(1), update)

    config = dataclasses.replace(CONFIG, total_steps=4 * CONFIG.env_steps_per_iteration, target_kl=target_kl)
    agent = agents.ppo(envs.make("Probe-ActionReward", CONFIG.num_envs), config, recording)
    state = agent.init(jax.random.key(0), agent.hyperparams(0.1))
    step, rates = jax.jit(agent.step), []
    for _ in range(4):
        state = step(state)[0]
        rates += [float(x[0]) for x in jax.tree.leaves(state.opt_state) if x.shape == (1,)][-1:]
    np.testing.assert_allclose(rates, [0.1, 0.075, 0.05, 0.025], rtol=1e-5)


@pytest.mark.parametrize("loss", by_default(["total", "value"], "value"))
def test_the_optimizer_is_told_the_chosen_loss(loss):
    def recording(learning_rate, num_updates):
        return optax.GradientTransformationExtraArgs(
            lambda params: jnp.zeros([]),
            lambda updates, state, params=None, *, value, **extra: (jax.tree.map(jnp.zeros_like, updates), value),
        )

    config = dataclasses.replace(CONFIG, optimizer_loss=loss, epochs=1, minibatches=1)
    env = envs.make("Probe-ConstantReward", CONFIG.num_envs)
    agent = agents.ppo(env, config, recording)
    state, measured = jax.jit(lambda key: agent.step(agent.init(key, agent.hyperparams(0.1))))(jax.random.key(0))
    told = [x for x in jax.tree.leaves(state.opt_state) if jnp.shape(x) == () and x.dtype == jnp.float32]
    expected = measured.loss if loss == "total" else measured.value_loss
    np.testing.assert_allclose(told, [expected], rtol=1e-6)


def test_another_number_of_environments_is_refused():
    with pytest.raises(ValueError, match="the environment has num_envs 2, the configuration 4"):
        agents.ppo(envs.make("CartPole-v1", 2), agents.PPOConfig(), adam)
