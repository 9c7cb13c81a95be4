"""Run folders made up in a moment, for what reads them; commands in this process; runs that are interrupted."""

import contextlib
from typing import NamedTuple

import pytest

import helpers
from agents import PPOConfig
from rlopt import cli
from rlopt.runs import results
from rlopt.training.config import TrainConfig
from sharing import saves_at_every_interval, shared_programs

__all__ = ["saves_at_every_interval", "shared_programs"]


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
def write_run():
    return helpers.write_run


@pytest.fixture
def made_up(write_run):
    """A function that writes a run with what a test says of it."""

    def write(folder, final, optimizer="adam", rate=0.01, env="CartPole-v1", seed=0, agent="ppo", **rest):
        config = TrainConfig(agent, env, optimizer, rate, seed=seed, hyper=PPOConfig(total_steps=1000))
        return write_run(folder, config, final, **rest)

    return write
