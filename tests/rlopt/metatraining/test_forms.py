"""The form of a learned rule on its way from meta-training into a run, and the options that change it."""

import dataclasses
import json

import flax.serialization
import jax
import numpy as np
import pytest

import celo2
from celo2 import form
from helpers import small_meta_training
from rlopt import typed
from rlopt.metatraining import card, checkpoint, trainer
from rlopt.optimizers import factory
from rlopt.runs import experiment, results
from rlopt.storage import sealed
from rlopt.training import presets
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.usefixtures("shared_programs")

TINY = dataclasses.replace(presets.config("ppo", "CartPole-v1"), total_steps=1024, hidden=(8,))
META = small_meta_training(
    rule="celo2_base", iterations=2, families=("digits@bandit",), momentum_decays=(0.8, 0.95, 0.99)
)


def test_what_is_meta_trained_odd_and_sized_trains_agents_so(tmp_path):
    (tmp_path / "meta").mkdir()
    theta = celo2.init_theta("celo2", jax.random.key(0))
    path = card.write_theta(tmp_path / "meta", theta, META, 2, 1.0, [(2, 1.0)])  # as the trainer does it
    written = json.loads(path.with_suffix(".json").read_text())
    wanted = {"odd": True, "size": "adam", "momentum_decays": [0.8, 0.95, 0.99], "newton_schulz_steps": 5}
    wanted |= {"newton_schulz_ratio": None}
    assert written["form"] == wanted
    assert celo2.load_weights(path).form == META.form
    config = TrainConfig(optimizer="celo2_base", theta=path, seeds=1, hyper=TINY)
    experiment.run(config, tmp_path / "run", progress=False)
    recorded = json.loads((tmp_path / "run" / results.CONFIG).read_text())
    assert recorded["theta_form"] == wanted
    params = {"hidden": {"kernel": jax.random.normal(jax.random.key(0), (8, 8))}}
    tx = factory.make("celo2_base", path)(0.1, 10)
    update = jax.jit(tx.update)
    plus, _ = update(params, tx.init(params), params)
    other = jax.tree.map(lambda x: -x, params)
    minus, _ = update(other, tx.init(other), other)
    np.testing.assert_array_equal(plus["hidden"]["kernel"], -minus["hidden"]["kernel"])


def test_options_win_over_the_card():
    packaged = factory.form_of("celo2", None, {})
    assert packaged == form.to_card(celo2.load_weights("celo2").form)
    changed = factory.form_of("celo2", None, {"odd": 0, "size": "snr"})
    assert changed == packaged | {"odd": False, "size": "snr"}
    assert factory.form_of("adam", None, {}) is None


def test_weights_without_a_size_are_refused_at_adams_rate(tmp_path):
    path = tmp_path / "mine.theta"
    celo2.save_checkpoint(path, celo2.load_theta("celo2"))
    with pytest.raises(ValueError, match="have no card that says that their steps have Adam's size"):
        factory.make("celo2", path)
    factory.make("celo2", path, {"odd": 1.0, "size": "adam"})
    factory.make("celo2", path, {"size": "unit", "multiplier": 5.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multiplier": "five"}, "celo2: option multiplier must be a number, got 'five'"),
        ({"size": "large"}, "option size must be one of card, unit, adam, snr, learned, got 'large'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        factory.make("celo2", None, options)(0.1, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "celo_adam", "size": "adam"}, "celo_adam has Adam's update, which is odd"),
        ({"newton_schulz_steps": 2}, "newton_schulz_steps is for celo2; celo2_base is not orthogonalised"),
        ({"rule": "celo_adam", "odd": False}, "celo_adam has Adam's update, which is odd"),
        ({"momentum_decays": (0.9, 0.99, 1.5)}, "momentum_decays must be 3 numbers"),
        ({"rule": "celo2", "newton_schulz_steps": 0}, "newton_schulz_steps must be a whole number from 1"),
    ],
)
def test_impossible_forms_are_refused_before_meta_training(changes, message):
    settings = {"momentum_decays": (0.9, 0.99, 0.999)} | changes
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(META, **settings).check()


def test_a_checkpoint_from_before_tasks_carried_anything_goes_on(tmp_path):
    """Without the small one beside it, which is made every `refresh_every` iterations."""
    meta = small_meta_training(iterations=2)
    settings = {"checkpoint_every": 1, "validate_every": 0, "log_every": 1, "progress": False}
    whole = trainer.train(meta, tmp_path / "whole", **settings)
    trainer.train(dataclasses.replace(meta, iterations=1), tmp_path / "old", **settings)
    (path,) = (tmp_path / "old" / "checkpoints").glob("*.msgpack")
    header, payload = sealed.read(path, checkpoint.FORMAT)
    state = flax.serialization.msgpack_restore(payload)
    for unrolls in state["particles"]["unrolls"].values():
        assert unrolls.pop("memory") is None
    kept = {name: value for name, value in header.items() if name not in ("bytes", "sha256", "header_sha256")}
    sealed.write(path, kept, flax.serialization.msgpack_serialize(state))
    again = trainer.train(meta, tmp_path / "old", **settings)
    jax.tree.map(np.testing.assert_array_equal, again.theta, whole.theta)


def test_flags_are_for_settings_that_take_numbers():
    assert typed._fits({"odd": True, "size": "adam"}, dict[str, float | str])
    assert not typed._fits({"partition": True}, dict[str, str])
