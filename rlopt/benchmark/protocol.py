"""Benchmarks: how optimizers are judged on a suite. Learning rates are chosen on other seeds than those reported.

1. Every optimizer is trained at each of its candidate learning rates, on every environment, with the tuning seeds, of
   which those that do badly get fewer (`benchmark.tuning`).
2. Two settings are chosen from that: the rate that is best on each environment ("tuned"), and the one rate that is best
   on the whole suite ("shared"). All optimizers get as many trials; one that takes no rate has nothing to choose.
3. It is trained with these rates on fresh seeds, which are what is reported.

Scores are normalised per environment: a random policy is 0, tuned Adam is 1.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celo2.files import read_json, write_atomic
from celo2.names import check_known
from rlopt import typed
from rlopt.benchmark.plan import YARDSTICK, Plan
from rlopt.benchmark.suites import SUITES
from rlopt.optimizers import arms
from rlopt.runs import results
from rlopt.storage import sealed
from rlopt.training import presets
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import LookConfig

PLAN, RANDOM, TUNING, FINAL = results.BENCHMARK, "random.json", "tuning", "final"


class Choice(NamedTuple):
    """Learning rates chosen for an optimizer: one per environment, and one for all; None where it takes none."""

    tuned: Mapping[str, float | None]
    shared: float | None

    def rates(self, env_id: str) -> tuple[float, ...]:
        """What is to be trained on an environment, each once."""
        return tuple(dict.fromkeys(rate for rate in (self.tuned[env_id], self.shared) if rate is not None))


class Scale(NamedTuple):
    """Normalisation of an environment's returns: zero and one on the scale of scores."""

    zero: float
    one: float

    @property
    def usable(self) -> bool:
        """Whether the yardstick is above the zero, so that scores mean something."""
        return bool(self.one > self.zero)

    def __call__(self, returns: np.ndarray) -> np.ndarray:
        """Normalised returns."""
        return (returns - self.zero) / (self.one - self.zero)

    def lost(self, run: results.Run) -> int:
        """Seeds of a run that stopped, have no final return, or one nearer to the zero than to the yardstick."""
        low = run.final <= (self.zero + self.one) / 2 if self.usable else False
        return int(np.sum((run.stopped >= 0) | np.isnan(run.final) | low))


def place(folder: Path, stage: str, env_id: str, optimizer: str) -> Path:
    """Where the runs of an optimizer on an environment lie; stage: FINAL, or a rung's (`tuning.rungs`)."""
    return folder / stage / results.safe_name(env_id) / results.safe_name(optimizer)


def write_plan(folder: Path, plan: Plan) -> None:
    """Notes what a benchmark is, beside its runs.

    Raises:
      ValueError: for a folder with another benchmark; optimizers may be added, with weights of their own.
    """
    here = typed.plain(plan)
    path = folder / PLAN
    if path.is_file():
        found = read_plan(folder)
        there = typed.plain(found)
        if found.first_tuning_seeds == plan.first_tuning_seeds:
            there["halving"] = here["halving"]  # with two tuning seeds there is nothing to halve
        before, weights = there.pop("optimizers"), there.pop("theta")
        named, given = here.pop("optimizers"), here.pop("theta")
        both = [name for name in named if name in before]
        sealed.check_settings(
            f"the benchmark in {folder}",
            there | {"theta": {name: weights.get(name) for name in both}},
            here | {"theta": {name: given.get(name) for name in both}},
        )
        here["optimizers"] = before + [name for name in named if name not in before]
        arms.parse_all(here["optimizers"])
        here["theta"] = weights | given
    else:
        results.check_free(folder)
    if plan.monitor == LookConfig():
        del here["monitor"]  # what has none is written as ever
    write_atomic(path, json.dumps(here, indent=2).encode() + b"\n")


def read_plan(folder: Path) -> Plan:
    """The benchmark of a folder.

    Raises:
      ValueError: if there is none, or one that this version does not understand.
    """
    path = folder / PLAN
    if not path.is_file():
        raise ValueError(f"{folder} holds no benchmark ({PLAN} is needed)")
    try:
        found = read_json(path)
        # Before there was halving, every rate had all tuning seeds.
        found = {"halving": False, **found}
        if empty := [name for name, x in found.items() if x is None and name != "steps"]:
            raise ValueError(f"{', '.join(empty)} must not be null")  # a plan would take it for what its suite says
        settings: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in found.items()}
        if isinstance(settings.get("theta"), dict):
            settings["theta"] = {n: Path(x) if isinstance(x, str) else x for n, x in settings["theta"].items()}
        if "monitor" in settings:
            settings["monitor"] = LookConfig(**settings["monitor"])
        plan = Plan(**settings)
        typed.check(plan)
        check_known("agent", plan.agent, presets.AGENTS)
        check_known("suite", plan.suite, SUITES)
        arms.check_options(plan.options)
        return plan
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not of a benchmark that this version understands: {error!r}") from error


def random_returns(folder: Path) -> dict[str, list[float]]:
    """Returns of random policies per environment, as far as they have been played; ValueError for anything else."""
    path = folder / RANDOM
    found = read_json(path) if path.exists() else {}
    for env_id, scores in found.items():
        if not (isinstance(scores, list) and all(typed.is_number(score) for score in scores)):
            raise ValueError(f"{path}: the returns on {env_id!r:.100} must be numbers, got {scores!r:.100}")
    return found


def play_randomly(folder: Path, plan: Plan, play: Callable[[TrainConfig], np.ndarray]) -> None:
    """Plays what is missing of the random policies."""
    found = random_returns(folder)
    for env_id in plan.environments:
        if env_id not in found:
            found[env_id] = play(plan.config(YARDSTICK, env_id)).tolist()
            write_atomic(folder / RANDOM, json.dumps(found).encode() + b"\n", make_folder=False)
