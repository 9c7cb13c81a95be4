"""What the command line does, from Python. Imports jax only when something is trained or read."""

import dataclasses
import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlopt.training import presets, runtime
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import MonitorConfig

if TYPE_CHECKING:
    import pandas

    from rlopt.runs.results import Run


def train(
    config: TrainConfig | None = None, *, out: Path | str | None = None, progress: bool = True, **settings: Any
) -> "Run":
    """Trains a population into a run folder, as `rlopt train` does; the same call with the same folder resumes it.

    Where jax has not been imported yet, it is set up as the command line does it (`runtime.configure`).

    Args:
      config: what to train; None: what the settings say.
      out: the run's folder; None: a new one under runs/.
      progress: show a progress bar.
      **settings: of `TrainConfig`, of the agent's own configuration or of `MonitorConfig`; they win over config.

    Returns:
      The finished run, as `load_run` reads it.

    Raises:
      ValueError: for an unknown or impossible setting, or a folder that holds anything else.
      Unfinished: when stopped by a signal; the folder then holds a checkpoint.

    Examples:
      >>> import rlopt, tempfile
      >>> config = rlopt.configured(env="CartPole-v1", optimizer="adam", seeds=2, total_steps=2048)
      >>> run = rlopt.train(config, out=f"{tempfile.mkdtemp()}/run", progress=False)
      >>> run.returns.shape[0], run.summary["env_steps"]
      (2, 2048)
    """
    resolved = configured(config, **settings)
    if "jax" not in sys.modules:
        runtime.configure(num_devices=runtime.devices_for(resolved.seeds))
    from rlopt.runs import experiment

    return experiment.run(resolved, None if out is None else Path(out), progress)


def configured(config: TrainConfig | None = None, **settings: Any) -> TrainConfig:
    """A configuration with changed settings: of `TrainConfig`, its agent's own configuration, or its monitor's.

    Raises:
      ValueError: for a setting that none has, or a config whose environment, agent or preset is to change, which all
        other defaults depend on.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    decisive = [name for name in ("agent", "env", "preset") if name in settings]
    if config is not None and decisive:
        raise ValueError(f"{decisive[0]} decides on other settings; give it without a config, or make a new one")
    outer = {name: value for name, value in settings.items() if name in names}
    found: TrainConfig = TrainConfig(**outer) if config is None else dataclasses.replace(config, **outer)
    beside = {field.name: settings[field.name] for field in dataclasses.fields(MonitorConfig) if field.name in settings}
    found = dataclasses.replace(found, monitor=dataclasses.replace(found.monitor, **beside))
    inner = {name: value for name, value in settings.items() if name not in (*names, *beside)}
    known = [field.name for field in dataclasses.fields(presets.CONFIGS[found.agent])]
    for name in inner:
        if name not in known:
            close = difflib.get_close_matches(name, [*names, *known], n=8, cutoff=0.0)
            raise ValueError(f"unknown setting {name!r}; the closest are {', '.join(close)}")
    return dataclasses.replace(found, hyper=dataclasses.replace(found.hyper, **inner)) if inner else found


def load_run(folder: Path | str) -> "Run":
    """A finished run: steps [T], returns [S, T], final [S], stopped [S] and its summary.

    Raises:
      ValueError: if the folder holds no finished run, or a damaged one.
    """
    from rlopt.runs import results

    return results.read_run(Path(folder))


def load_config(folder: Path | str) -> TrainConfig:
    """The settings of a run, finished or not; ValueError for a folder without one."""
    from rlopt.runs import results

    return results.read_config(Path(folder))


def find_runs(*folders: Path | str) -> "list[Run]":
    """Every finished run in and below some folders, once.

    Warns:
      RuntimeWarning: naming a run that is not finished and left out.

    Raises:
      ValueError: for a folder without any run.
    """
    from rlopt.runs import results

    return results.find_runs([Path(folder) for folder in folders])


def to_dataframe(runs: "Run | Iterable[Run]") -> "pandas.DataFrame":
    """Learning curves as a tidy table: one row per run, seed and logging interval.

    Args:
      runs: one, or several.

    Returns:
      The columns of `rlopt.runs.tidy.COLUMNS`, which `rlopt export` writes, too.

    Raises:
      ModuleNotFoundError: if pandas is not installed.
    """
    import pandas as pd

    from rlopt.runs import tidy
    from rlopt.runs.results import Run

    return pd.DataFrame(tidy.columns([runs] if isinstance(runs, Run) else list(runs)))
