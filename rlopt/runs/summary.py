"""What `summary.json` says of a finished run, and what tables and plots need of it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rlopt import typed
from rlopt.runs.kept import Evaluations
from rlopt.statistics import bootstrap
from rlopt.training import machine
from rlopt.training.config import TrainConfig
from rlopt.training.history import History
from rlopt.training.monitor_config import MonitorConfig


@dataclasses.dataclass(frozen=True)
class _Summary:
    """What tables and plots need of summary.json."""

    agent: str
    env_id: str
    optimizer: str
    learning_rate: float | None
    seeds: int
    env_steps: int
    final_return_iqm: float | None
    final_return_ci95: tuple[float, ...] | None
    final_returns: tuple[float | None, ...]
    stopped_seeds: tuple[int, ...]
    wall_seconds: float


# Where seeds were given up: the steps after which, per seed; -1: it was not.
GIVEN_UP = "given_up_steps"


def of(config: TrainConfig, history: History) -> dict[str, Any]:
    """The summary of a run that has come to its end; not yet as JSON has it."""
    steps = int(history.steps[-1])
    return {
        "agent": config.agent,
        "env_id": config.env,
        "optimizer": config.title,
        "learning_rate": config.resolved_learning_rate,
        "seeds": config.seeds,
        "env_steps": steps,
        **told_of(history.final),
        "stopped_seeds": [config.seed + i for i in np.flatnonzero(history.stopped >= 0).tolist()],
        "wall_seconds": round(history.compile_seconds + history.train_seconds, 2),
        "compile_seconds": round(history.compile_seconds, 2),
        "cpu_seconds": round(history.cpu_seconds, 2),
        "devices": history.devices,
        "processor": machine.processor(),
        "env_steps_per_second": round(steps * config.seeds / history.train_seconds, 1),
    }


def told_of(final: np.ndarray) -> dict[str, Any]:
    """What a summary says of final returns [S]; no interval for one seed."""
    interval = bootstrap(final) if np.all(np.isfinite(final)) else None
    return {
        "final_return_iqm": interval.estimate if interval else None,
        "final_return_ci95": [interval.low, interval.high] if interval and interval.known else None,
        "final_returns": final.tolist(),
    }


def beside(config: TrainConfig, history: History, evaluations: Evaluations | None) -> dict[str, Any]:
    """What a summary says, per seed, of evaluations, the best parameters and giving up, where there are any."""
    found: dict[str, Any] = {GIVEN_UP: history.given_up.tolist()} if np.any(history.given_up >= 0) else {}
    if config.monitor != MonitorConfig():
        found["seconds_beside"] = round(history.seconds_beside, 2)
    if evaluations is not None:
        last = told_of(evaluations.returns[:, -1])
        found["evaluation"] = {
            "every": config.monitor.eval_every,
            "episodes": config.monitor.eval_episodes,
            "last_step": int(evaluations.steps[-1]),
            **{name.replace("final", "last"): value for name, value in last.items()},
        }
    if history.best is not None:
        found["best"] = {
            "judged_by": "evaluation" if config.monitor.eval_every else "training",
            "steps": history.best.steps.tolist(),
            "returns": history.best.returns.tolist(),
        }
    return found


def check(path: Path, summary: dict[str, Any], seeds: int) -> None:
    """Refuses a summary that tables and plots cannot be made of."""
    try:
        found = {field.name: summary[field.name] for field in dataclasses.fields(_Summary)}
        values: dict[str, Any] = {n: tuple(x) if isinstance(x, list) else x for n, x in found.items()}
        told = _Summary(**values)
        typed.check(told)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is not of a run that this version understands: {error}") from error
    numbers = {name: summary.get(name, 0.0) for name in ("compile_seconds", "cpu_seconds")}  # older runs have neither
    words = {name: summary.get(name, "") for name in ("devices", "processor")}
    wrong = [name for name, value in numbers.items() if not (value is None or typed.is_number(value))]
    wrong += [name for name, value in words.items() if not (value is None or isinstance(value, str))]
    if wrong:
        raise ValueError(f"{path} is not of a run that this version understands: {', '.join(wrong)}")
    left = summary.get(GIVEN_UP, [-1] * seeds)
    if not (isinstance(left, list) and len(left) == seeds and all(type(x) is int and abs(x) < 2**63 for x in left)):
        raise ValueError(f"{path}: {GIVEN_UP} must be {seeds} whole numbers, got {left!r:.100}")
    if told.seeds != seeds or len(told.final_returns) != seeds:
        raise ValueError(f"{path} is of other runs than returns.npz, which has {seeds} seeds")
    if told.final_return_ci95 is not None and len(told.final_return_ci95) != 2:
        raise ValueError(f"{path}: final_return_ci95 must be two numbers, got {told.final_return_ci95}")
