"""Checks that several agents' settings share. Nothing here imports jax."""

import math
from typing import Any


def at_least_one(config: Any, *names: str) -> None:
    """Refuses settings below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def shares(config: Any, *names: str) -> None:
    """Refuses settings outside [0, 1]."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {getattr(config, name)}")


def positive_or_none(config: Any, *names: str) -> None:
    """Refuses settings that are neither None nor positive and finite."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value}")


def one_of(config: Any, **choices: tuple[str, ...]) -> None:
    """Refuses settings that are not among their choices: misspelt, they would mean something else."""
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(config, name)!r}")


def network(config: Any, names: tuple[str, ...]) -> None:
    """Refuses a network that is neither one of ours nor `module:name`."""
    module, colon, name = config.network.partition(":")
    if config.network not in names and not (colon and module and name):
        known = ", ".join(names)
        raise ValueError(f"unknown network {config.network!r}; there are {known}, and module:name of your own")


def widths(config: Any) -> None:
    """Refuses a network without hidden layers, or with empty ones."""
    if not config.hidden or min(config.hidden) < 1:
        raise ValueError(f"hidden must name at least one width >= 1, got {config.hidden}")


def without_effect(config: Any) -> None:
    """Refuses a setting that was changed although others switch it off: it would be ignored without a word."""
    for name, why in config.inert().items():
        value = getattr(config, name)
        if value != type(config).__dataclass_fields__[name].default:
            raise ValueError(f"{name} would have no effect: {why}, got {value}")


def rollout(config: Any) -> None:
    """Refuses a rollout that does not divide into minibatches, or is longer than the whole training."""
    sizes = f"num_envs {config.num_envs} x rollout_length {config.rollout_length}"
    if config.env_steps_per_iteration % config.minibatches:
        raise ValueError(
            f"a batch of {config.env_steps_per_iteration} ({sizes}) does not divide into "
            f"{config.minibatches} minibatches"
        )
    if config.num_iterations < 1:
        raise ValueError(
            f"total_steps ({config.total_steps}) must cover one rollout of {config.env_steps_per_iteration} ({sizes})"
        )
