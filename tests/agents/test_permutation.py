"""Random orders: one-to-one, and as good as random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import permutation


def u32(x):
    return jnp.asarray(x, jnp.uint32)


permuted = jax.jit(permutation.permuted)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 97, 1437, 48_000])
@pytest.mark.parametrize("key", [0, 1, 2**32 - 1])
def test_the_cipher_is_a_permutation(size, key):
    numbers = np.arange(48_000) % size  # of one length, so that one program is enough
    places = permuted(u32(numbers), u32(size), u32(key))[:size]
    np.testing.assert_array_equal(np.sort(places), np.arange(size))


def test_permutations_look_random():
    size, keys = 1000, 400
    places = np.asarray(
        permutation.permuted(
            jnp.broadcast_to(u32(np.arange(size)), (keys, size)), u32(size), u32(np.arange(keys)[:, None])
        )
    )
    # Every number is equally likely to come first, and neighbours do not stay neighbours.
    assert abs(places[:, 0].mean() / size - 0.5) < 4 * (1 / 12 / keys) ** 0.5
    assert abs(np.mean(np.diff(places, axis=1) == 1) - 1 / size) < 3e-4
    assert np.abs(np.corrcoef(places[:50]) - np.eye(50)).max() < 0.2


def test_every_epoch_has_an_order_of_its_own():
    orders = np.asarray(permutation.epochs(jax.random.key(0), 3, 100))
    assert orders.dtype == np.int32
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(100), (3, 1)))
    assert max(np.mean(orders[i] == orders[j]) for i, j in ((0, 1), (0, 2), (1, 2))) < 0.1
    assert np.any(np.asarray(permutation.epochs(jax.random.key(1), 3, 100)) != orders)
