"""Learned optimizers for reinforcement learning: what a person runs, from Python as from the command line.

Names load on first use, so that jax can be set up before it is imported.
"""

import contextlib
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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

# Beside this package wherever it is installed; their names are common enough for a user's own folders.
_BESIDE = ("agents", "celo2", "envs", "metatrain")


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rlopt' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__


def _leave_out_current_folder() -> None:
    """`python -m rlopt` puts the current folder first: modules in a downloaded one would pass for installed ones.

    What a command line names as `module:name` is looked for there nevertheless, last (`envs.own_code`).
    """
    words = sys.orig_argv
    asked = words[words.index("-m") + 1 :][:1] == ["rlopt"] if "-m" in words else "-mrlopt" in words
    is_command = asked and sys.argv[:1] == ["-m"]  # as long as Python looks for the module that it is to run
    with contextlib.suppress(OSError):  # the current folder may have been removed
        # In the source tree that entry is what finds us.
        if is_command and sys.path[:1] == [os.getcwd()] and Path.cwd().resolve() != Path(__file__).resolve().parents[1]:
            del sys.path[0]


def _check_neighbours() -> None:
    """Refuses to work with folders of other people's that happen to be called like our packages.

    Raises:
      ImportError: naming the folder, and what to do.
    """
    here = Path(__file__).resolve().parents[1]
    for name in _BESIDE:
        try:
            found = find_spec(name)
        except ValueError:  # a module that somebody has made by hand
            continue
        if found is None:
            continue
        places = [*(found.submodule_search_locations or ()), *([found.origin] if found.origin else ())]
        if Path(places[0]).resolve() != here / name:
            raise ImportError(
                f"rlopt needs its own package {name!r}, but Python finds {places[0]} first: rename that, or start "
                "Python from elsewhere (or with -P, which leaves out the folder of the script)"
            )


_leave_out_current_folder()
_check_neighbours()
