"""SAC on probe environments, what its parts are told, and what it refuses."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents import actions, sac_agent, sac_losses, sac_model
from agents.replay import Transition
from envs import probes
from helpers import by_default

CONFIG = agents.SACConfig(
    *(12_000, 4),
    steps_per_iteration=2,
    updates_per_iteration=2,
    batch_size=32,
    replay_capacity=2000,
    learning_starts=400,
    target_rate=0.05,
    gamma=0.9,
    temperature_rate=3.0,
    anneal=True,
    hidden=(32,),
)
BOX = envs.Box(np.float32([-2]), np.float32([3]), (1,))
BEST = 1.2


def adam(learning_rate, num_updates):
    return optax.adam(learning_rate, eps=1e-5)


def probe(env_id, num_envs=CONFIG.num_envs):
    """A probe environment whose outcome does not depend on the action, with actions in a box."""
    env = envs.make(env_id, num_envs)
    return dataclasses.replace(env, spec=dataclasses.replace(env.spec, action_space=BOX))


def target(delay, num_envs=CONFIG.num_envs):
    """Reward -(a - 1.2)^2 for the first action of an episode, paid at its end, `delay` steps later.

    Observations: the time, and in later steps the first action, which the reward is still owed for.
    """
    n = num_envs

    def shown(time, first):
        return jnp.stack([time / 4.0, first], -1)

    def reset(key):
        return (jnp.zeros(n, jnp.int32), jnp.zeros(n)), jnp.zeros((n, 2))

    def step(key, state, action):
        assert action.shape == (n, 1)
        time, first = state
        first = jnp.where(time == 0, action[:, 0], first)
        over = time == delay
        reward = jnp.where(over, -jnp.square(first - BEST), 0.0)
        after = jnp.where(over, 0, time + 1), jnp.where(over, 0.0, first)
        no, yes = jnp.zeros(n, bool), jnp.ones(n, bool)
        return after, envs.TimeStep(
            shown(*after), reward, over, no, shown(time + 1, first), yes, reward, jnp.where(over, delay + 1, 0)
        )

    return envs.VectorEnv(envs.EnvSpec("target", n, (2,), jnp.dtype("float32"), BOX, None), reset, step)


def train(env, config=CONFIG, optimizer=adam, rate=3e-3):
    agent = agents.sac(env, config, optimizer)
    state = agent.init(jax.random.key(0), agent.hyperparams(rate))
    run = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, config.num_iterations))
    return agent, *run(state)


def values(state, obs, config=CONFIG):
    model = sac_model.make(config, (len(obs),), 1, None)
    obs = jnp.asarray([obs], jnp.float32)
    action = jnp.tanh(model.actor(state.params["actor"], obs)[:, :1])
    return np.asarray(model.critic(state.params["critic"], obs, action))[:, 0]


@pytest.mark.parametrize(
    "env_id",
    by_default(["Probe-ObservationReward", "Probe-TwoStep", "Probe-FinalObservation"], "Probe-FinalObservation"),
)
def test_probe_values_are_learned(env_id):
    # The actions change nothing, so that nothing stands against entropy above its target: the temperature goes to 0.
    config = dataclasses.replace(CONFIG, total_steps=24_000) if env_id == "Probe-FinalObservation" else CONFIG
    _, state, measured = train(probe(env_id), config)
    assert measured.temperature[-1] < 0.05
    for observation, value in probes.VALUES[env_id].items():
        np.testing.assert_allclose(values(state, [observation]), value(0.9), rtol=0.05, atol=0.03)


@pytest.mark.parametrize("delay", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_the_best_action_is_found_at_once_and_after_a_delay(delay):
    agent, state, measured = train(target(delay))
    policy = agent.policy(state)
    action = agent.act(policy, jnp.zeros((1, 2)), jax.random.key(0))
    np.testing.assert_allclose(action, [[BEST]], atol=0.15)
    samples = agent.act(policy, jnp.zeros((500, 2)), jax.random.key(0), greedy=False)
    assert -2 <= float(samples.min()) < float(samples.max()) <= 3
    if delay == 0:  # where every action counts, the entropy becomes what it should be
        np.testing.assert_allclose(measured.entropy[-200:].mean(), -1.0, atol=0.25)
    np.testing.assert_allclose(values(state, [0.0, 0.0]), 0.0, atol=0.2)


# Its replay is DQN's, of which test_q_learning.py tries it.
@pytest.mark.slow
def test_autoreset_steps_are_not_learned_from(with_autoreset_steps):
    _, state, measured = train(with_autoreset_steps(probe("Probe-ConstantReward")))
    np.testing.assert_allclose(values(state, [0.0]), 1.0, rtol=0.03)
    np.testing.assert_allclose(measured.return_sum, measured.num_episodes)


def test_targets_by_hand():
    """r + factor (min Q - temperature log pi): the density of tanh(u) is the normal one over 1 - tanh(u)^2."""
    head = actions.gaussian(BOX, "tanh")
    model = sac_model.SACModel(
        init=None,
        actor=lambda params, obs: jnp.concatenate([obs, jnp.full_like(obs, params)], -1),
        critic=lambda params, obs, action: jnp.stack([obs[:, 0] + action[:, 0], params * obs[:, 0] - action[:, 0]]),
        actor_dormancy=None,
        critic_dormancy=None,
    )
    obs = jnp.asarray([[0.3], [-0.7]])
    rows = Transition(obs, obs, jnp.asarray([1.0, 2.0]), jnp.asarray([0.9, 0.0]), obs)
    noise = jnp.asarray([[0.5], [-1.0]])
    found = sac_losses.soft_targets(model, head, np.log(0.4), 2.0, jnp.float32(0.2), rows, noise)
    u = 0.3 + 0.4 * 0.5
    log_prob = -0.5 * 0.5**2 - np.log(0.4 * np.sqrt(2 * np.pi)) - np.log(1 - np.tanh(u) ** 2)
    value = min(0.3 + np.tanh(u), 2 * 0.3 - np.tanh(u))
    np.testing.assert_allclose(found, [1 + 0.9 * (value - 0.2 * log_prob), 2.0], rtol=1e-5)
    loss, entropy = sac_losses.actor_loss(model, head, np.log(0.4), 2.0, jnp.float32(0.2), obs[:1], noise[:1])
    np.testing.assert_allclose([loss, entropy], [0.2 * log_prob - value, -log_prob], rtol=1e-5)
    loss, _ = sac_losses.critic_loss(model, 2.0, rows, jnp.zeros(2))
    both = np.square([[0.6, -1.4], [0.3, -0.7]]).mean(1) / 2
    np.testing.assert_allclose(loss, both.sum(), rtol=1e-5)


def test_actions_are_uniform_and_nothing_is_learned_before_there_is_enough_to_learn_from():
    config = dataclasses.replace(CONFIG, total_steps=16_000, learning_starts=8_000, replay_capacity=8_000)
    agent = agents.sac(probe("Probe-FinalObservation"), config, adam)
    start = agent.init(jax.random.key(0), agent.hyperparams(1e-2))
    advance = jax.jit(lambda s, n: jax.lax.fori_loop(0, n, lambda _, s: agent.step(s)[0], s))
    state = advance(start, config.warmup_iterations)
    kept = np.asarray(state.replay.data.action)
    assert int(state.replay.size) == 8_000
    np.testing.assert_allclose([kept.mean(), kept.var(), (kept > 0.9).mean()], [0, 1 / 3, 0.05], atol=0.02)
    jax.tree.map(np.testing.assert_array_equal, (state.params, state.opt_state), (start.params, start.opt_state))
    # A time limit is no end.
    np.testing.assert_allclose(state.replay.data.factor, 0.9)
    after = advance(state, 1)
    for part in sac_agent.PARTS:
        pairs = zip(*map(jax.tree.leaves, (after.params[part], start.params[part])), strict=True)
        assert all(np.any(a != b) for a, b in pairs)
    # Copies of the critics follow by their share, once per update.
    changed = jax.tree.map(lambda old, new: np.abs(new - old).max(), start.target_params, after.target_params)
    moved = jax.tree.map(lambda old, new: np.abs(new - old).max(), start.params["critic"], after.params["critic"])
    for a, b in zip(*map(jax.tree.leaves, (changed, moved)), strict=True):
        assert 0 < a < 0.1 * b


def recorder(name, seen, asked=()):
    """An optimizer that keeps the rate and what it was told last, and moves nothing."""

    def factory(learning_rate, num_updates):
        seen[name] = num_updates

        def update(updates, state, params=None, *, value, progress, epoch, is_actor, key, dormancy):
            assert set(is_actor) == {name}
            assert set(jax.tree.leaves(is_actor)) == {name == "actor"}
            if asked:
                assert jax.tree.structure(dormancy()) == jax.tree.structure(params)
            now = {"rate": learning_rate, "value": value, "progress": progress, "epoch": epoch}
            return jax.tree.map(jnp.zeros_like, updates), jax.tree.map(jnp.float32, now)

        nothing = dict.fromkeys(("rate", "value", "progress", "epoch"), jnp.float32(0))
        return optax.GradientTransformationExtraArgs(lambda params: nothing, update)

    return factory


def test_every_part_has_an_optimizer_that_is_told_of_it():
    config = dataclasses.replace(CONFIG, total_steps=480, anneal=False)
    seen = {}
    factories = {part: recorder(part, seen, asked=("dormancy",)) for part in sac_agent.PARTS}
    agent = agents.make(probe("Probe-TimeLimit"), config, factories)
    state = agent.init(jax.random.key(0), agent.hyperparams(0.1, actor_rate=0.5, temperature_rate=3.0))
    state, measured = jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, config.num_iterations))(state)
    assert seen == dict.fromkeys(sac_agent.PARTS, config.num_updates) == dict.fromkeys(sac_agent.PARTS, 20)
    told = {part: state.opt_state[part][1] for part in sac_agent.PARTS}
    np.testing.assert_allclose([told[part]["rate"] for part in sac_agent.PARTS], [0.1, 0.05, 0.3], rtol=1e-6)
    for part, name in (("critic", "loss"), ("actor", "actor_loss"), ("temperature", "temperature_loss")):
        assert told[part]["value"] != 0
        assert told[part]["epoch"] == 0
        np.testing.assert_allclose(told[part]["progress"], 19 / 20)
        assert np.all(np.asarray(getattr(measured, name))[config.warmup_iterations :] != 0)
    with pytest.raises(ValueError, match="optimizers must be given for critic, actor, temperature, got actor"):
        agents.sac(probe("Probe-TimeLimit"), config, {"actor": adam})


@pytest.mark.slow
def test_population_members_equal_single_runs():
    # Few updates: Adam makes much of a gradient that is zero but for rounding, and then the agents act differently.
    config = dataclasses.replace(CONFIG, total_steps=440)
    agent = agents.sac(envs.make("Pendulum-v1", 4), config, adam)
    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.asarray([1e-3, 1e-2])

    def run(key, rate):
        return agents.train(agent, key, agent.hyperparams(rate), config.num_iterations)[0].params

    together, alone = jax.jit(jax.vmap(run))(keys, rates), jax.jit(run)
    for i in range(2):
        single = alone(keys[i], rates[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4, rtol=1e-3), together, single)


class Actor(nn.Module):
    """One layer."""

    num_outputs: int

    @nn.compact
    def __call__(self, obs):
        return nn.Dense(self.num_outputs, name="policy_head")(obs)


class Critic(nn.Module):
    """One layer."""

    @nn.compact
    def __call__(self, obs, action):
        return nn.Dense(1, name="value_head")(jnp.concatenate([obs, action], -1))[:, 0]


def test_networks_of_ones_own():
    config = dataclasses.replace(CONFIG, total_steps=480)
    env = probe("Probe-TimeLimit")
    agent = agents.make(env, config, adam, (Actor(2), Critic()))
    state = agent.init(jax.random.key(0), agent.hyperparams(1e-2))
    after, _ = jax.jit(agent.step)(state._replace(iteration=jnp.int32(config.warmup_iterations)))
    assert set(after.params["critic"]["first"]["params"]) == {"value_head"}
    first, second = (after.params["critic"][name]["params"]["value_head"]["kernel"] for name in sac_model.TWINS)
    assert np.any(first != second)
    assert agent.act(agent.policy(after), after.obs, jax.random.key(0)).shape == (4, 1)
    with pytest.raises(ValueError, match="the network must be a pair of networks, actor and critic"):
        agents.sac(env, config, adam, Actor(2))
    with pytest.raises(
        ValueError, match=r"the actor of the network must return \(3, 2\) for 3 observations, got \(3, 1"
    ):
        agents.sac(env, config, adam, (Actor(1), Critic()))
    with pytest.raises(ValueError, match="the critic of the network does not take"):
        agents.sac(env, config, adam, (Actor(2), Actor(2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay_capacity": 100}, r"replay_capacity \(100\) must hold a batch of batch_size \(256\)"),
        ({"learning_starts": 10}, r"learning_starts \(10\) must be at least batch_size \(256\)"),
        ({"total_steps": 500}, r"total_steps \(500\) must go beyond learning_starts \(1000\)"),
        ({"target_rate": 0.0}, r"target_rate must lie in \(0, 1\], got 0.0"),
        ({"initial_temperature": 0.0}, "initial_temperature must be positive and finite, got 0.0"),
        ({"entropy_per_action": float("nan")}, "entropy_per_action must be finite, got nan"),
        ({"network": "minatar"}, "unknown network 'minatar'; there are mlp, and module:name of your own"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        agents.SACConfig(**changes).check()


def test_discrete_actions_are_refused():
    with pytest.raises(ValueError, match=r"sac needs continuous actions; CartPole-v1 has Discrete\(n=2\); use ppo"):
        agents.sac(envs.make("CartPole-v1", 4), CONFIG, adam)
