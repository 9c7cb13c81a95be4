"""What can be refused, and what is said, before jax is imported, which takes seconds."""

import dataclasses
import difflib
import errno
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from envs import names
from rlopt import escape, typed
from rlopt.benchmark.suites import SUITES
from rlopt.commands.benchmark import Benchmark, Report
from rlopt.commands.export import Export
from rlopt.commands.learned import MetaTestReturns
from rlopt.commands.population import SHARED, Compare, Evaluate, Plot, Resume, Train
from rlopt.commands.sweep import Sweep
from rlopt.commands.watch import Watch
from rlopt.optimizers import arms, catalog
from rlopt.play import asked
from rlopt.training import presets, stored
from rlopt.training.config import TrainConfig


def check(command: Any) -> None:
    """Refuses what needs no environment and no program to be refused; the rest is for the command itself.

    Raises:
      ValueError, FileNotFoundError: as the command would.
    """
    if isinstance(command, Resume | Watch) and not (command.folder / "config.json").is_file():
        raise ValueError(f"{command.folder} holds no run (config.json is needed){_runs_within(command.folder)}")
    if isinstance(command, Watch):
        command.tracking.check()
        _film(command)
    if isinstance(command, Export):
        command.check()
    if isinstance(command, Evaluate | Export | Plot | Report):
        _hold_runs(command.folders)
    if isinstance(command, Benchmark):
        plan = command.plan
        _known("suite", plan.suite, SUITES)
        _names(plan.agent, [arm.optimizer for arm in arms.parse_all(plan.optimizers).values()], plan.envs)
        plan.check_hyper()
    if isinstance(command, MetaTestReturns):
        _names(command.config.agent, [], command.config.envs)
    if isinstance(command, Train):
        arm = arms.parse(command.config.optimizer)
        _names(command.config.agent, [arm.optimizer], [command.config.env])
        dataclasses.replace(command.config, optimizer=arm.optimizer).check()
        _own_network(command.config.agent, command.config.env, command.config.preset, command.config.hyper)
        theta = command.config.theta
        if theta is not None and theta.suffix and not theta.exists():  # packaged weights are named without one
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(theta))
    if isinstance(command, Train | Compare):
        (command.config.monitor if isinstance(command, Train) else command.monitor).check_not_halving()
    if isinstance(command, Compare | Sweep):
        optimizers = [arm.optimizer for arm in arms.parse_all(command.optimizers).values()]
        _names(command.agent, optimizers, [command.env])
        _own_network(command.agent, command.env, command.preset, command.hyper)
        shared = {name: getattr(command, name) for name in SHARED}
        for optimizer in optimizers:
            # Only what is shared: an optimizer's own rate and options are looked up with the optimizer.
            TrainConfig(**shared, optimizer=optimizer, learning_rate=_any_rate(optimizer)).check()


def _hold_runs(folders: Sequence[Path]) -> None:
    if not folders:
        raise ValueError("give at least one run folder")
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} holds no run (there is no such folder)")
        if not (folder / "benchmark.json").is_file() and next(folder.rglob("config.json"), None) is None:
            raise ValueError(f"{folder} holds no run")


def _film(command: Watch) -> None:
    path = command.folder / "config.json"
    try:
        config = stored.config(path, typed.glanced_at(path))
    except (ValueError, RecursionError):
        return  # the command looks again, and says what is wrong
    asked.check(config, command.member, command.max_steps, command.out)


def _runs_within(folder: Path, most: int = 8) -> str:
    """Which run folders a comparison or a sweep has, for a message."""
    found = sorted(str(path.parent) for depth in ("*", "*/*") for path in folder.glob(f"{depth}/config.json"))
    more = ", ..." if len(found) > most else ""
    return f"; within it there are {', '.join(found[:most])}{more}" if found else ""


def _any_rate(optimizer: str) -> float | None:
    info = catalog.find(optimizer)
    return None if info is not None and info.scheduled else 1.0


def _own_network(agent: str, env_id: str, preset: str, hyper: Any) -> None:
    """Refuses widths and activations for a network that has its own; those of the preset nobody has asked for."""
    if ":" not in hyper.network:
        return
    usual = presets.config(agent, env_id, preset)
    for name in ("hidden", "activation"):
        found = getattr(hyper, name, None)
        if found != getattr(usual, name, None):
            raise ValueError(f"--{name} {found} is not for {hyper.network}, which says for itself")


def _names(agent: str, optimizers: Iterable[str], env_ids: Iterable[str]) -> None:
    _known("agent", agent, presets.AGENTS)
    for optimizer in optimizers:
        if catalog.find(optimizer) is None:
            _known("optimizer", optimizer, catalog.OPTIMIZERS)
    for env_id in env_ids:
        names.check_early(env_id)


def _known(kind: str, name: str, known: Iterable[str]) -> None:
    """As `celo2.names.check_known`, but that imports jax."""
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=len(known), cutoff=0.0)
        raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(close)}")


def announce(command: Any) -> None:
    """Says what is going to be compiled, before jax is imported; where that has been done, the first bar is near."""
    if "jax" in sys.modules:
        return
    if isinstance(command, Train):
        what = _said(command.config, command.config.optimizer, command.config.seeds)
    elif isinstance(command, Compare | Sweep):
        what = _said(command, ", ".join(command.optimizers), command.seeds)
    elif isinstance(command, Benchmark):
        what = (
            f"{command.plan.agent} on {', '.join(command.plan.environments)}: {', '.join(command.plan.all_optimizers)}"
        )
    elif isinstance(command, MetaTestReturns):
        what = f"{command.config.source}: {command.config.agent} on {', '.join(command.config.envs)}"
    elif isinstance(command, Resume):
        what = f"{command.folder} is resumed"
    else:
        return
    print(escape.terminal(f"{what}; starting JAX, then compiling"), file=sys.stderr, flush=True)


def _said(settings: Any, optimizers: str, seeds: int) -> str:
    counted = f"{seeds} seed{'s' if seeds != 1 else ''} of {settings.hyper.total_steps:,} steps"
    return f"{settings.agent} on {settings.env} with {optimizers}: {counted}"
