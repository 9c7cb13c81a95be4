"""Run folders made up in a moment, for what reads them; commands in this process; runs that are interrupted."""

import contextlib
import json
from typing import NamedTuple

import numpy as np
import pytest

import helpers
from agents import PPOConfig
from fake_wandb import fake_wandb
from rlopt import cli
from rlopt.runs import experiment, results
from rlopt.storage.stopping import Unfinished
from rlopt.training import checkpoint
from rlopt.training.config import TrainConfig
from sharing import saves_at_every_interval, shared_programs

__all__ = ["fake_wandb", "saves_at_every_interval", "shared_programs"]


class Done(NamedTuple):
    """How a command ended, what it printed, and what it said was wrong."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(capsys):
    """A function that runs a command in this process, which has set up JAX already."""

    def run(*words):
        capsys.readouterr()
        status = cli.main([str(word) for word in words], configure=helpers.set_up_already)
        return Done(status, *capsys.readouterr())

    return run


class _AtLine:
    """In place of a tracker: does something as soon as a population's logs have so many lines."""

    def __init__(self, count, do):
        self.count, self.do = count, do

    @contextlib.contextmanager
    def follow(self, subjects):
        def report(rows):
            if (subjects[0].folder / results.METRICS).read_bytes().count(b"\n") == self.count:
                self.do()

        yield report


@pytest.fixture
def at_line():
    return _AtLine


@pytest.fixture
def stopped_sweep_goes_on(tmp_path, at_line):
    """A function that stops a sweep within, goes on with others of its cells, and says what is so of all; its folder."""

    def lines(folder):
        return [json.loads(line) for line in (folder / results.METRICS).read_text().splitlines()]

    def run(config, changed):
        whole, _ = experiment.sweep([config], tmp_path / "whole", progress=False)
        folder = tmp_path / "stopped"
        with pytest.raises(Unfinished, match="stopped at step 448"):
            experiment.sweep([config], folder, progress=False, tracker=at_line(7, helpers.ask_to_stop))
        assert checkpoint.exists(folder / "adam")
        experiment.sweep([changed], folder, progress=False)
        assert not checkpoint.exists(folder / "adam")
        for one in whole:
            again = results.read_run(folder / "adam" / one.folder.name)
            np.testing.assert_array_equal(again.returns, one.returns)
            assert lines(again.folder) == lines(one.folder)
        return folder

    return run


@pytest.fixture
def write_run():
    return helpers.write_run


@pytest.fixture
def made_up(write_run):
    """A function that writes a run with what a test says of it."""

    def write(folder, final, optimizer="adam", rate=0.01, env="CartPole-v1", seed=0, agent="ppo", **rest):
        config = TrainConfig(agent, env, optimizer, rate, seed=seed, hyper=PPOConfig(total_steps=1000))
        return write_run(folder, config, final, **rest)

    return write
