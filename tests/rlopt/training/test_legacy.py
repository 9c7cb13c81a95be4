"""Run folders of older versions: what they held, and that they are resumed."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import optax
import pytest

import celo2
from rlopt.optimizers import factory
from rlopt.runs import experiment, labels, results
from rlopt.storage.stopping import Unfinished
from rlopt.training import legacy, presets
from rlopt.training.config import TrainConfig

TINY = dataclasses.replace(presets.config("ppo", "CartPole-v1"), total_steps=2048, hidden=(8,))
# What format 1 called celo2, in today's words.
AS_OF_OLD = TrainConfig(
    optimizer="celo2",
    learning_rate=1e-3,
    theta="celo2_v1",
    options={"multiplier": 5.0, "odd": False, "size": "unit"},
    seeds=1,
    hyper=TINY,
)


def made_old(folder):
    """A config.json as format 1 had it."""
    path = folder / results.CONFIG
    document = json.loads(path.read_text())
    for name in ("format", "theta_form"):
        document.pop(name)
    document |= {"theta": None, "options": {}}
    path.write_text(json.dumps(document))


def test_an_old_run_is_read_as_what_it_was(tmp_path):
    results.write_config(tmp_path, AS_OF_OLD)
    made_old(tmp_path)
    found = results.read_config(tmp_path)
    assert (str(found.theta), found.options) == ("celo2_v1", AS_OF_OLD.options)
    assert labels._settings(tmp_path)["options", "size"] == "unit"
    results.write_config(tmp_path, found)
    again = json.loads((tmp_path / results.CONFIG).read_text())
    assert again["format"] == legacy.FORMAT
    assert again["theta_form"]["size"] == "unit"


def test_other_optimizers_and_newer_runs_stay_as_they_are():
    adam = {"optimizer": "adam", "options": {"b2": 0.99}, "theta": None}
    assert legacy.upgraded(adam) == adam | {"format": legacy.FORMAT}
    new = {"optimizer": "celo2", "options": {}, "theta": None, "format": legacy.FORMAT}
    assert legacy.upgraded(new) == new
    own = {"optimizer": "celo2", "options": {"multiplier": 1.0}, "theta": "mine.theta"}
    upgraded = legacy.upgraded(own)
    assert upgraded["theta"] == "mine.theta"
    assert upgraded["options"] == {"multiplier": 1.0, "odd": False, "size": "unit"}


@pytest.mark.parametrize("written", [{}, {"format": 2}])
def test_the_batch_size_of_dqn_was_called_otherwise(written):
    old = {"optimizer": "adam", "hyper": {"num_envs": 4, "learning_batch": 64}} | written
    assert legacy.upgraded(old)["hyper"] == {"num_envs": 4, "batch_size": 64}


def test_the_weights_of_celo_were_others_and_its_steps_its_own():
    old = {"optimizer": "celo", "options": {}, "theta": None, "format": 2}
    found = legacy.upgraded(old)
    assert (found["theta"], found["options"]) == ("celo_v1", {"scaled": False})
    found = legacy.upgraded(old | {"optimizer": "celo_adam"})
    assert (found["theta"], found["options"]) == (None, {"scaled": False})
    assert legacy.upgraded(old | {"theta": "mine.theta"})["theta"] == "mine.theta"


@pytest.mark.parametrize(
    ("agent", "optimizer", "share"),
    [("ppo", "celo", 1 / 3), ("pqn", "celo_adam", 1 / 3), ("dqn", "celo", 1 / 100), ("dqn", "celo_adam", 1.0)],
)
def test_the_share_of_celos_steps_was_the_agents_of_that_time(agent, optimizer, share):
    old = {"agent": agent, "optimizer": optimizer, "options": {"scaled": "true"}, "theta": None, "format": 3}
    assert legacy.upgraded(old)["options"] == {"scaled": "true", "share": share}
    assert legacy.upgraded(old | {"format": 4})["options"] == {"scaled": "true"}
    assert legacy.upgraded(old | {"options": {"share": 2.0}})["options"] == {"share": 2.0}


def test_what_celo2_was_is_what_it_is_under_its_new_name():
    """Unit steps on hidden matrices, Adam at 5 times the rate elsewhere, as `rlopt` had it."""
    made = factory.make("celo2", AS_OF_OLD.theta, AS_OF_OLD.options)(1e-3, 10)
    rule = celo2.scale_by_celo2(celo2.load_theta("celo2_v1"), still_without_gradient=True)
    by_hand = optax.partition(
        {"rule": optax.chain(rule, optax.scale_by_learning_rate(1e-3)), "adam": optax.adam(5e-3, eps=1e-5)},
        celo2.hidden_matrix_labels,
    )
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"hidden": {"kernel": jax.random.normal(keys[0], (8, 8)), "bias": jax.random.normal(keys[1], (8,))}}
    ours, theirs = made.init(params), by_hand.init(params)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs), "checkpoints of before could not be read"
    for _ in range(3):
        one, ours = made.update(params, ours, params)
        other, theirs = by_hand.update(params, theirs, params)
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.usefixtures("shared_programs")
def test_an_old_run_goes_on(tmp_path, at_line):
    whole = experiment.run(AS_OF_OLD, tmp_path / "whole", progress=False)
    stopping = at_line(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Unfinished):
        experiment.run(AS_OF_OLD, tmp_path / "old", progress=False, tracker=stopping)
    made_old(tmp_path / "old")
    experiment.resume(tmp_path / "old", progress=False)
    one, other = (results.read_run(folder) for folder in (whole.folder, tmp_path / "old"))
    np.testing.assert_array_equal(one.returns, other.returns)
