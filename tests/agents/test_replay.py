"""Replay: what goes in, what comes out, how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import replay


def rows(*values):
    return {"x": jnp.asarray(values, jnp.float32)}


def always(n):
    return jnp.ones(n, bool)


@pytest.mark.parametrize("prioritized", [False, True])
def test_the_oldest_rows_make_room_and_invalid_ones_are_never_stored(prioritized):
    memory = replay.init({"x": jnp.float32(0)}, 4, prioritized)
    add = jax.jit(replay.add)
    memory = add(memory, rows(1, 2, 3), jnp.asarray([True, False, True]))
    assert (int(memory.size), int(memory.position)) == (2, 2)
    memory = add(memory, rows(4, 5, 6), jnp.asarray([False, False, False]))
    assert (int(memory.size), int(memory.position)) == (2, 2)
    memory = add(memory, rows(7, 8, 9), always(3))
    assert (int(memory.size), int(memory.position)) == (4, 1)
    np.testing.assert_array_equal(memory.data["x"], [9, 3, 7, 8])
    seen = replay.sample(memory, jax.random.key(0), 400).rows["x"]
    assert set(np.unique(seen)) == {3.0, 7.0, 8.0, 9.0}


def test_uniform_samples_come_from_what_is_filled_and_equally_often():
    memory = replay.add(replay.init({"x": jnp.float32(0)}, 10, False), rows(1, 2, 3, 4), always(4))
    drawn = replay.sample(memory, jax.random.key(0), 8000)
    np.testing.assert_allclose(np.bincount(np.asarray(drawn.rows["x"]).astype(int))[1:] / 8000, 0.25, atol=0.02)
    np.testing.assert_allclose(drawn.probability, 0.25)


def test_priorities_by_hand():
    memory = replay.add(replay.init({"x": jnp.float32(0)}, 4, True), rows(0, 1, 2), always(3))
    # |error| 1, 4, 9 to the power of a half: 1, 2, 3.
    memory = replay.reprioritize(memory, jnp.arange(3), jnp.asarray([1.0, -4.0, 9.0]), 0.5)
    drawn = replay.sample(memory, jax.random.key(1), 12_000)
    np.testing.assert_allclose(np.bincount(drawn.index, minlength=3) / 12_000, [1 / 6, 2 / 6, 3 / 6], atol=0.02)
    np.testing.assert_allclose(drawn.probability, np.asarray([1, 2, 3])[drawn.index] / 6, rtol=1e-4)
    # A new row gets the highest priority so far, which is 3: 1, 2, 3, 3.
    memory = replay.add(memory, rows(3), always(1))
    drawn = replay.sample(memory, jax.random.key(2), 12_000)
    np.testing.assert_allclose(np.bincount(drawn.index, minlength=4) / 12_000, np.asarray([1, 2, 3, 3]) / 9, atol=0.02)


def test_an_invalid_row_leaves_the_priority_of_its_slot():
    memory = replay.add(replay.init({"x": jnp.float32(0)}, 3, True), rows(0, 1, 2), always(3))
    memory = replay.reprioritize(memory, jnp.arange(3), jnp.asarray([1.0, 2.0, 3.0]), 1.0)
    before = np.asarray(memory.tree.nodes)
    np.testing.assert_allclose(replay.add(memory, rows(9, 9), jnp.zeros(2, bool)).tree.nodes, before, rtol=1e-6)
    after = replay.add(memory, rows(9, 8), jnp.asarray([False, True]))
    np.testing.assert_allclose(replay.sample(after, jax.random.key(0), 300).probability.max(), 3 / 8, rtol=1e-4)
    np.testing.assert_array_equal(after.data["x"], [8, 1, 2])


def test_importance_weights_by_hand():
    # (size p)^-beta = (4/2)^-1/2, (4/4)^-1/2, (4/8)^-1/2, over the largest.
    got = replay.importance_weights(jnp.asarray([1 / 2, 1 / 4, 1 / 8]), jnp.int32(4), 0.5)
    np.testing.assert_allclose(got, [0.5, 0.5**0.5, 1.0], rtol=1e-6)
