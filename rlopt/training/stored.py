"""The settings of a run as its `config.json` has them, of any format. Imports no jax."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.atari_config import AtariConfig
from rlopt import typed
from rlopt.optimizers import arms
from rlopt.training import legacy, presets, trials
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import MonitorConfig


def config(path: Path, document: Mapping[str, Any]) -> TrainConfig:
    """The settings that a document says.

    path: of its file, for messages.

    Raises:
      ValueError: for one that this version does not understand.
    """
    try:
        found = legacy.upgraded(dict(document))
        kind = presets.CONFIGS[found["agent"]]
        hyper: dict[str, Any] = {n: tuple(x) if isinstance(x, list) else x for n, x in found.pop("hyper").items()}
        settings = {field.name: found[field.name] for field in dataclasses.fields(TrainConfig) if field.name in found}
        settings["atari"] = AtariConfig(**found.get("atari", {}))
        settings["options"] = dict(found.get("options", {}))
        settings["rates"] = tuple(found.get("rates", ()))
        monitor: dict[str, Any] = {
            name: tuple(x) if isinstance(x, list) else x for name, x in found.get("monitor", {}).items()
        }
        settings["monitor"] = MonitorConfig(**monitor)
        settings["trials"] = tuple(found.get("trials", ()))
        settings["theta"] = None if found["theta"] is None else Path(found["theta"])
        read: TrainConfig = TrainConfig(**settings, hyper=kind(**hyper))
        typed.check(read)
        arms.check_options(read.options)
        if read.trials:
            trials.check(read)
        return read
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not of a run that this version understands: {error!r}") from error
