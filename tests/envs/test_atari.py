"""Atari games behind the one interface: seeds, ends of lives and of games, raw and learned rewards."""

import envpool
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import AtariConfig

SMALL = AtariConfig(image_size=42, num_threads=1)


def random_play(env, length):
    """Key -> time steps [length, N, ...] under actions that depend on the key alone."""

    def run(key):
        start, actions = jax.random.split(key)
        actions = jax.random.randint(actions, (length, env.spec.num_envs), 0, env.spec.action_space.n)
        state, obs = env.reset(start)

        def step(carry, action):
            state, obs = carry
            state, timestep = env.step(key, state, action)
            return (state, timestep.obs), (obs, action, timestep)

        return jax.lax.scan(step, (state, obs), actions)[1]

    return run


@pytest.fixture(scope="module")
def breakout():
    """Breakout with lives as episodes and clipped rewards, random actions for 400 steps in 3 games."""
    env = envs.make("Breakout-v5", 3, SMALL)
    return env.spec, jax.tree.map(np.asarray, jax.jit(random_play(env, 400))(jax.random.key(1)))


def test_what_a_game_looks_like(breakout):
    spec, (obs, _, steps) = breakout
    assert spec.observation_shape == (42, 42, 4)
    assert spec.action_space.n == 4
    assert obs.shape == (400, 3, 42, 42, 4)
    assert obs.dtype == np.uint8
    # Frames move on by one each step, the newest is the last; but a game begins with equal ones.
    moved = np.all(obs[1:, ..., :3] == obs[:-1, ..., 1:], axis=(2, 3, 4))
    begins = ~steps.valid[:-1] & np.all(obs[1:] == obs[1:, ..., -1:], axis=(2, 3, 4))
    assert spec.frame_stack == 4
    assert np.all(moved | begins)
    assert np.any(begins & ~moved)


def test_the_step_after_an_end_is_an_autoreset_step(breakout):
    _, (_, _, steps) = breakout
    ends = steps.terminated | steps.truncated
    assert ends.sum() > 10
    np.testing.assert_array_equal(~steps.valid[1:], ends[:-1])
    assert np.all(steps.reward[~steps.valid] == 0)


def test_returns_are_raw_and_of_full_games_while_the_agent_sees_lives_and_signs(breakout):
    _, (_, _, steps) = breakout
    over = steps.episode_length > 0
    assert 3 <= over.sum() < (steps.terminated).sum()  # five lives a game
    assert set(np.unique(steps.reward)) <= {0.0, 1.0}
    for i in range(3):
        first, second = np.flatnonzero(over[:, i])[:2]
        # Random play hits bricks of the lowest rows only, whose points are their sign.
        assert steps.episode_return[second, i] == steps.reward[first + 1 : second + 1, i].sum()
        assert steps.episode_length[second, i] == steps.valid[first + 1 : second + 1, i].sum()
    assert np.all(steps.episode_return[~over] == 0)


def test_rewards_are_clipped_for_the_agent_only():
    env = envs.make("MsPacman-v5", 4, SMALL)
    _, _, steps = jax.jit(random_play(env, 600))(jax.random.key(0))
    assert set(np.unique(steps.reward)) <= {-1.0, 0.0, 1.0}
    assert np.max(steps.episode_return) >= 60  # ten points a pellet


def test_seeds_side_by_side_in_turn_and_alone_play_the_same_games():
    env = envs.make("Pong-v5", 2, SMALL)
    play, keys = random_play(env, 120), jax.random.split(jax.random.key(0), 2)
    together = jax.jit(jax.vmap(play))(keys)
    in_turn = jax.jit(lambda keys: jax.lax.map(play, keys))(keys)
    alone = jax.tree.map(lambda *seeds: np.stack(seeds), *(jax.jit(play)(key) for key in keys))
    jax.tree.map(np.testing.assert_array_equal, alone, together)
    jax.tree.map(np.testing.assert_array_equal, alone, in_turn)
    assert not np.array_equal(together[0][0], together[0][1])


def test_the_games_are_those_of_envpool(monkeypatch):
    started = []
    env = envs.make("Pong-v5", 2, SMALL)
    make = envpool.make
    monkeypatch.setattr(
        envpool, "make", lambda name, **settings: started.append((name, settings)) or make(name, **settings)
    )
    obs, actions, steps = jax.jit(random_play(env, 50))(jax.random.key(3))
    monkeypatch.undo()
    ((name, settings),) = started
    pool = envpool.make(name, **settings)
    seen, _ = pool.reset()
    for t in range(50):
        np.testing.assert_array_equal(np.moveaxis(seen, 1, -1), obs[t])
        seen, reward, *_ = pool.step(np.asarray(actions[t]))
        np.testing.assert_array_equal(reward, steps.reward[t])


def test_a_time_limit_is_a_truncation_that_ends_the_game():
    env = envs.make("Pong-v5", 2, AtariConfig(image_size=42, max_steps=20, num_threads=1))
    _, _, steps = jax.jit(random_play(env, 50))(jax.random.key(0))
    assert not np.any(steps.terminated)
    ends = np.flatnonzero(steps.truncated[:, 0])
    assert len(ends) == 2
    assert np.all(steps.episode_length[ends, 0] == 20)


def test_staggered_games_end_apart_and_only_whole_ones_count():
    env = envs.make("Pong-v5", 4, AtariConfig(image_size=42, max_steps=20, num_threads=1, stagger=20))
    play = jax.jit(random_play(env, 60))
    obs, _, steps = jax.tree.map(np.asarray, play(jax.random.key(0)))
    # Game i stands at 5 i when training begins; after an end comes a step that resets.
    for i in range(4):
        ends = np.flatnonzero(steps.truncated[:, i])
        np.testing.assert_array_equal(ends, np.arange(19 - 5 * i, 60, 21))
        np.testing.assert_array_equal(np.flatnonzero(steps.episode_length[:, i]), ends[0 if i == 0 else 1 :])
        assert set(steps.episode_length[ends, i]) <= {0, 20}
    np.testing.assert_array_equal(np.any(obs[0] != obs[0][..., -1:], axis=(1, 2, 3)), [False, True, True, True])
    jax.tree.map(np.testing.assert_array_equal, (obs, steps), (lambda x: (x[0], x[2]))(play(jax.random.key(0))))


def test_an_end_while_games_are_staggered_begins_a_game_that_counts():
    # The last random step of game 1 is its 10th, the end of a game.
    env = envs.make("Pong-v5", 2, AtariConfig(image_size=42, max_steps=10, num_threads=1, stagger=20))
    _, _, steps = jax.jit(random_play(env, 25))(jax.random.key(0))
    np.testing.assert_array_equal(np.flatnonzero(~steps.valid[:, 1]), [0, 11, 22])
    np.testing.assert_array_equal(np.flatnonzero(steps.episode_length[:, 1]), [10, 21])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 4}, "image_size must be at least 8, got 4"),
        ({"stack": 0}, "stack must be at least 1, got 0"),
        ({"sticky_actions": 1.0}, r"sticky_actions must lie in \[0, 1\), got 1.0"),
        ({"num_threads": -1}, "num_threads must be at least 0, got -1"),
        ({"stagger": -1}, "stagger must be at least 0, got -1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        envs.make("Pong-v5", 1, AtariConfig(**settings))


def test_wrong_ids_and_threads_are_named():
    with pytest.raises(ValueError, match="unknown environment 'Pong-v4'; the nearest are Pong-v5, "):
        envs.make("Pong-v4", 1)
    with pytest.raises(ValueError, match="CartPole-v1 is not an Atari game"):
        envs.make("CartPole-v1", 1, SMALL)
    with pytest.warns(RuntimeWarning, match="num_threads=500 on"):
        envs.make("Pong-v5", 1, AtariConfig(num_threads=500))


def test_the_full_action_space_and_other_stacks():
    spec = envs.make("Pong-v5", 1, AtariConfig(full_action_space=True, stack=2)).spec
    assert spec.action_space.n == 18
    assert spec.observation_shape == (84, 84, 2)
    assert spec.observation_dtype == jnp.uint8


def test_closed_games_make_room_and_others_can_be_begun():
    env = envs.make("Pong-v5", 2, AtariConfig(image_size=42, num_threads=1))
    first, _ = env.reset(jax.random.key(0))
    env.close()
    second, obs = env.reset(jax.random.key(0))
    assert (int(first.group), int(second.group)) == (0, 0)
    _, timestep = env.step(jax.random.key(1), second, jnp.zeros(2, jnp.int32))
    assert timestep.obs.shape == obs.shape
