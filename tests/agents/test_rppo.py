"""PPO with a memory: what it remembers, where it forgets, and what it learns from."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents import actions, recurrent, rppo_agent
from agents.base import recurrence
from agents.rollout import forget
from envs import probes

CONFIG = agents.RPPOConfig(
    *(20_000, 8),
    rollout_length=32,
    sequence_length=16,
    epochs=4,
    minibatches=2,
    hidden=(16,),
    memory_size=16,
    gamma=0.9,
    entropy_coef=0.0,
)
DELAY = 4


def adam(learning_rate, num_updates):
    return optax.adam(learning_rate, eps=1e-5)


def remember(num_envs):
    """A bit is shown, +-1, then nothing for some steps; at the last, when asked for it, the action must name it.

    Observations: the bit at first and 0 afterwards; how far the episode is.
    """

    def drawn(key):
        return jax.random.rademacher(key, (num_envs,), jnp.float32)

    def shown(bit, time):
        return jnp.stack([jnp.where(time == 0, bit, 0.0), time / DELAY], -1)

    def reset(key):
        bit, time = drawn(key), jnp.zeros(num_envs, jnp.int32)
        return (bit, time), shown(bit, time)

    def step(key, state, action):
        bit, time = state
        asked = time == DELAY
        reward = jnp.where(asked, jnp.where((action == 1) == (bit > 0), 1.0, -1.0), 0.0)
        final = shown(bit, time + 1)
        state = jnp.where(asked, drawn(key), bit), jnp.where(asked, 0, time + 1)
        no, yes = jnp.zeros(num_envs, bool), jnp.ones(num_envs, bool)
        length = jnp.where(asked, DELAY + 1, 0)
        return state, envs.TimeStep(shown(*state), reward, asked, no, final, yes, reward, length)

    spec = envs.EnvSpec("remember", num_envs, (2,), jnp.dtype("float32"), envs.Discrete(2), None)
    return envs.VectorEnv(spec, reset, step)


def train(env, config=CONFIG, rate=0.01):
    agent = agents.rppo(env, config, adam)
    state = agent.init(jax.random.key(0), agent.hyperparams(rate))
    return agent, *jax.jit(lambda s: jax.lax.scan(lambda s, _: agent.step(s), s, None, config.num_iterations))(state)


def test_a_fact_is_remembered_until_it_is_asked_for():
    agent, state, measured = train(remember(CONFIG.num_envs))
    mean = np.asarray(measured.return_sum) / np.asarray(measured.num_episodes)
    assert abs(mean[0]) < 0.5
    assert mean[-1] == 1
    found = agents.evaluate(agent, remember(64), agent.policy(state), jax.random.key(1), max_steps=DELAY + 1)
    np.testing.assert_array_equal(found.returns, 1.0)
    # Without what it saw before, as at the first step of an episode, it can only guess.
    asked = jnp.asarray([[0.0, 1.0]])
    assert agent.act(agent.policy(state), asked, jax.random.key(0)).shape == (1,)
    # The value of the first observation is that of a right answer after the delay.
    model = recurrent.actor_critic(CONFIG, (2,), 2, False, None)
    _, _, value = model.step(state.params, model.start(2), jnp.asarray([[1.0, 0.0], [-1.0, 0.0]]))
    np.testing.assert_allclose(value, CONFIG.gamma**DELAY, atol=0.05)


@pytest.mark.parametrize(
    "env_id",
    [
        pytest.param("Probe-ObservationActionReward", marks=pytest.mark.slow),
        pytest.param("Probe-FinalObservation", marks=pytest.mark.slow),
        pytest.param("Probe-TimeLimit", marks=pytest.mark.slow),
    ],
)
def test_probe_values_and_actions_are_learned(env_id):
    # Sequences that go over the ends of episodes; the memory of one must not reach into the next.
    agent, state, _ = train(envs.make(env_id, CONFIG.num_envs))
    model = recurrent.actor_critic(CONFIG, (1,), 2, False, None)
    memory = model.start(1)
    for observation, value in probes.VALUES[env_id].items():
        after, _, got = model.step(state.params, memory, jnp.full((1, 1), observation))
        np.testing.assert_allclose(got[0], value(CONFIG.gamma), rtol=0.05, err_msg=f"value of {observation}")
        if env_id == "Probe-FinalObservation":
            memory = after  # the second observation is seen after the first
    if env_id == "Probe-ObservationActionReward":
        actions = agent.act(agent.policy(state), jnp.asarray([[1.0], [-1.0]]), jax.random.key(0))
        np.testing.assert_array_equal(actions, [1, 0])


def resets_in_a_step_of_its_own(inner):
    """The same environment, but the next episode starts in a step of its own, as envpool has it."""

    def step(key, state, action):
        (hidden, obs), over = state
        after, real = inner.step(key, hidden, action)
        keep = jax.tree.map(lambda a, b: jnp.where(over.reshape(-1, *(1,) * (a.ndim - 1)), a, b), hidden, after)
        shown = jnp.where(over[:, None], obs, real.final_obs)
        done = real.terminated & ~over
        timestep = real._replace(obs=shown, final_obs=shown, terminated=done, valid=~over)
        return ((keep, real.obs), done), timestep

    def reset(key):
        state, obs = inner.reset(key)
        return ((state, obs), jnp.zeros(inner.spec.num_envs, bool)), obs

    return envs.VectorEnv(dataclasses.replace(inner.spec, next_step_reset=True), reset, step)


@pytest.mark.parametrize("next_step_reset", [pytest.param(False, marks=pytest.mark.slow), True])
def test_learning_sees_what_acting_saw(next_step_reset):
    """Before any update, sequences give the values and probabilities of the rollout: memories are put back rightly."""
    env = remember(CONFIG.num_envs)
    env = resets_in_a_step_of_its_own(env) if next_step_reset else env
    head = actions.make(env.spec.action_space, "clip")
    model = recurrent.actor_critic(CONFIG, (2,), 2, False, None)
    agent = agents.rppo(env, CONFIG, adam)
    state = agent.init(jax.random.key(0), agent.hyperparams(0.01))

    def batch(state):
        memory, _, obs, found, noise = rppo_agent.collect(
            env, model, head, CONFIG, state, jax.random.split(jax.random.key(1), 3)
        )
        return found, rppo_agent.targets(env, model, CONFIG, state, found, noise, memory, obs)[0]

    state, _ = jax.jit(agent.step)(state)  # so that the first sequence begins within an episode
    assert np.any(np.asarray(state.memory) != 0)
    found, learned = jax.jit(batch)(state)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), learned)
    assert flat.obs.obs.shape == (2 * CONFIG.num_envs, 16, 2)
    outputs, values = model.apply(state.params, flat.obs)
    np.testing.assert_allclose(values, flat.value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(head.log_prob(outputs, flat.action), flat.log_prob, rtol=1e-4, atol=1e-5)
    # What is remembered at the beginning of an episode is nothing, and of the end that is shown, everything.
    first = np.asarray(found.steps.obs)[..., 1] == 0
    before = np.asarray(found.extras.before)
    assert not np.any(before[first])
    assert np.all(np.any(before[~first] != 0, axis=-1))
    if next_step_reset:
        assert not np.all(found.steps.valid)


def test_the_unit_is_flaxs():
    ours, theirs = recurrent.GRU(5), nn.GRUCell(5)
    x, h = jax.random.normal(jax.random.key(0), (6, 3, 4)), jax.random.normal(jax.random.key(1), (3, 5))
    over = jnp.zeros((6, 3), bool).at[2, 1].set(True)
    params = ours.init(jax.random.key(2), x, h, over)
    mine = jax.tree.map(lambda p: p + 0.1, params["params"])  # biases are zeros at first
    letters = {"reset": "r", "update": "z", "candidate": "n"}
    named = {f"i{c}": {"kernel": mine[f"{g}_kernel"], "bias": mine[f"{g}_bias"]} for g, c in letters.items()}
    named |= {f"h{c}": {"kernel": mine[f"{g}_recurrent_kernel"]} for g, c in letters.items()}
    named["hn"]["bias"] = mine["candidate_recurrent_bias"]
    found, after = ours.apply({"params": mine}, x, h, over)
    for t in range(6):
        h, expected = theirs.apply({"params": named}, h, x[t])
        np.testing.assert_allclose(found[t], expected, rtol=1e-5, atol=1e-6)
        h = forget(h, over[t])
    np.testing.assert_allclose(after, h, rtol=1e-5, atol=1e-6)
    alone, same = ours.apply({"params": mine}, x[:1], jnp.zeros((3, 5)), over[:1])
    np.testing.assert_allclose(alone[0], same)


def test_gradients_end_where_a_sequence_or_an_episode_begins():
    model = recurrent.actor_critic(CONFIG, (2,), 2, False, None)
    obs = jax.random.normal(jax.random.key(0), (1, 6, 2))
    params = model.init(jax.random.key(1), obs[:, 0])

    @jax.jit
    @jax.grad
    def gradient(obs, over):
        return model.apply(params, recurrent.Seen(model.start(1), obs, over))[1][0, -1]

    over = jnp.zeros((1, 6), bool)
    through = gradient(obs, over)
    assert np.all(np.any(through[0] != 0, axis=-1))
    cut = gradient(obs, over.at[0, 2].set(True))
    np.testing.assert_array_equal(np.any(cut[0] != 0, axis=-1), [False] * 3 + [True] * 3)


@pytest.mark.slow
def test_population_members_equal_single_runs():
    config = dataclasses.replace(CONFIG, total_steps=512)
    agent = agents.rppo(remember(8), config, adam)
    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.asarray([1e-3, 1e-2])

    def run(key, rate):
        return agents.train(agent, key, agent.hyperparams(rate), config.num_iterations)[0].params

    together, alone = jax.jit(jax.vmap(run))(keys, rates), jax.jit(run)
    for i in range(2):
        single = alone(keys[i], rates[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4, rtol=1e-3), together, single)


class Own(nn.Module):
    """An average over the episode, two layers behind it."""

    num_outputs: int

    @nn.compact
    def __call__(self, memory, obs):
        memory = 0.5 * memory + nn.Dense(memory.shape[-1], name="input")(obs)
        return (
            memory,
            nn.Dense(self.num_outputs, name="policy_head")(memory),
            nn.Dense(1, name="value_head")(memory)[:, 0],
        )


def test_a_module_of_ones_own_is_trained():
    config = dataclasses.replace(CONFIG, total_steps=1024)
    agent = agents.make(remember(8), config, adam, Own(2))
    state, measured = jax.jit(lambda key: agents.train(agent, key, agent.hyperparams(0.01), 4))(jax.random.key(0))
    assert np.all(np.isfinite(measured.loss))
    assert set(state.params["params"]) == {"input", "policy_head", "value_head"}
    assert state.memory.shape == (8, 16)
    how = recurrence(agent)
    memory, chosen = how.act(agent.policy(state), how.start(8), state.obs, jax.random.key(0))
    np.testing.assert_array_equal(chosen, agent.act(agent.policy(state), state.obs, jax.random.key(0)))
    assert np.any(memory != 0)
    with pytest.raises(
        ValueError, match=r"must return \(memory \[B, 16\], actor outputs \[B, 2\], values \[B\]\); for"
    ):
        agents.rppo(remember(8), config, adam, Own(3))
    with pytest.raises(ValueError, match=r"does not take \(memory \[B, 16\], observations \[B, 2\]\)"):
        agents.rppo(remember(8), config, adam, nn.Dense(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 24}, "a rollout of 128 steps does not divide into sequences of sequence_length 24"),
        ({"minibatches": 32}, "16 sequences of 128 steps .* do not divide into 32 minibatches"),
        ({"sequence_length": 0}, "sequence_length must be at least 1, got 0"),
        ({"memory_size": 0}, "memory_size must be at least 1, got 0"),
        ({"network": "shared_mlp"}, "unknown network 'shared_mlp'; there are mlp, minatar, nature, small"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        agents.RPPOConfig(**changes).check()


def test_each_agent_takes_its_own_configuration():
    with pytest.raises(ValueError, match="a configuration must be one of"):
        agents.make(remember(8), 3, adam)
    assert agents.make(remember(8), CONFIG, adam).recurrence is not None
    assert agents.make(remember(4), agents.PPOConfig(), adam).recurrence is None
