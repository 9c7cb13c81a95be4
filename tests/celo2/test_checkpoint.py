"""Theta files: exchange with the published format, refusal of anything else."""

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2
from celo2 import checks, files

THETA = celo2.init_theta("celo2", jax.random.key(3))


def test_round_trip_is_exact_and_in_the_published_format(tmp_path):
    path = tmp_path / "new" / "mine.theta"
    celo2.save_checkpoint(path, THETA)
    jax.tree.map(np.testing.assert_array_equal, celo2.load_checkpoint(path), THETA)
    published_reading = flax.serialization.from_bytes(jax.tree.map(jnp.zeros_like, THETA), path.read_bytes())
    jax.tree.map(np.testing.assert_array_equal, published_reading, THETA)


@pytest.mark.parametrize("name", ["celo", "celo_adam"])
def test_published_files_load(golden_folder, name):
    theta = celo2.load_checkpoint(golden_folder / f"{name}.theta.state")
    assert "rnn_params" in theta


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "cut.theta"
    celo2.save_checkpoint(path, THETA)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"cut\.theta: "):
        celo2.load_checkpoint(path)


def test_a_foreign_file_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "other.theta"
    path.write_bytes(flax.serialization.to_bytes({"dense": {"kernel": np.ones((2, 2))}}))
    with pytest.raises(ValueError, match=r"not a theta of celo2, celo, celo_adam.*found \['dense'\]"):
        celo2.load_checkpoint(path)
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"other\.theta: "):
        celo2.load_checkpoint(path)


def test_unknown_packaged_name_lists_what_there_is():
    with pytest.raises(ValueError, match=r"'celo22'; there are celo2"):
        celo2.load_theta("celo22")


@pytest.mark.parametrize("name", celo2.packaged_weights())
def test_packaged_weights_match_their_card(name):
    import hashlib
    import json
    from importlib import resources

    folder = resources.files("celo2.weights")
    card = json.loads((folder / f"{name}.json").read_text())
    assert card["sha256"] == hashlib.sha256((folder / f"{name}.theta").read_bytes()).hexdigest()
    assert card["rule"] == name.removesuffix("_v1")
    assert card["inner_steps"] == 3200 * card["iterations"]
    theta = celo2.load_theta(name)
    assert checks.rule_of(theta) == card["rule"].removesuffix("_base")
    if name.startswith("celo2"):
        assert sum(x.size for x in jax.tree.leaves(theta)) == 347
    if card["rule"] == "celo":
        assert card["init_theta"]["rule"] == "celo_phase1"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    files.write_atomic(path, b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
