"""`--config`: a run's own file as what all settings start from. Flags win. Imports no jax."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlopt import typed
from rlopt.commands import flags
from rlopt.commands.population import SHARED, Compare, Train
from rlopt.commands.sweep import Sweep
from rlopt.training import stored
from rlopt.training.config import TrainConfig

COMMANDS = ("train", "compare", "sweep")


def read(path: Path) -> TrainConfig:
    """The settings that a file holds; of a folder, its config.json.

    Raises:
      ValueError: for what is no such file. OSError: for what cannot be read.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        document = typed.glanced_at(path)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--config takes the config.json of a run, or its folder: {path}: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(document).__name__}")
    return stored.config(path, document)


def defaults(kind: str, config: TrainConfig, agent: str, preset: str) -> Any:
    """A command whose settings are those of a run, but for dictionaries, which `completed` adds: as defaults, each of
    their names would be a flag.

    Args:
      kind: one of `COMMANDS`.
      config: what the file says.
      agent, preset: what the command line says.

    Raises:
      ValueError: for another agent or preset than the file's; for `train` with the file of a sweep.
    """
    for name, ours in (("agent", agent), ("preset", preset)):
        theirs = getattr(config, name)
        if ours != theirs:
            raise ValueError(f"--config is of {name} {theirs}, which decides on all other settings, got {ours}")
    if kind == "train":
        if config.rates:
            raise ValueError(f"--config is of a sweep of {len(config.rates)} rates; it goes with `rlopt sweep`")
        if config.trials:
            raise ValueError(f"--config is of a search of {len(config.trials)} trials, each with a folder: name one")
        return Train(replace(config, options={}, optimizer_of={}))
    shared = {name: getattr(config, name) for name in SHARED}
    if kind == "compare":
        return Compare(**shared)
    return Sweep(**shared, optimizers=(config.optimizer,), learning_rates=config.rates)


def completed(command: Any, config: TrainConfig, words: Sequence[str]) -> Any:
    """A parsed command with what `defaults` left out: an optimizer's own settings go with it, not with another's.

    words: of the command line.

    Raises:
      ValueError: for code that only the file names; for the file of a search, whose trials no flags say.
    """
    found = command.config if isinstance(command, Train) else command
    parts = {**config.optimizer_of, **found.optimizer_of}
    if isinstance(command, Train):
        if found.optimizer == config.optimizer:
            given = {name: value for name, value in found.options.items() if name in words}  # others are defaults
            found = replace(found, options={**config.options, **given}, optimizer_of=parts)
        else:  # its rate, its weights and its name are those of the file's optimizer, unless flags say more
            kept = {"learning_rate": "--learning-rate", "theta": "--theta"}
            own = {name: None for name, flag in kept.items() if flags.value_of(words, flag) is None}
            found = replace(found, **own, optimizer_of=parts, arm=None)
        command, optimizers = replace(command, config=found), (found.optimizer,)
    else:
        command = replace(command, optimizer_of=parts)
        if isinstance(command, Sweep) and config.trials and not command.search:
            raise ValueError(
                f"--config is of a search of {len(config.trials)} trials: give --grid or --space too, as it was begun; "
                "all else is as there"
            )
        if isinstance(command, Sweep) and command.optimizers == (config.optimizer,):
            weights = {} if config.theta is None else {config.optimizer: config.theta}
            text = config.optimizer if config.arm is None else f"{config.arm}={config.optimizer}"
            options = {**config.options, **command.options}
            command = replace(command, optimizers=(text,), options=options, theta={**weights, **command.theta})
        found, optimizers = command, tuple(getattr(command, "optimizers", ()))
    used = (found.env, found.hyper.network, *optimizers, *parts.values())
    for name in config.code:
        if any(name in text for text in used) and not any(name in word for word in words):
            raise ValueError(f"--config names {name!r}, which is code: name it as a flag as well if it is your own")
    return command
