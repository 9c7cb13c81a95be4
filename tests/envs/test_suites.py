"""Suites that are packages of their own: each is tried where it is installed."""

import ast
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from envs import names
from envs.suite_ids import SUITES
from helpers import need_suite
from rlopt.training.config import TrainConfig

# The suites' own code warns of much.
pytestmark = pytest.mark.filterwarnings("default")
ROOT = Path(__file__).resolve().parents[2]
# One environment of each that compiles quickly, what it shows, its actions, and after how many steps it is cut off.
CASES = {
    "brax": ("brax:inverted_pendulum(time_limit=30)", (4,), (1,), 30),
    "playground": ("playground:CartpoleBalance(episode_length=30)", (5,), (1,), 30),
    "craftax": ("craftax:Craftax-Classic-Symbolic-v1(max_timesteps=30)", (1345,), 17, 30),
    "navix": ("navix:Navix-Empty-5x5-v0(max_steps=30)", (5, 5, 3), 7, 30),
    "jumanji": ("jumanji:Maze-v0(time_limit=30)", (109,), 4, 30),
    "octax": ("octax:brix(max_num_steps_per_episodes=30)", (64, 32, 4), 3, 30),
}


@pytest.mark.parametrize("prefix", CASES)
def test_an_environment_of_each_suite_plays_episodes(prefix):
    need_suite(f"{prefix}:")
    env_id, shape, actions, limit = CASES[prefix]
    env = envs.make(env_id, 3)
    space = env.spec.action_space
    assert env.spec.observation_shape == shape
    assert (space.n if isinstance(space, envs.Discrete) else space.shape) == actions
    assert env.spec.restorable

    def act(key):
        if isinstance(space, envs.Discrete):
            return jax.random.randint(key, (3,), 0, space.n)
        return jax.random.uniform(key, (3, *space.shape), minval=space.low, maxval=space.high)

    @jax.jit
    def run(key):
        state, obs = env.reset(key)
        keys = jax.random.split(key, 2 * limit + 2)
        return obs, jax.lax.scan(lambda state, key: env.step(key, state, act(key)), state, keys)[1]

    obs, steps = jax.tree.map(np.asarray, run(jax.random.key(0)))
    assert obs.shape == (3, *shape)
    done = steps.terminated | steps.truncated
    assert done.any(axis=0).all()
    assert np.isfinite(steps.reward).all()
    assert steps.episode_length.max() <= limit
    np.testing.assert_array_equal(steps.episode_length > 0, done)
    # What was cut off ran its full length; what ended earlier was not cut off.
    np.testing.assert_array_equal(
        steps.truncated & ~steps.terminated, done & (steps.episode_length == limit) & ~steps.terminated
    )
    for i in range(3):
        end = int(np.argmax(done[:, i]))
        np.testing.assert_allclose(steps.episode_return[end, i], steps.reward[: end + 1, i].sum(), rtol=1e-4, atol=1e-5)
    same = np.asarray([steps.obs[t] == steps.final_obs[t] for t in range(len(done))]).reshape(len(done), 3, -1).all(-1)
    assert same[~done].all()


@pytest.mark.parametrize("prefix", CASES)
def test_an_id_that_a_suite_does_not_have_is_answered_with_the_nearest(prefix):
    need_suite(f"{prefix}:")
    close = names.of_suite(prefix)[0]
    with pytest.raises(ValueError, match=f"unknown environment '{prefix}:nothing'; the nearest are {prefix}:"):
        envs.make(f"{prefix}:nothing", 1)
    envs.check_id(close)


def test_what_would_be_downloaded_is_refused_by_name():
    need_suite("jumanji:")
    with pytest.raises(ValueError, match="jumanji:Sokoban-v0 downloads its levels"):
        envs.make("jumanji:Sokoban-v0", 1)


def test_robots_that_would_be_downloaded_are_refused_by_name():
    need_suite("playground:")
    from mujoco_playground._src import mjx_env

    if mjx_env.MENAGERIE_PATH.exists():
        pytest.skip("the robots are there")
    with pytest.raises(ValueError, match="playground:Go1Getup needs the robots of mujoco_menagerie"):
        envs.make("playground:Go1Getup", 1)


def test_several_whole_numbers_become_one_action():
    need_suite("jumanji:")
    env = envs.make("jumanji:Minesweeper-v0", 1)
    assert env.spec.action_space == envs.Discrete(100)
    with pytest.raises(ValueError, match="jumanji:JobShop-v0: actions must be real numbers or at most 10,000"):
        envs.make("jumanji:JobShop-v0", 1)


def test_a_suite_that_is_not_installed_says_how(monkeypatch):
    monkeypatch.setattr(names, "find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r"brax is not installed; it is an extra: pip install 'rlopt\[brax\]'"):
        names.check_early("brax:ant")
    assert not any(env_id.startswith("brax:") for env_id in envs.ids())


def test_every_suite_has_an_extra_and_a_module():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(CASES) == set(SUITES)
    for prefix, suite in SUITES.items():
        assert suite.extra in extras
        tree = ast.parse((ROOT / "envs" / "suites" / f"{prefix}.py").read_text())
        assert {"knows", "make"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_ids_of_suites_and_of_gymnasium_are_no_code_of_ones_own():
    assert TrainConfig(env="gymnasium:CartPole-v1").code == ()
    assert TrainConfig(env="brax:ant").code == ()
    assert TrainConfig(env="my_envs:Maze(size=8)").code == ("my_envs:Maze(size=8)",)
    assert TrainConfig(env="gymnasium:my_envs:Maze-v0").code == ("gymnasium:my_envs:Maze-v0",)


def test_arguments_in_an_id():
    assert names.called("ALE/Pong-v5(frameskip=1, mode='a')") == ("ALE/Pong-v5", {"frameskip": 1, "mode": "a"})
    assert names.called("Snake-v1") == ("Snake-v1", {})
    for text in ("a(1)", "a(b=c)", "a(b=1)(c=2)", "a(b=1", "a(b=1)+1"):
        with pytest.raises(ValueError, match="arguments must be written as"):
            names.called(text)
