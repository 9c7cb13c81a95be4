"""Fixtures of several folders: runs that share their programs, and that save at every interval."""

import dataclasses

import jax
import pytest

import celo2
import envs
from metatrain import outer
from rlopt.training import evaluations, loop, placement
from rlopt.training.monitor_config import MonitorConfig

_PROGRAMS = {}


@pytest.fixture
def saves_at_every_interval(monkeypatch):
    """Else they save after some time only."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVE_SHARE", 0.0)


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
        packaged = config.theta is None or str(config.theta) in celo2.packaged_weights()
        own = ":" in config.env + config.optimizer.removeprefix("optax:")
        shared = packaged and not own and not envs.is_atari(config.env)
        if not config.optimizer_of:
            config.check()  # what is left out below is an argument of the program
            names = tuple(dict.fromkeys(config.trials[0], 0.0) for _ in config.trials[:1])
            beside = {"arm": None, "monitor": MonitorConfig()}
            config = dataclasses.replace(config, learning_rate=None, rates=(), trials=names, seeds=1, seed=0, **beside)
        return ("agent", repr(config)) if shared else None

    def of_chunk(mesh, agent, length, state, in_turn):
        shapes = str([(x.shape, x.dtype) for x in jax.tree.leaves(state)])
        return ("chunk", id(agent), mesh, length, in_turn, shapes) if id(agent) in kept() else None

    def of_evaluation(mesh, agent, env, policies, seeds, in_turn):
        asked = (env.spec.id, env.spec.num_envs, env.spec.time_limit, tuple(seeds.tolist()), in_turn)
        return ("evaluation", id(agent), mesh, *asked) if id(agent) in kept() else None

    def of_state(agent, config, mesh, salt=None):
        return ("state", id(agent), repr(config), mesh, salt) if id(agent) in kept() else None

    def kept():
        return {id(made) for name, made in _PROGRAMS.items() if name[0] == "agent"}

    def of_meta_training(config, devices=None):
        if devices is not None or any((config.init_theta, config.init_schedule, config.data_dir)):
            return None
        if config.outer_schedule != "cosine":
            config = dataclasses.replace(config, iterations=1)  # the others know nothing of the end
        arguments = {"outer_learning_rate": 1.0, "seed": 0}  # of the program
        return "meta-training", repr(dataclasses.replace(config, refresh_every=1, **arguments))

    monkeypatch.setattr(outer, "compiled", once(outer.compiled, of_meta_training))
    initial_state = once(placement.initial_state, of_state)
    monkeypatch.setattr(loop, "make_agent", once(loop.make_agent, of_agent))
    monkeypatch.setattr(placement, "compile_chunk", once(placement.compile_chunk, of_chunk))
    monkeypatch.setattr(evaluations, "program", once(evaluations.program, of_evaluation))
    # The program takes the state for its own, so that each run needs a copy; this way it takes no program.
    monkeypatch.setattr(
        placement,
        "initial_state",
        lambda *a, **k: jax.tree.map(lambda x: jax.device_put(x, x.sharding, may_alias=False), initial_state(*a, **k)),
    )
