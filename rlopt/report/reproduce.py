"""The commands that make runs again."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlopt.benchmark.plan import Plan
from rlopt.report import rates
from rlopt.report.cells import Evidence
from rlopt.runs.results import read_config
from rlopt.training import presets
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import LookConfig, MonitorConfig


def commands(evidence: Evidence, folders: Sequence[Path]) -> str:
    """One line per command; the last one makes the report of the folders."""
    if evidence.plan is not None:
        made = [benchmark(evidence.plan, folders[0]) + (" --extend" if rates.extended(evidence) else "")]
    else:
        made = [_train_or_why_not(folder) for cell in evidence.reported for folder in cell.folders]
    return "\n".join([*made, shlex.join(["rlopt", "report", *map(str, folders)])])


def _train_or_why_not(folder: Path) -> str:
    try:
        return train(read_config(folder), folder)
    except ValueError as error:  # of another version
        return f"# {folder}: {error}"


def benchmark(plan: Plan, folder: Path) -> str:
    """The command of a benchmark."""
    flags = _flags(plan, Plan(agent=plan.agent, suite=plan.suite), skip=("agent", "monitor"))
    flags += _flags(plan.monitor, LookConfig())
    return " ".join(["rlopt", "benchmark", _word(plan.agent), *flags, "--out", shlex.quote(str(folder))])


def train(config: TrainConfig, folder: Path) -> str:
    """The command of one population."""
    preset = presets.find(config.agent, config.env, config.preset)
    usual: TrainConfig = TrainConfig(agent=config.agent, atari=preset.atari, optimizer="")
    flags = _flags(config, usual, skip=("agent", "rates", "hyper", "atari", "monitor"))
    flags += _flags(config.hyper, presets.config(config.agent, config.env, config.preset))
    flags += [f"--atari.{flag[2:]}" if flag[:2] == "--" else flag for flag in _flags(config.atari, preset.atari)]
    flags += _flags(config.monitor, MonitorConfig(), skip=("halve_at",))  # of the sweep that it was one rate of
    return " ".join(["rlopt", "train", _word(config.agent), *flags, "--out", shlex.quote(str(folder))])


def _flags(settings: Any, usual: Any, skip: tuple[str, ...] = ()) -> list[str]:
    """Flags for what is not as usual, or is always said (the environment)."""
    flags: list[str] = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in skip or (value == getattr(usual, field.name) and field.name not in ("env", "suite")):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            flags += [f"--{flag}", *(_word(x) for x in value)]
        elif isinstance(value, dict):
            flags += [f"--{flag}", *(word for key, x in value.items() for word in map(_word, (key, x)))]
        else:
            flags += [f"--{flag}", _word(value)]
    return flags


def _word(value: Any) -> str:
    return shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))
