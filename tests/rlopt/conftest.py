"""Run folders made up in a moment, for what reads them; commands in this process; runs that are interrupted."""

import contextlib
import dataclasses
from typing import NamedTuple

import jax
import pytest

import envs
import helpers
from agents import PPOConfig
from metatrain import outer
from rlopt import cli
from rlopt.runs import results
from rlopt.training import loop, placement
from rlopt.training.config import TrainConfig


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
        status = cli.main([str(word) for word in words], configure=lambda **settings: None)
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
def saves_at_every_interval(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVE_SHARE", 0.0)


_PROGRAMS = {}


@pytest.fixture
def shared_programs(monkeypatch):
    """Runs of equal settings share their programs over all tests: making one takes seconds, a run a tenth of one."""

    def once(function, key):
        def found(*arguments, **options):
            name = key(*arguments, **options)
            if name is None:
                return function(*arguments, **options)
            if name not in _PROGRAMS:
                _PROGRAMS[name] = function(*arguments, **options)
            return _PROGRAMS[name]

        return found

    def of_agent(config):
        # A pool of emulators has a state, and a file of weights may change.
        shared = not envs.is_atari(config.env) and config.theta is None and ":" not in config.env + config.optimizer
        if not config.optimizer_of:
            config.check()  # what is left out below is an argument of the program
            names = tuple(dict.fromkeys(config.trials[0], 0.0) for _ in config.trials[:1])
            config = dataclasses.replace(config, learning_rate=None, rates=(), trials=names, seeds=1, seed=0, arm=None)
        return ("agent", repr(config)) if shared else None

    def of_chunk(mesh, agent, length, state, in_turn):
        shapes = str([(x.shape, x.dtype) for x in jax.tree.leaves(state)])
        return ("chunk", id(agent), mesh, length, in_turn, shapes) if id(agent) in kept() else None

    def of_state(agent, config, mesh, salt=None):
        return ("state", id(agent), repr(config), mesh, salt) if id(agent) in kept() else None

    def kept():
        return {id(made) for name, made in _PROGRAMS.items() if name[0] == "agent"}

    def of_meta_training(config, devices=None):
        if devices is not None or any((config.init_theta, config.init_schedule, config.data_dir)):
            return None
        if config.outer_schedule != "cosine":
            config = dataclasses.replace(config, iterations=1)  # the others know nothing of the end
        return "meta-training", repr(dataclasses.replace(config, refresh_every=1))

    monkeypatch.setattr(outer, "build", once(outer.build, of_meta_training))
    initial_state = once(placement.initial_state, of_state)
    monkeypatch.setattr(loop, "build", once(loop.build, of_agent))
    monkeypatch.setattr(placement, "compile_chunk", once(placement.compile_chunk, of_chunk))
    # The program takes the state for its own, so that each run needs a copy.
    monkeypatch.setattr(
        placement, "initial_state", lambda *a, **k: jax.tree.map(lambda x: x.copy(), initial_state(*a, **k))
    )


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
