"""Code that runs although nobody asked for it."""

import json
import os
import shlex
from pathlib import Path
from unittest import mock

from attacks.base import TRAIN, Done, attack, command, finished, module_that_tells, process, report, settings

# What commands import; a downloaded folder may hold files of these names.
NAMES = ("rich", "jax", "flax", "optax", "numpy", "tyro", "tqdm", "matplotlib", "envs", "agents", "celo2", "metatrain")


def _foreign_modules(folder: Path) -> Path:
    for name in NAMES:
        module_that_tells(folder / f"{name}.py", folder / "ran")
    return folder / "ran"


@attack("`cd downloaded; rlopt plot .`, with `rich.py`, `jax.py` and others there", "`rich.py` was imported")
def plot_beside_modules(folder: Path) -> str:
    ran = _foreign_modules(folder)
    finished(folder / "run")
    done = process("plot", ".", cwd=folder)
    assert done.status == 0, done.err
    assert not ran.exists()
    return "drawn; nothing there was imported"


@attack("the same as `python -m rlopt plot .`", "`rich.py` was imported")
def plot_as_a_module_beside_modules(folder: Path) -> str:
    ran = _foreign_modules(folder)
    finished(folder / "run")
    done = process("plot", ".", cwd=folder, module=True)
    assert done.status == 0, done.err
    assert not ran.exists()
    return "drawn; nothing there was imported"


@attack("`python -m rlopt` (as jobs do) in a project that has a folder `envs` of its own", "a traceback")
def a_project_with_envs(folder: Path) -> str:
    (folder / "envs").mkdir()
    (folder / "envs" / "__init__.py").write_text("mine = True\n")
    done = process("suites", cwd=folder, module=True)
    assert done.status == 0, done.err
    assert "quick" in done.out
    from rlopt.runs import launcher

    assert "-P" in launcher.command(folder, 1)
    return "our own `envs` is used; jobs start with `python -P`"


@attack("`import rlopt` in a script beside a folder `envs` of its own", "an `ImportError` from deep within")
def a_script_beside_envs(folder: Path) -> str:
    (folder / "envs").mkdir()
    (folder / "envs" / "__init__.py").touch()
    (folder / "script.py").write_text("import rlopt")
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import rlopt"
    done = process(code=code, cwd=folder)
    assert done.status == 1
    for words in ("rlopt needs its own package 'envs'", str(folder / "envs"), "rename"):
        assert words in done.last, done.err
    return done.last


@attack("`--env mine:Env` in the current folder, which also holds `rich.py`", "`rich.py` was imported")
def code_that_was_named(folder: Path) -> str:
    ran = _foreign_modules(folder)
    (folder / "mine.py").write_text(
        "from gymnax.environments.classic_control.cartpole import CartPole\nclass Env(CartPole): pass\n"
    )
    done = process(*TRAIN, "--env", "mine:Env", "--total-steps", "64", "--out", "run", cwd=folder)
    assert done.status == 0, done.err
    assert not ran.exists()
    return "`mine.py` is imported, and nothing else there"


def _stranger(folder: Path) -> tuple[Path, Path]:
    """A benchmark of a stranger's whose plan names code that lies beside it; where it tells that it ran."""
    from rlopt.benchmark import protocol
    from rlopt.benchmark.plan import Plan

    theirs, ran = folder / "theirs", folder / "ran"
    plan = Plan(
        optimizers=("adam", "evil:make"), envs=("CartPole-v1",), seeds=2, tuning_seeds=2, learning_rates=(1e-3,)
    )
    protocol.write_plan(theirs, plan)
    (theirs / protocol.RANDOM).write_text(json.dumps({"CartPole-v1": [20.0]}))
    for optimizer in plan.optimizers:
        for rate in plan.candidates(optimizer) or (1e-3,):
            for stage, seed in ((protocol.TUNING, 10_000), (protocol.FINAL, 0)):
                config = settings(optimizer=optimizer, learning_rate=rate, seed=seed)
                place = protocol.place(theirs, stage, "CartPole-v1", optimizer) / f"rate-{rate:g}"
                finished(place, config)
    module_that_tells(folder / "evil.py", ran)
    return theirs, ran


def _within(folder: Path, *words: object) -> Done:
    """A command in a folder, without figures."""
    from rlopt.report import pictures

    before = os.getcwd()
    os.chdir(folder)
    try:
        with mock.patch.object(pictures, "all_of", return_value=[]):
            return command(*words)
    finally:
        os.chdir(before)


@attack("`rlopt report theirs`, whose plan names `evil:make`", "as now")
def report_of_a_stranger(folder: Path) -> str:
    theirs, ran = _stranger(folder)
    done = _within(folder, "report", theirs)
    assert done.status == 0, done.err
    assert not ran.exists()
    return "the report is written without timing it"


@attack("`rlopt benchmark ppo --optimizers adam --out theirs`, whose plan names `evil:make`", "`evil.py` was imported")
def benchmark_of_a_stranger(folder: Path) -> str:
    from rlopt.benchmark import runner

    theirs, ran = _stranger(folder)
    # What is trained is of no matter here: the report is what looks at the plan of the folder.
    with mock.patch.object(runner, "run", lambda plan, out, **more: out):
        words = ("benchmark", "ppo", "--envs", "CartPole-v1", "--learning-rates", "1e-3")
        words += ("--optimizers", "adam", "--out", theirs)
        done = _within(folder, *words)
        assert done.status == 0, done.err
        assert not ran.exists()
        _within(folder, *words, "--trust")
        assert ran.exists()
    return "only what the command line names is imported, the rest with `--trust`"


@attack('a run whose option is called `a; touch X #`, and "How to make this again"', "the command was printed unquoted")
def names_of_options(folder: Path) -> str:
    from rlopt.report import reproduce
    from rlopt.runs import results

    name = "a; touch X #"
    config = settings(optimizer="mine:make", options={name: 1.0})
    words = shlex.split(reproduce.train(config, folder / "b; touch Y"))
    assert name in words
    assert str(folder / "b; touch Y") in words
    finished(folder / "run", options={name: 1.0})
    done = report(folder / "run", "--no-timing")
    assert results.CONFIG in done.last
    return done.refused("the name of an option")


@attack("`--options 'a; touch X #' 1` for an optimizer of one's own", "taken")
def names_of_options_given(folder: Path) -> str:
    done = command(*TRAIN, "--optimizer", "optax:adam", "--options", "a; touch X #", "1", "--out", folder / "run")
    return done.refused("option")
