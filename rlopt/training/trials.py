"""Trials of a search: settings in which members of one population differ, without another program. Imports no jax.

A trial is {name: value}, such as {"learning_rate": 1e-3, "b2": 0.99, "entropy_coef": 0.01}: the learning rate, traced
settings of the agent (`agents.hyperparameters.traced`) and options of the optimizer that are numbers.
"""

import dataclasses
import difflib
import hashlib
import math
from collections.abc import Mapping
from typing import Any

from agents.configs import CONFIGS
from rlopt.optimizers import arms, catalog

Trial = Mapping[str, float]
RATE = "learning_rate"
# Where a setting belongs.
IN_RATE, IN_AGENT, IN_OPTIONS = "rate", "agent", "options"
# Characters of a folder's name; file systems take 255 bytes.
_LONGEST = 180


def names_of(agent: str, optimizer: str) -> tuple[str, ...]:
    """What a search may vary of an agent with an optimizer; of a user's function, its options come on top."""
    info = catalog.find(optimizer)
    traced = [field.name for field in dataclasses.fields(CONFIGS[agent]) if field.metadata.get("traced")]
    options = [] if info is None else [name for name, x in info.options.items() if _is_free(name, x)]
    return (*(() if info is not None and info.scheduled else (RATE,)), *traced, *options)


def place_of(agent: str, optimizer: str, name: str) -> str:
    """Where a setting belongs: IN_RATE, IN_AGENT or IN_OPTIONS.

    Raises:
      ValueError: for a setting that members of a population cannot differ in, with the reason, or that there is not.
    """
    info = catalog.find(optimizer)
    own = info is not None and optimizer not in catalog.OPTIMIZERS
    fields = {field.name: field for field in dataclasses.fields(CONFIGS[agent])}
    if name == RATE and not (info is not None and info.scheduled):
        return IN_RATE
    if name in fields and fields[name].metadata.get("traced"):
        return IN_AGENT
    if name in fields:
        raise ValueError(
            f"{name} decides about shapes or the compiled program, so that trials cannot differ in it: make one search "
            f"for each value of --{name.replace('_', '-')}"
        )
    if info is not None and name in (*info.options, *(() if own else catalog.SHARED)):
        if name not in info.options or not _is_free(name, info.options[name]):
            raise ValueError(
                f"{optimizer}: option {name} decides about the compiled program, so that trials cannot differ in it: "
                f"name the optimizer several times, as in --optimizers {optimizer}:{name}=..."
            )
        return IN_OPTIONS
    if own and name.isidentifier():
        return IN_OPTIONS  # whether the function takes it shows where it is made
    known = names_of(agent, optimizer)
    close = difflib.get_close_matches(name, known, n=len(known), cutoff=0.0)
    raise ValueError(
        f"{optimizer} of {agent} has no setting {name!r} that trials could differ in; {', '.join(close)} are"
    )


def applied(config: Any, trial: Trial) -> Any:
    """A population of one trial, a `TrainConfig`; ValueError as `place_of`."""
    found: dict[str, dict[str, float]] = {IN_RATE: {}, IN_AGENT: {}, IN_OPTIONS: {}}
    for name, value in trial.items():
        found[place_of(config.agent, config.optimizer, name)][name] = value
    return dataclasses.replace(
        config,
        trials=(),
        learning_rate=found[IN_RATE].get(RATE, config.learning_rate),
        hyper=dataclasses.replace(config.hyper, **found[IN_AGENT]),
        options={**config.options, **found[IN_OPTIONS]},
    )


def value_of(config: Any, name: str) -> float | None:
    """What a setting of a trial is in a run's configuration; None: it has none of the name, or no number."""
    if name == RATE:
        value = config.resolved_learning_rate
    elif hasattr(config.hyper, name):
        value = getattr(config.hyper, name)
    else:
        info = catalog.find(config.optimizer)
        value = config.options.get(name, info.defaults.get(name) if info else None)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def of_members(config: Any) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Values per cell of what differs: the agent's settings, and the optimizer's options.

    The learning rate, and the share of an optimizer that takes none, are handed to it apart (`handed_rate`).
    """
    cells = config.cells
    agent: dict[str, list[float]] = {}
    options: dict[str, list[float]] = {}
    for name in config.trials[0]:
        place = place_of(config.agent, config.optimizer, name)
        if place == IN_AGENT:
            agent[name] = [getattr(cell.hyper, name) for cell in cells]
        elif place == IN_OPTIONS and name != catalog.SHARE:
            options[name] = [float(cell.options[name]) for cell in cells]
    return agent, options


def check(config: Any) -> None:
    """Refuses trials that cannot be of one population.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    if config.rates:
        raise ValueError("a population has rates or trials, not both")
    first, *others = config.trials
    if any(set(trial) != set(first) for trial in others) or not first:
        raise ValueError("all trials of a population must give the same settings, and at least one")
    arms.check_options(first)
    inert = config.hyper.inert()
    for name in first:
        place_of(config.agent, config.optimizer, name)
        if name in inert:
            raise ValueError(f"{name} would have no effect: {inert[name]}")
    for trial in config.trials:
        for name, value in trial.items():
            if isinstance(value, bool) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
    names = [described(trial) for trial in config.trials]  # as their run folders are called
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"each trial may be given once, got {twice[0]} twice")


def described(trial: Trial) -> str:
    """A trial in words."""
    return ", ".join(f"{name} {value:g}" for name, value in trial.items())


def folder_name(trial: Trial) -> str:
    """The folder of a trial within that of its population; the same trial has the same one, whatever else is tried."""
    pairs = sorted(trial.items(), key=lambda pair: (pair[0] != RATE, pair[0]))
    name = "_".join(f"{name}-{value:g}" for name, value in pairs)
    if len(name) <= _LONGEST:
        return f"trial_{name}"
    return f"trial_{name[: _LONGEST - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _is_free(name: str, value: Any) -> bool:
    """Whether an option, by its default in the catalog, is a number that may differ."""
    return not isinstance(value, bool | catalog.Choice) and name not in catalog.UNTRACED
