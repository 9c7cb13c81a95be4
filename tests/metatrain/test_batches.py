"""Batches: each epoch shows every image once, in an order of its own, found from the position alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from metatrain import batches


def u32(x):
    return jnp.asarray(x, jnp.uint32)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 97, 1437, 48_000])
@pytest.mark.parametrize("key", [0, 1, 2**32 - 1])
def test_the_cipher_is_a_permutation(size, key):
    places = batches.permuted(u32(np.arange(size)), u32(size), u32(key))
    np.testing.assert_array_equal(np.sort(places), np.arange(size))


def test_permutations_look_random():
    size, keys = 1000, 400
    places = np.asarray(
        batches.permuted(jnp.broadcast_to(u32(np.arange(size)), (keys, size)), u32(size), u32(np.arange(keys)[:, None]))
    )
    # Every image is equally likely to come first, and neighbours do not stay neighbours.
    assert abs(places[:, 0].mean() / size - 0.5) < 4 * (1 / 12 / keys) ** 0.5
    assert abs(np.mean(np.diff(places, axis=1) == 1) - 1 / size) < 3e-4
    assert np.abs(np.corrcoef(places[:50]) - np.eye(50)).max() < 0.2


def test_an_epoch_shows_each_image_once_and_the_next_in_another_order():
    size, batch = 103, 10
    rows = np.asarray(
        batches.rows(u32(np.arange(20)), jnp.full(20, size, jnp.uint32), jnp.full(20, 5, jnp.uint32), batch)
    )
    assert rows.shape == (20, batch)
    for epoch in (rows[:10], rows[10:]):
        assert len(np.unique(epoch)) == 100
    assert np.mean(rows[:10] == rows[10:]) < 0.1
