"""gymnax behind the vectorised interface."""

import sys
import types

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole

import envs
from envs import gymnax as gymnax_envs
from helpers import by_default
from rlopt.commands.listing import ListEnvs


def rollout(env, steps, policy, seed=0):
    """[T, N, ...] of what `step` returned."""

    def body(carry, key):
        state, obs = carry
        state, timestep = env.step(key, state, policy(obs))
        return (state, timestep.obs), timestep

    start = env.reset(jax.random.key(seed))
    return jax.lax.scan(body, start, jax.random.split(jax.random.key(seed + 1), steps))[1]


def test_an_episode_cut_by_the_time_limit_is_truncated_not_terminated():
    env = envs.make("MountainCar-v0", num_envs=3)
    steps = rollout(env, 401, lambda obs: jnp.zeros(3, jnp.int32))
    ends = np.flatnonzero(np.asarray(steps.truncated[:, 0]))
    np.testing.assert_array_equal(ends, [199, 399])
    assert not np.any(steps.terminated)
    np.testing.assert_array_equal(steps.episode_return[199], [-200.0] * 3)
    np.testing.assert_array_equal(steps.episode_length[199], [200] * 3)
    assert env.spec.time_limit == 200


def test_the_final_observation_is_the_one_the_action_led_to():
    env = envs.make("CartPole-v1", num_envs=4)
    steps = rollout(env, 100, lambda obs: jnp.ones(4, jnp.int32))  # always right: the pole falls
    done = np.asarray(steps.terminated)
    assert done.sum() >= 8
    assert not np.any(steps.truncated)
    fallen = np.abs(np.asarray(steps.final_obs)[done][:, 2])
    fresh = np.abs(np.asarray(steps.obs)[done])
    assert np.all(fallen > 0.2)  # beyond the angle limit of 12 degrees
    assert np.all(fresh <= 0.05)  # the start of a new episode
    np.testing.assert_array_equal(np.asarray(steps.obs)[~done], np.asarray(steps.final_obs)[~done])


def test_returns_count_raw_reward_per_episode():
    env = envs.make("CartPole-v1", num_envs=2)
    steps = rollout(env, 200, lambda obs: jnp.ones(2, jnp.int32))
    for i in range(2):
        lengths = np.diff(np.flatnonzero(np.asarray(steps.done[:, i])), prepend=-1)
        ended = np.asarray(steps.episode_length[:, i])
        np.testing.assert_array_equal(ended[ended > 0], lengths)
        np.testing.assert_array_equal(np.asarray(steps.episode_return[:, i])[ended > 0], lengths)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Breakout-MinAtar", "FrozenLake-misc", "BernoulliBandit-misc"])
def test_shapes_and_dtypes_agree_with_the_spec(env_id):
    env = envs.make(env_id, num_envs=2)
    state, obs = env.reset(jax.random.key(0))
    _, timestep = jax.jit(env.step)(jax.random.key(1), state, jnp.zeros(2, jnp.int32))
    for x in (obs, timestep.obs, timestep.final_obs):
        assert x.shape == (2, *env.spec.observation_shape)
        assert x.dtype == env.spec.observation_dtype
    assert timestep.reward.dtype == jnp.float32
    assert timestep.valid.all()


def test_vmap_over_seeds_equals_single_seeds():
    env = envs.make("Acrobot-v1", num_envs=2)
    together = jax.vmap(lambda key: env.reset(key)[1])(jax.random.split(jax.random.key(0), 3))
    for i, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        np.testing.assert_allclose(together[i], env.reset(key)[1], rtol=1e-6)


def test_unknown_id_lists_close_matches_first():
    with pytest.raises(ValueError, match=r"unknown environment 'Cartpole'; the nearest are CartPole-v1, "):
        envs.make("Cartpole", num_envs=1)


def test_without_envpool_there_are_no_atari_games_and_the_reason_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(
        ValueError, match=r"unknown environment 'Pong-v5'; .* \(without Atari games and MuJoCo, since envpool"
    ):
        envs.make("Pong-v5", num_envs=1)
    assert envs.make("Breakout-MinAtar", num_envs=2).spec.num_envs == 2
    ListEnvs().run()
    listed = capsys.readouterr().out.splitlines()
    assert "Breakout-MinAtar" in listed
    assert any(line.startswith("# atari: ") and "not installed: pip install envpool" in line for line in listed)


def test_an_environment_that_downloads_says_so():
    with pytest.raises(ValueError, match="MNISTBandit-bsuite downloads its images when it is made"):
        envs.make("MNISTBandit-bsuite", num_envs=1)


def test_no_environments_is_refused():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        envs.make("CartPole-v1", num_envs=0)


def prepared_rollout(env, steps, policy, seed=0):
    state, obs = env.reset(jax.random.key(seed))
    state = env.prepare(jax.random.key(seed + 2), state, steps)

    def body(carry, key):
        state, obs = carry
        state, timestep = env.step(key, state, policy(obs))
        return (state, timestep.obs), timestep

    (state, _), steps = jax.lax.scan(body, (state, obs), jax.random.split(jax.random.key(seed + 1), steps))
    return state, steps


def test_first_states_drawn_ahead_are_all_different_and_like_those_of_reset():
    env = envs.make("CartPole-v1", num_envs=8)
    state, steps = prepared_rollout(env, 200, lambda obs: jnp.ones(8, jnp.int32))
    firsts = np.asarray(steps.obs)[np.asarray(steps.done)]
    assert len(firsts) > 100
    assert len(np.unique(firsts[:, 0])) == len(firsts)
    assert np.abs(firsts).max() <= 0.05
    np.testing.assert_allclose(firsts.std(axis=0), 0.05 / 3**0.5, rtol=0.2)
    np.testing.assert_array_equal(state.fresh.used, np.asarray(steps.done).sum(axis=0))
    assert env.release(state).fresh is None


def test_within_an_episode_preparing_changes_nothing():
    env = envs.make("CartPole-v1", num_envs=4)
    plain = rollout(env, 20, lambda obs: jnp.ones(4, jnp.int32))
    _, prepared = prepared_rollout(env, 20, lambda obs: jnp.ones(4, jnp.int32))
    first_end = int(np.argmax(np.asarray(plain.done), axis=0).min())
    assert first_end > 3
    np.testing.assert_array_equal(plain.final_obs[: first_end + 1], prepared.final_obs[: first_end + 1])
    np.testing.assert_array_equal(plain.done[: first_end + 1], prepared.done[: first_end + 1])


def test_large_first_states_are_drawn_in_smaller_numbers(monkeypatch):
    monkeypatch.setattr(gymnax_envs, "MAX_FRESH_BYTES", 1)
    env = envs.make("CartPole-v1", num_envs=2)
    state, steps = prepared_rollout(env, 300, lambda obs: jnp.ones(2, jnp.int32))
    assert state.fresh.obs.shape[0] == gymnax_envs.MIN_FRESH
    assert int(state.fresh.used.min()) > gymnax_envs.MIN_FRESH
    assert np.abs(np.asarray(steps.obs)[np.asarray(steps.done)]).max() <= 0.05


def test_a_step_follows_gymnax_itself():
    ours = envs.make("Breakout-MinAtar", num_envs=1)
    theirs, params = gymnax.make("Breakout-MinAtar")
    state, _ = ours.reset(jax.random.key(3))
    gym_state = jax.tree.map(lambda x: x[0], state.env)
    both = jax.jit(
        lambda key, state, gym_state, action: (
            ours.step(key, state, action[None]),
            theirs.step(key, gym_state, action, params),
        )
    )
    for t in range(60):
        (state, timestep), answer = both(jax.random.key(t), state, gym_state, jnp.int32(t % 3))
        _, gym_state, reward, terminated, truncated, info = answer
        np.testing.assert_array_equal(timestep.final_obs[0], info["final_observation"])
        assert float(timestep.reward[0]) == float(reward)
        assert bool(timestep.terminated[0]) == bool(terminated)
        assert bool(timestep.truncated[0]) == bool(truncated)
        if terminated or truncated:
            return
    pytest.fail("no episode ended")


def test_a_class_of_ones_own_is_made_by_path():
    env = envs.make("gymnax.environments.classic_control.cartpole:CartPole", num_envs=2)
    assert env.spec.observation_shape == (4,)
    for path in ("nowhere:Env", "gymnax:Nothing", "json:JSONDecoder"):
        with pytest.raises(ValueError, match=path):
            envs.make(path, num_envs=1)


def test_whole_number_observations_become_one_hot():
    env = envs.make("FrozenLake-misc", num_envs=2)
    _, obs = env.reset(jax.random.key(0))
    assert obs.shape == (2, *env.spec.observation_shape)
    np.testing.assert_array_equal(obs.sum(axis=1), 1.0)


class Dictionary(CartPole):
    """Shows two arrays in place of one."""

    def reset_env(self, key, params):
        obs, state = super().reset_env(key, params)
        return {"place": obs[:2], "speed": obs[2:]}, state


def test_observations_that_are_not_one_array_are_refused():
    with pytest.raises(ValueError, match=r"an observation must be one array, got .*place.*speed"):
        envs.make(f"{__name__}:Dictionary", num_envs=1)


@pytest.mark.parametrize(
    "name", by_default(["Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"], "Breakout")
)
def test_minatar_shows_the_zeros_and_ones_of_gymnax_as_bool(name):
    env = envs.make(f"{name}-MinAtar", num_envs=4)
    theirs, params = gymnax.make(f"{name}-MinAtar")

    def one(carry, key):
        state, _ = carry
        state, timestep = env.step(key, state, jax.random.randint(key, (4,), 0, env.spec.action_space.n))
        raw = jax.vmap(lambda s: theirs.get_obs(s, params) if name == "Seaquest" else theirs.get_obs(s))(state.env)
        return (state, timestep.obs), (timestep.obs, raw)

    carry = env.reset(jax.random.key(0))
    seen, raw = jax.jit(lambda c: jax.lax.scan(one, c, jax.random.split(jax.random.key(1), 300))[1])(carry)
    assert seen.dtype == env.spec.observation_dtype
    assert seen.dtype == jnp.bool_
    np.testing.assert_array_equal(seen, raw)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gymnax.environments.environment:Environment", "leaves parts of gymnax's interface .* empty"),
        ("collections:OrderedDict", "does not follow gymnax's interface .* it lacks reset_env"),
        ("gymnax:make(", r"module:name or module:name\(argument=1, other='text'\), got 'gymnax:make\('"),
        ("gymnax:make('CartPole-v1')", "module:name or module:name"),
        ("gymnax:make(env_id=name)", "module:name or module:name"),
        ("no_such_module:Env", "cannot make an environment from 'no_such_module:Env'"),
    ],
)
def test_classes_that_are_no_environments_are_refused(path, message):
    with pytest.raises(ValueError, match=message):
        envs.make(path, num_envs=1)


def test_an_environment_of_ones_own_takes_arguments():
    from_text = envs.make("gymnax:make(env_id='Catch-bsuite', rows=7)", num_envs=3)
    env, params = gymnax.make("Catch-bsuite", rows=7)
    by_hand = envs.from_gymnax(env, params, num_envs=3)
    assert from_text.spec.observation_shape == by_hand.spec.observation_shape == (7, 5)
    for made in (from_text, by_hand):
        _, obs = made.reset(jax.random.key(0))
        assert obs.shape == (3, 7, 5)


def test_parameters_of_ones_own_count():
    env, params = gymnax.make("CartPole-v1")
    short = envs.from_gymnax(env, params.replace(max_steps_in_episode=3), num_envs=2)
    state, _ = short.reset(jax.random.key(0))
    for t in range(3):
        state, timestep = short.step(jax.random.key(t), state, jnp.zeros(2, jnp.int32))
    assert short.spec.time_limit == 3
    assert timestep.truncated.all()
    assert envs.from_gymnax(env, num_envs=2).spec.time_limit == 500
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        envs.from_gymnax(env, params, 0)


def test_action_spaces_are_told_by_what_they_have():
    env, params = gymnax.make("Pendulum-v1")

    class Other:
        """As other suites have them: no class of gymnax's."""

    def with_space(**fields):
        space = Other()
        vars(space).update(fields)
        return types.SimpleNamespace(
            reset_env=env.reset_env, step_env=env.step_env, is_truncated=env.is_truncated, action_space=lambda _: space
        )

    box = envs.from_gymnax(with_space(minimum=-2.0, maximum=2.0, shape=(1,)), params, 2).spec.action_space
    assert (box.low, box.high, box.shape) == (-2.0, 2.0, (1,))
    discrete = envs.from_gymnax(with_space(num_values=np.int32(3)), params, 2)
    assert discrete.spec.action_space == envs.Discrete(3)
    with pytest.raises(ValueError, match="Pendulum: action space Other is not supported; one is that has n"):
        envs.from_gymnax(with_space(size=3), params, 2, "Pendulum")
