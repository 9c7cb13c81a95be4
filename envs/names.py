"""Ids of environments as they can be told without importing jax, gymnax or envpool, which takes seconds."""

import ast
import difflib
import os
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from envs.atari_config import IDS_END

# How the ids of probe environments begin.
PROBES = "Probe-"


def nearest(env_id: str, ids: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The ids that are most like one, the nearest first; capitals count for nothing."""
    by_lower = {name.lower(): name for name in ids}
    close = difflib.get_close_matches(env_id.lower(), by_lower, n=count, cutoff=0.0)
    return tuple(by_lower[name] for name in close)


def unknown(env_id: str, ids: Iterable[str]) -> str:
    """What is said of an id that there is not."""
    close = ", ".join(nearest(env_id, ids))
    return f"unknown environment {env_id!r}; the nearest are {close}; `rlopt envs` and `envs.ids()` list all"


def check_early(env_id: str) -> None:
    """Refuses an unknown id at once, as far as the installed packages' files say what there is.

    What they do not say, and what may be of another suite of envpool's, is for `envs.check_id`.

    Raises:
      ValueError: naming the nearest.
    """
    installed = _installed()
    if ":" in env_id or installed is None or env_id in installed or env_id.startswith(PROBES):
        return
    (close,) = nearest(env_id, installed, 1)
    alike = difflib.SequenceMatcher(None, env_id.lower(), close.lower()).ratio()
    if re.search(r"-v\d+$", env_id) is None or alike > 0.8:
        raise ValueError(unknown(env_id, installed))


def _installed() -> tuple[str, ...] | None:
    """Ids of gymnax and of envpool's Atari games; None: these packages are not as they are known to be."""
    gymnax, assets = (_folder(name) for name in ("gymnax", "envpool_assets"))
    if gymnax is None or assets is None or "ENVPOOL_ASSETS_PATH" in os.environ:
        return None
    try:
        tree = ast.parse((gymnax / "registration.py").read_text(encoding="utf-8"))
        found = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_BUILTIN_ENV_IDS"
        ]
        games = sorted(path.stem for path in (assets / "atari" / "roms").rglob("*.bin"))
    except (OSError, ValueError, SyntaxError):
        return None
    if not found or not games:
        return None
    return (*found[0], *("".join(word.capitalize() for word in game.split("_")) + IDS_END for game in games))


def _folder(package: str) -> Path | None:
    found = find_spec(package)
    places = None if found is None else found.submodule_search_locations
    return Path(next(iter(places))) if places else None
