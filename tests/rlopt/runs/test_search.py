"""Searches over any setting that is an argument of the compiled program."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from agents import PPOConfig
from rlopt.runs import experiment, results
from rlopt.storage.stopping import Unfinished
from rlopt.training import checkpoint, loop, trials
from rlopt.training.config import TrainConfig

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("shared_programs")]

HYPER = PPOConfig(total_steps=64 * 20, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
TRIALS = (
    {"learning_rate": 1e-3, "b2": 0.999, "entropy_coef": 0.0},
    {"learning_rate": 1e-2, "b2": 0.9, "entropy_coef": 0.1},
)
CONFIG = TrainConfig(optimizer="adam", trials=TRIALS, seeds=2, seed=5, hyper=HYPER)


def lines(folder):
    return [json.loads(line) for line in (folder / results.METRICS).read_text().splitlines()]


def ask_to_stop():
    os.kill(os.getpid(), signal.SIGTERM)


def test_each_trial_learns_with_its_own_settings_whatever_else_is_tried():
    cells = loop.split(loop.train(CONFIG, progress=False), CONFIG)
    # Alone, the agent's settings and the learning rate are the same numbers, and an option is one of the program.
    for cell, own in zip(cells, CONFIG.cells, strict=True):
        alone = loop.train(own, progress=False)
        np.testing.assert_allclose(cell.metrics["loss"], alone.metrics["loss"], rtol=0.05, atol=1e-3)
    turned = loop.train(dataclasses.replace(CONFIG, trials=TRIALS[::-1]), progress=False)
    jax.tree.map(
        np.testing.assert_array_equal, cells[0].params, loop.split(turned, CONFIG)[1].params
    )
    assert not np.array_equal(cells[0].metrics["loss"], cells[1].metrics["loss"])


def test_a_search_that_was_stopped_goes_on_bit_for_bit_also_with_another_trial_asked_for(tmp_path, at_line):
    whole, _ = experiment.sweep([CONFIG], tmp_path / "whole", progress=False)
    folder = tmp_path / "stopped"
    with pytest.raises(Unfinished, match="stopped at step 448"):
        experiment.sweep([CONFIG], folder, progress=False, tracker=at_line(7, ask_to_stop))
    assert checkpoint.exists(folder / "adam")
    more = {"learning_rate": 1e-2, "b2": 0.99, "entropy_coef": 0.0}
    experiment.sweep([dataclasses.replace(CONFIG, trials=(TRIALS[1], more))], folder, progress=False)
    assert not checkpoint.exists(folder / "adam")
    for run in whole:
        again = results.read_run(folder / "adam" / run.folder.name)
        np.testing.assert_array_equal(again.returns, run.returns)
        assert lines(again.folder) == lines(run.folder)
    assert results.is_finished(folder / "adam" / trials.folder_name(more))
