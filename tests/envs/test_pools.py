"""MuJoCo and Box2D of envpool behind the one interface."""

import envpool
import envpool.registration
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import pool_ids
from envs.atari_config import is_atari
from envs.names import check_early


def play(env_id, length, num_envs=3, seed=0):
    """Spec, key, first observations, actions and time steps [T, N, ...] under random actions."""
    env = envs.make(env_id, num_envs)
    space = env.spec.action_space
    shape = (length, num_envs, *space.shape)
    actions = jax.random.uniform(jax.random.key(1), shape, minval=space.low, maxval=space.high)

    @jax.jit
    def run(key):
        state, obs = env.reset(key)
        return obs, jax.lax.scan(lambda state, action: env.step(key, state, action), state, actions)[1]

    return env.spec, np.asarray(actions), *jax.tree.map(np.asarray, run(jax.random.key(seed)))


@pytest.fixture(scope="module")
def hopper():
    return play("Hopper-v4", 120)


def test_a_robot_moves_as_envpool_moves_it(hopper):
    spec, actions, first, steps = hopper
    bits = int(jax.random.bits(jax.random.key(0), (), jnp.uint32)) % 2**30
    pool = envpool.make("Hopper-v4", env_type="gymnasium", num_envs=3, num_threads=1, seed=bits)
    np.testing.assert_array_equal(pool.reset()[0].astype(np.float32), first)
    for t in range(60):
        obs, reward, terminated, _, _ = pool.step(actions[t].astype(np.float64))
        np.testing.assert_array_equal(obs.astype(np.float32), steps.obs[t])
        np.testing.assert_array_equal(reward.astype(np.float32), steps.reward[t])
        np.testing.assert_array_equal(terminated, steps.terminated[t])
    assert spec.time_limit == 1000
    assert not spec.restorable


def test_the_step_after_a_fall_is_an_autoreset_step(hopper):
    _, _, _, steps = hopper
    assert steps.terminated.sum() > 3
    np.testing.assert_array_equal(~steps.valid[1:], steps.terminated[:-1])
    assert np.all(steps.reward[~steps.valid] == 0)
    for i in range(3):
        first, second = np.flatnonzero(steps.terminated[:, i])[:2]
        rewards = steps.reward[first + 1 : second + 1, i]
        np.testing.assert_allclose(steps.episode_return[second, i], rewards.sum(), rtol=1e-6)
        assert steps.episode_length[second, i] == second - first - 1


def test_the_time_limit_of_a_robot_is_a_truncation():
    _, _, _, steps = play("Reacher-v4", 52)
    np.testing.assert_array_equal(steps.truncated[:, 0].nonzero()[0], [49])
    assert not steps.terminated.any()


def test_observations_of_several_parts_are_one_vector():
    spec, _, first, _ = play("CheetahRun-v1", 2)
    assert spec.observation_shape == (17,)
    bits = int(jax.random.bits(jax.random.key(0), (), jnp.uint32)) % 2**30
    parts, _ = envpool.make("CheetahRun-v1", env_type="gymnasium", num_envs=3, num_threads=1, seed=bits).reset()
    np.testing.assert_array_equal(np.concatenate([parts["position"], parts["velocity"]], 1).astype(np.float32), first)


def test_whole_actions_and_pictures():
    assert envs.make("LunarLander-v3", 1).spec.action_space == envs.Discrete(4)
    racing = envs.make("CarRacing-v3", 1).spec
    assert racing.observation_shape == (96, 96, 3)
    assert racing.observation_dtype == np.uint8


def test_the_ids_are_envpools_and_none_of_an_atari_game():
    specs = envpool.registration.registry.specs
    for suite, ids in pool_ids.SUITES.items():
        theirs = {name for name, spec in specs.items() if spec[0] == suite}
        assert theirs - {"LqrLqr21-v1", "LqrLqr62-v1"} == set(ids)
    assert not any(is_atari(env_id) for env_id in pool_ids.ALL)
    for env_id in pool_ids.ALL:
        check_early(env_id)
        envs.check_id(env_id)


def test_other_parts_of_envpool_are_named():
    with pytest.raises(
        ValueError, match=r"BigfishEasy-v0 is of envpool's procgen suite; offered are atari, mujoco.gym"
    ):
        envs.make("BigfishEasy-v0", 1)
    with pytest.raises(ValueError, match="the nearest are HalfCheetah-v"):
        envs.make("HalfCheetah-v9", 1)
