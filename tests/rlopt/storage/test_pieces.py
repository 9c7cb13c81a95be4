"""Checkpoints in pieces: flax's bytes, without copies of what is large."""

import tracemalloc

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlopt.storage import pieces, sealed

LARGE = np.arange(300_000, dtype=np.float32)
TREES = {
    "plain": {"a": 1, "b": [1.5, "x", None, True], "c": {"d": [2, -3]}},
    "arrays": {"a": np.arange(6).reshape(2, 3), "b": np.float32(2), "empty": np.zeros((0, 3))},
    "large": {"a": LARGE, "b": {"c": LARGE.reshape(100, 3000).astype(np.int64), "d": "e"}},
    "not contiguous": {"a": LARGE.reshape(100, 3000).T},
    "bfloat16": {"a": np.asarray(jnp.ones((1200, 1000), jnp.bfloat16))},
    "bytes": {"a": np.full((2000, 2000), 7, np.uint8), "b": np.zeros((1500, 1000), bool)},
    "a list": [LARGE, {"a": LARGE}],
    "many names": {str(i): i for i in range(70_000)},
}


@pytest.mark.parametrize("name", TREES)
def test_the_bytes_are_those_of_flax(name):
    assert b"".join(pieces.serialized(TREES[name])) == flax.serialization.msgpack_serialize(TREES[name])


def test_what_is_too_long_for_msgpack_is_cut_as_flax_cuts_it(monkeypatch):
    limit = 2**20
    monkeypatch.setattr(pieces, "CHUNK_BYTES", limit)
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", limit)
    tree = {"a": np.arange(400_001, dtype=np.int64), "b": LARGE}
    written = b"".join(pieces.serialized(tree))
    assert len(written) == len(flax.serialization.msgpack_serialize(tree))  # in another order
    found = flax.serialization.msgpack_restore(written)
    jax.tree.map(np.testing.assert_array_equal, found, tree)


def test_a_file_takes_no_second_copy_of_a_large_array(tmp_path):
    tree = {"replay": np.ones(64 * 2**20, np.uint8)}
    tracemalloc.start()
    sealed.write(tmp_path / "state", {"format": "x"}, pieces.serialized(tree))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    _, payload = sealed.read(tmp_path / "state", "x")
    np.testing.assert_array_equal(flax.serialization.msgpack_restore(payload)["replay"], tree["replay"])
