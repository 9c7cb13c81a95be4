"""What tests in several folders make up."""

import dataclasses
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

import celo2
from agents import telling
from celo2.baselines import thetas
from envs import names
from metatrain.config import MetaTrainConfig
from rlopt.optimizers.catalog import OPTIMIZERS
from rlopt.runs import results
from rlopt.training import placement
from rlopt.training.config import TrainConfig
from rlopt.training.history import History

_SMALL = {
    "rule": "celo_adam",
    "iterations": 8,
    "families": ("digits",),
    "tasks_per_family": 1,
    "hidden": 8,
    "batch_size": 8,
    "truncation": 5,
    "min_unroll": 5,
    "max_unroll": 20,
}
# The same for the command line; the same program, which tests of several folders share.
SMALL_META = [
    word
    for name, value in _SMALL.items()
    if name not in ("rule", "iterations")
    for word in (f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else (str(value),)))
]


def by_default(cases: Mapping | Iterable, *chosen) -> list:
    """Parameters for `parametrize`: the chosen cases; and the others, which are near to them, as slow ones.

    The cases have names, which are their own or the keys of a mapping; `make test-slow` tries what `make test` does not.
    """
    named = cases if isinstance(cases, Mapping) else {case: case for case in cases}
    unknown = set(chosen) - set(named)
    if unknown:
        raise ValueError(f"chosen cases must be among {list(named)}, got {unknown}")
    return [
        pytest.param(case, id=str(name), marks=[] if name in chosen else [pytest.mark.slow])
        for name, case in named.items()
    ]


def need_suite(env_id: str) -> None:
    """Skips the test where the package of an environment's suite is not installed."""
    prefix = names.suite(env_id)
    if prefix is not None and not names.is_installed(prefix):
        pytest.skip(f"{prefix} is not installed: pip install 'rlopt[{names.SUITES[prefix].extra}]'")


def small_meta_training(**changes) -> MetaTrainConfig:
    """A meta-training run of milliseconds per iteration; Celo-Adam compiles in half the time of the other rules."""
    return MetaTrainConfig(**_SMALL | changes)


def set_up_already(**settings) -> None:
    """In place of `runtime.configure`, for commands that run in a test's own process."""


def ask_to_stop() -> None:
    """As a scheduler asks this process."""
    os.kill(os.getpid(), signal.SIGTERM)


def one_device(members: int) -> Mesh:
    """In place of `placement.mesh_for`: a machine with one device."""
    return Mesh(np.asarray(jax.devices()[:1]), (placement.AXIS,))


def same_program(one, two) -> bool:
    """Whether nothing differs between two traced programs (jaxprs), theta included, without compiling either."""
    assert one.consts
    assert two.consts
    return str(one) == str(two) and all(map(np.array_equal, one.consts, two.consts))


def write_run(folder: Path, config: TrainConfig, final, stopped=None, intervals: int = 5) -> Path:
    """A finished run that nobody trained: its seeds rise linearly to their final returns."""
    final = np.asarray(final, np.float32)
    stopped = np.full(len(final), -1) if stopped is None else np.asarray(stopped)
    steps = config.hyper.total_steps // intervals * np.arange(1, intervals + 1)
    history = History(
        steps=steps,
        returns=final[:, None] * np.linspace(1 / intervals, 1, intervals, dtype=np.float32),
        lengths=np.ones((len(final), intervals), np.float32),
        final=final,
        stopped=stopped,
        metrics={},
        params={},
        compile_seconds=1.0,
        train_seconds=2.0,
        cpu_seconds=3.0,
        devices="1 x cpu",
        given_up=np.full(len(final), -1),
    )
    config = dataclasses.replace(config, seeds=len(final))
    results.write_config(folder, config)
    results.write_summary(results.write_history(folder, config, history))
    return folder


def told(params: Any, **changes: Any) -> dict[str, Any]:
    """What agents tell an optimizer at an update, `agents.telling.extra_args`, for rules that ask."""
    found = {"value": 1.0, "progress": 0.25, "epoch": 0.5, "key": jax.random.key(0)}
    return telling.extra_args(params, **found | {"dormancy": lambda: jax.tree.map(lambda _: 1.0, params)} | changes)


def weights_for(optimizer: str, folder: Path) -> Path | None:
    """A file of random weights, as small as can be, for a rule that has none packaged; None for all others."""
    info = OPTIMIZERS.get(optimizer)
    if info is None or not info.learned or info.weights is not None:
        return None
    sizes = dict.fromkeys(thetas.BASELINES[info.rule].sizes, 4)
    path = folder / f"{optimizer}.theta"
    celo2.save_checkpoint(path, celo2.init_theta(info.rule, jax.random.key(0), **sizes))
    return path
