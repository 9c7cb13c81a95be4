"""Learned optimizers for reinforcement learning: what a person runs, from Python as from the command line.

Names load on first use, so that jax can be set up before it is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlopt.api import configured, find_runs, load_config, load_run, to_dataframe, train
    from rlopt.training.config import TrainConfig
    from rlopt.training.runtime import configure

_WHERE = {
    "TrainConfig": "rlopt.training.config",
    "configure": "rlopt.training.runtime",
    "configured": "rlopt.api",
    "find_runs": "rlopt.api",
    "load_config": "rlopt.api",
    "load_run": "rlopt.api",
    "to_dataframe": "rlopt.api",
    "train": "rlopt.api",
}
__all__ = ["TrainConfig", "configure", "configured", "find_runs", "load_config", "load_run", "to_dataframe", "train"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rlopt' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
