"""Batches: each epoch shows every image once, in an order of its own, found from the position alone."""

import jax.numpy as jnp
import numpy as np

from metatrain import batches


def u32(x):
    return jnp.asarray(x, jnp.uint32)


def test_an_epoch_shows_each_image_once_and_the_next_in_another_order():
    size, batch = 103, 10
    rows = np.asarray(
        batches.rows(u32(np.arange(20)), jnp.full(20, size, jnp.uint32), jnp.full(20, 5, jnp.uint32), batch)
    )
    assert rows.shape == (20, batch)
    for epoch in (rows[:10], rows[10:]):
        assert len(np.unique(epoch)) == 100
    assert np.mean(rows[:10] == rows[10:]) < 0.1
