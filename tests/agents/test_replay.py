"""Replay: what goes in, what comes out, how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import frame_replay, replay
from agents.returns import n_step_targets

sample = jax.jit(replay.sample, static_argnums=2)
add = jax.jit(replay.add)


def rows(*values):
    return {"x": jnp.asarray(values, jnp.float32)}


def reprioritize(memory, errors, exponent):
    """With errors of the rows 0, 1, 2 ..."""
    index = jnp.arange(len(errors))
    drawn = replay.Sample(None, index, jnp.ones(len(errors)), always(len(errors)))
    return memory._replace(tree=jax.jit(replay.reprioritize)(memory.tree, drawn, jnp.asarray(errors), exponent))


def always(n):
    return jnp.ones(n, bool)


@pytest.mark.parametrize("prioritized", [False, True])
def test_the_oldest_rows_make_room_and_invalid_ones_are_never_stored(prioritized):
    memory = replay.init({"x": jnp.float32(0)}, 4, prioritized)
    memory = add(memory, rows(1, 2, 3), jnp.asarray([True, False, True]))
    assert (int(memory.size), int(memory.position)) == (2, 2)
    memory = add(memory, rows(4, 5, 6), jnp.asarray([False, False, False]))
    assert (int(memory.size), int(memory.position)) == (2, 2)
    memory = add(memory, rows(7, 8, 9), always(3))
    assert (int(memory.size), int(memory.position)) == (4, 1)
    np.testing.assert_array_equal(memory.data["x"], [9, 3, 7, 8])
    seen = sample(memory, jax.random.key(0), 400).rows["x"]
    assert set(np.unique(seen)) == {3.0, 7.0, 8.0, 9.0}


def test_uniform_samples_come_from_what_is_filled_and_equally_often():
    memory = add(replay.init({"x": jnp.float32(0)}, 10, False), rows(1, 2, 3, 4), always(4))
    drawn = sample(memory, jax.random.key(0), 8000)
    np.testing.assert_allclose(np.bincount(np.asarray(drawn.rows["x"]).astype(int))[1:] / 8000, 0.25, atol=0.02)
    np.testing.assert_allclose(drawn.probability, 0.25)


def test_priorities_by_hand():
    memory = add(replay.init({"x": jnp.float32(0)}, 4, True), rows(0, 1, 2), always(3))
    # |error| 1, 4, 9 to the power of a half: 1, 2, 3.
    memory = reprioritize(memory, [1.0, -4.0, 9.0], 0.5)
    drawn = sample(memory, jax.random.key(1), 12_000)
    np.testing.assert_allclose(np.bincount(drawn.index, minlength=3) / 12_000, [1 / 6, 2 / 6, 3 / 6], atol=0.02)
    np.testing.assert_allclose(drawn.probability, np.asarray([1, 2, 3])[drawn.index] / 6, rtol=1e-4)
    # A new row gets the highest priority so far, which is 3: 1, 2, 3, 3.
    memory = add(memory, rows(3), always(1))
    drawn = sample(memory, jax.random.key(2), 12_000)
    np.testing.assert_allclose(np.bincount(drawn.index, minlength=4) / 12_000, np.asarray([1, 2, 3, 3]) / 9, atol=0.02)


def test_an_invalid_row_leaves_the_priority_of_its_slot():
    memory = add(replay.init({"x": jnp.float32(0)}, 3, True), rows(0, 1, 2), always(3))
    memory = reprioritize(memory, [1.0, 2.0, 3.0], 1.0)
    before = np.asarray(memory.tree.nodes)
    np.testing.assert_allclose(add(memory, rows(9, 9), jnp.zeros(2, bool)).tree.nodes, before, rtol=1e-6)
    after = add(memory, rows(9, 8), jnp.asarray([False, True]))
    np.testing.assert_allclose(sample(after, jax.random.key(0), 300).probability.max(), 3 / 8, rtol=1e-4)
    np.testing.assert_array_equal(after.data["x"], [8, 1, 2])


def test_importance_weights_by_hand():
    # (size p)^-beta = (4/2)^-1/2, (4/4)^-1/2, (4/8)^-1/2, over the largest.
    got = replay.importance_weights(jnp.asarray([1 / 2, 1 / 4, 1 / 8]), jnp.int32(4), 0.5)
    np.testing.assert_allclose(got, [0.5, 0.5**0.5, 1.0], rtol=1e-6)


sample_frames = jax.jit(frame_replay.sample, static_argnums=(2, 3))
SHAPE = (2, 3, 4)  # height, width, frames
GAMMA = 0.5


def games(length, num_envs, generator):
    """Stacked frames of games that begin and end, and random actions and rewards; leaves [length, num_envs, ...]."""
    ends = generator.random((length, num_envs)) < 0.15
    cut = ends & (generator.random(ends.shape) < 0.3)
    valid = np.concatenate([np.ones((1, num_envs), bool), ~ends[:-1]])
    ends &= valid  # the step after an end is a reset
    cut &= valid
    # Half the ends are those of a life only: the frames go on.
    begins = ~valid & (generator.random(ends.shape) < 0.5)
    frames = generator.integers(0, 256, (length, num_envs, *SHAPE[:2]), np.uint8)
    obs = np.zeros((length, num_envs, *SHAPE), np.uint8)
    for t in range(length):
        for i in range(num_envs):
            fresh = t == 0 or begins[t - 1, i]
            old = np.repeat(frames[t, i, ..., None], 3, -1) if fresh else obs[t - 1, i, ..., 1:]
            obs[t, i] = np.concatenate([old, frames[t, i, ..., None]], -1)
    action = generator.integers(0, 5, ends.shape).astype(np.int32)
    return obs, action, generator.normal(size=ends.shape).astype(np.float32), ends & ~cut, cut, valid


def played(count, n_step, prioritized=False, length=60, num_envs=3, capacity=36):
    """The replay after `length` steps of those games, added `count` at a time, with what it should hold."""
    obs, action, reward, terminated, truncated, valid = games(length, num_envs, np.random.default_rng(0))
    total, factor, offset = map(np.asarray, n_step_targets(reward, terminated, truncated, GAMMA, n_step))
    memory = frame_replay.init(jnp.asarray(obs[0]), capacity, count, n_step, prioritized)
    add = jax.jit(frame_replay.add, static_argnums=4)
    for start in range(0, length, count):
        known = np.arange(start - n_step, start - n_step + count)
        at = np.maximum(known, 0)
        rows = frame_replay.Row(*(jnp.asarray(x[at]) for x in (action, total, factor, offset)))
        there = (known >= 0)[:, None] & valid[at]
        memory = add(memory, jnp.asarray(obs[start : start + count]), rows, jnp.asarray(there), n_step)
    return memory, (obs, action, total, factor, offset, valid)


@pytest.mark.parametrize(("count", "n_step"), [(1, 1), (4, 1), (1, 3), (4, 3), (2, 3)])
def test_single_frames_are_put_together_to_what_was_seen(count, n_step):
    length, num_envs, kept = 60, 3, 12
    memory, (obs, action, total, factor, offset, valid) = played(count, n_step)
    assert memory.usable.shape == (kept, num_envs)
    drawn = sample_frames(memory, jax.random.key(1), 4000, SHAPE)
    rows = jax.tree.map(np.asarray, drawn.rows)
    slot, env = np.divmod(np.asarray(drawn.index), num_envs)
    time = length - kept + (slot - length % kept) % kept
    usable = np.asarray(drawn.usable)
    # A step needs its n rewards with the frame they led to, and three frames before its own.
    there = (time >= length - kept + SHAPE[-1] - 1) & (time < length - n_step)
    np.testing.assert_array_equal(usable, there & valid[time, env])
    assert set(zip(time[there & usable], env[there & usable], strict=True)) == {
        (t, i) for t in range(length - kept + SHAPE[-1] - 1, length - n_step) for i in range(num_envs) if valid[t, i]
    }
    time, env = time[usable], env[usable]
    np.testing.assert_array_equal(rows.obs[usable], obs[time, env])
    np.testing.assert_array_equal(rows.next_obs[usable], obs[time + offset[time, env] + 1, env])
    for got, expected in ((rows.action, action), (rows.reward, total), (rows.factor, factor)):
        np.testing.assert_array_equal(got[usable], expected[time, env])


def test_a_game_that_is_seen_from_its_middle_on_is_as_one_that_begins():
    shown = np.random.default_rng(0).integers(0, 256, (8, 1, *SHAPE[:2]), np.uint8)
    obs = jnp.asarray(np.stack([shown[t : t + 4] for t in range(5)], 1).transpose(1, 2, 3, 4, 0))  # [5, N, H, W, 4]
    memory = frame_replay.init(obs[0], 24, 1, 1, False)
    rows = frame_replay.Row(*(jnp.zeros((1, 1)) for _ in range(4)))
    for t in range(5):
        memory = frame_replay.add(memory, obs[t : t + 1], rows, jnp.full((1, 1), t > 0), 1)
    drawn = sample_frames(memory, jax.random.key(0), 200, SHAPE)
    # What was never stored cannot be shown: the first frame stands in for it.
    first = shown[[max(t, 3) for t in range(8)]]
    seen = {int(i): np.asarray(x) for i, x in zip(drawn.index, drawn.rows.obs, strict=True) if i < 4}
    assert sorted(seen) == [0, 1, 2, 3]
    for t, found in seen.items():
        np.testing.assert_array_equal(found, first[t : t + 4, 0].transpose(1, 2, 0))


def test_adding_frames_copies_none_of_those_that_are_there():
    obs = jnp.zeros((1, 2, *SHAPE), jnp.uint8)
    memory = frame_replay.init(obs[0], 100_000, 1, 3, False)
    rows = frame_replay.Row(*(jnp.zeros((1, 2)) for _ in range(4)))

    def several(memory):
        step = lambda memory, _: (frame_replay.add(memory, obs, rows, jnp.ones((1, 2), bool), 3), None)  # noqa: E731
        return jax.lax.scan(step, memory, None, length=3)[0]

    needed = jax.jit(several, donate_argnums=0).lower(memory).compile().memory_analysis().temp_size_in_bytes
    assert needed < memory.frames.nbytes / 10


def test_priorities_of_frames_keep_to_what_may_be_learned_from():
    memory, _ = played(4, 3, prioritized=True)
    drawn = sample_frames(memory, jax.random.key(1), 500, SHAPE)
    assert np.all(drawn.usable)
    np.testing.assert_allclose(drawn.probability, 1 / np.sum(memory.usable), rtol=1e-5)
    assert len(np.unique(drawn.index)) == np.sum(memory.usable)
    # One row alone with an error, ten times that of the others.
    errors = jnp.where(drawn.index == drawn.index[0], 10.0, 1.0)
    memory = memory._replace(tree=jax.jit(replay.reprioritize)(memory.tree, drawn, errors, 1.0))
    again = sample_frames(memory, jax.random.key(2), 3000, SHAPE)
    share = 10 / (np.sum(memory.usable) + 9)
    np.testing.assert_allclose(np.mean(again.index == drawn.index[0]), share, atol=0.02)


def test_a_replay_of_frames_that_holds_too_little_is_refused():
    with pytest.raises(ValueError, match=r"replay_capacity \(17\) must be at least 24 here"):
        frame_replay.init(jnp.zeros((3, *SHAPE), jnp.uint8), 17, 2, 3, False)
