"""Containers, folders that are gone, and environments and optimizers of a user's own that are not what they should be."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from attacks.base import TRAIN, Done, attack, command, process


def _nobody(folder: Path, *words: str, **more: Any) -> Any:
    """A command without HOME, where it can be also of a user who has no name."""
    bare = {"HOME": None, "XDG_CACHE_HOME": None, "JAX_COMPILATION_CACHE_DIR": None, "USER": None, "LOGNAME": None}
    code = """
import os, pwd
def nobody(number):
    raise KeyError(number)
pwd.getpwuid = nobody
from rlopt.__main__ import entry
entry()
"""
    return process(*words, code=code, env=bare | more.pop("env", {}), cwd=folder, **more)


@attack("`rlopt optimizers` in a container with `-u 12345` and without HOME", "a traceback")
def no_home(folder: Path) -> str:
    done = _nobody(folder, "optimizers")
    assert done.status == 0, done.err
    assert len(done.err.splitlines()) == 1, done.err
    return f"status 0, and one line: {done.last}"


@attack("the same with `JAX_COMPILATION_CACHE_DIR`", "a traceback")
def no_home_but_a_cache(folder: Path) -> str:
    done = _nobody(folder, "optimizers", env={"JAX_COMPILATION_CACHE_DIR": str(folder)})
    assert (done.status, done.err) == (0, ""), done
    return "status 0"


@attack("`rlopt train` there", "a traceback")
def training_without_home(folder: Path) -> str:
    done = _nobody(folder, *TRAIN, "--total-steps", "64", "--out", "run")
    assert done.status == 0, done.err
    assert (folder / "run" / "plots" / "learning_curve.png").exists()
    return "status 0"


@attack("`rlopt suites` in a folder that has been removed", "a traceback")
def no_folder(folder: Path) -> str:
    done = _in_a_removed_folder(folder, "suites")
    assert done.status == 0, done.err
    return "status 0"


@attack("`rlopt train` there, without `--out`", "a traceback")
def training_without_a_folder(folder: Path) -> str:
    return _in_a_removed_folder(folder, *TRAIN).refused()


@attack("`rlopt envs` there, and `rlopt train --env Pong-v5`", "envpool aborted the process")
def atari_without_a_folder(folder: Path) -> str:
    done = _in_a_removed_folder(folder, "envs")
    assert done.status == 0, done.err
    assert "CartPole-v1" in done.out
    trained = _in_a_removed_folder(folder, *TRAIN, "--env", "Pong-v5", "--out", folder / "run")
    why = "envpool cannot be imported: the current folder has been removed"
    trained.refused("unknown environment", why)
    assert not (folder / "run").exists()
    return f"status 0, and refused: {why}"


def _in_a_removed_folder(folder: Path, *words: Any) -> Done:
    here = folder / "gone"
    here.mkdir()
    code = f"import os, shutil; shutil.rmtree({str(here)!r}); from rlopt.__main__ import entry; entry()"
    return process(*words, code=code, cwd=here)


def _environment(**changes: Any) -> types.ModuleType:
    """A module `own` whose `Env` is CartPole with parts of it changed."""
    from gymnax.environments.classic_control.cartpole import CartPole

    module = types.ModuleType("own")
    module.Env = type("Env", (CartPole,), changes)  # type: ignore[attr-defined]
    return module


def _refused(folder: Path, *words: str, **changes: Any) -> str:
    with mock.patch.dict(sys.modules, own=_environment(**changes)):
        done = command(*TRAIN, "--env", "own:Env", "--out", folder / "run")
    assert not (folder / "run").exists()
    return done.refused("own:Env", *words)


class Space:
    """What a space has."""

    def __init__(self, **has: Any):
        vars(self).update(has)


@attack("an environment with `Discrete(0)`", "a traceback from within a network")
def no_actions(folder: Path) -> str:
    return _refused(folder, action_space=lambda self, params=None: Space(n=0))


@attack("`max_steps_in_episode=inf`", "`OverflowError`")
def endless_episodes(folder: Path) -> str:
    import gymnax

    import envs

    env, params = gymnax.make("CartPole-v1")
    assert envs.from_gymnax(env, params.replace(max_steps_in_episode=float("inf")), 2).spec.time_limit is None
    return "taken as no limit"


@attack("an observation that is a whole number, with a Box space", "`AttributeError`")
def a_number_in_a_box(folder: Path) -> str:
    import jax.numpy as jnp

    def reset_env(self: Any, key: Any, params: Any) -> tuple[Any, Any]:
        _, state = super(type(self), self).reset_env(key, params)
        return jnp.int32(0), state

    return _refused(folder, reset_env=reset_env, observation_space=lambda self, params: Space(low=0, high=1, shape=()))


def _with_step(change: Callable[..., Any]) -> Callable[..., Any]:
    def step_env(self: Any, *arguments: Any) -> Any:
        return change(*super(type(self), self).step_env(*arguments))

    return step_env


@attack("a reward that is a dict", "a traceback from within JAX")
def a_dict_of_rewards(folder: Path) -> str:
    return _refused(folder, "reward", step_env=_with_step(lambda o, s, r, d, i: (o, s, {"player": r}, d, i)))


@attack("an end that is a dict", "a traceback from within JAX")
def a_dict_of_ends(folder: Path) -> str:
    return _refused(folder, "terminated", step_env=_with_step(lambda o, s, r, d, i: (o, s, r, {"player": d}, i)))


@attack("an observation of shape (0,)", "a traceback from within a network")
def nothing_to_see(folder: Path) -> str:
    import jax.numpy as jnp

    def reset_env(self: Any, key: Any, params: Any) -> tuple[Any, Any]:
        return jnp.zeros(0), super(type(self), self).reset_env(key, params)[1]

    step_env = _with_step(lambda o, s, r, d, i: (jnp.zeros(0), s, r, d, i))
    return _refused(folder, reset_env=reset_env, step_env=step_env)


@attack("an action of shape (0,)", "a traceback from within a network")
def nothing_to_do(folder: Path) -> str:
    return _refused(folder, action_space=lambda self, params=None: Space(low=0.0, high=1.0, shape=(0,)))


@attack("an optimizer of one's own whose update raises", "a traceback without its name")
def an_optimizer_that_raises(folder: Path) -> str:
    import optax

    def make(rate: float) -> optax.GradientTransformation:
        def update(grads: Any, state: Any, params: Any = None) -> Any:
            raise RuntimeError("not today")

        return optax.GradientTransformation(lambda params: (), update)

    module = types.ModuleType("own")
    module.make = make  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, own=module):
        done = command(*TRAIN, "--optimizer", "own:make", "--out", folder / "run")
    return done.refused("own:make", "not today")
