"""Ids of environments as they can be told without importing jax, gymnax or envpool, which takes seconds."""

import ast
import difflib
import os
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from envs.atari_config import IDS_END
from envs.pool_ids import ALL as POOL_IDS
from envs.suite_ids import SUITES

# Those of `envs.probes`.
PROBE_IDS = tuple(
    f"Probe-{name}"
    for name in (
        *("ConstantReward", "ObservationReward", "TwoStep", "ActionReward", "ObservationActionReward", "TimeLimit"),
        "FinalObservation",
    )
)
# Of gymnax: downloads its images when it is made, so it is of no use offline.
NEEDS_NETWORK = ("MNISTBandit-bsuite",)
# How the ids of gymnasium begin, stepped on the host.
GYMNASIUM = "gymnasium:"


def suite(env_id: str) -> str | None:
    """The prefix of an id of another package's suite, of those that `envs.suites` has; None: of none."""
    prefix, colon, _ = env_id.partition(":")
    return prefix if colon and prefix in SUITES else None


def is_own_code(env_id: str) -> bool:
    """Whether an id names code to be imported: `module:name`, or `gymnasium:module:ID`."""
    return ":" in env_id.removeprefix(GYMNASIUM) and suite(env_id) is None


def of_suite(prefix: str) -> tuple[str, ...]:
    """The ids of a suite that were tried."""
    return tuple(f"{prefix}:{name}" for name in SUITES[prefix].ids)


def called(text: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of `name(argument=literal, ...)` or `name`; the name may be anything without a bracket.

    Raises:
      ValueError: for anything else in the brackets, or behind them.
    """
    name, bracket, _ = text.partition("(")
    if not bracket:
        return name, {}
    try:
        tree = ast.parse("name" + text.removeprefix(name), mode="eval").body
        if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)) or tree.args:
            raise ValueError("not a call by name")
        return name, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"arguments must be written as name(argument=1, other='text'), got {text!r}") from error


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
    if (prefix := suite(env_id)) is not None:
        _check_installed(prefix)
    found = installed()
    if ":" in env_id or found is None:
        return
    known = (*found[0], *PROBE_IDS, *found[1], *sorted(POOL_IDS))
    if env_id in known:
        return
    (close,) = nearest(env_id, known, 1)
    alike = difflib.SequenceMatcher(None, env_id.lower(), close.lower()).ratio()
    if re.search(r"-v\d+$", env_id) is None or alike > 0.8:
        raise ValueError(unknown(env_id, known))


def _check_installed(prefix: str) -> None:
    if not is_installed(prefix):
        extra = SUITES[prefix].extra
        raise ValueError(f"{prefix} is not installed; it is an extra: pip install 'rlopt[{extra}]'")


def is_installed(prefix: str) -> bool:
    """Whether the package of a suite is there."""
    return find_spec(SUITES[prefix].package) is not None


def installed() -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Ids of gymnax, and of envpool's Atari games; None: these packages are not as they are known to be."""
    gymnax, assets = (folder(name) for name in ("gymnax", "envpool_assets"))
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
    return tuple(found[0]), tuple("".join(word.capitalize() for word in game.split("_")) + IDS_END for game in games)


def folder(package: str) -> Path | None:
    """Where a package lies, without importing it; None: nowhere."""
    found = find_spec(package)
    places = None if found is None else found.submodule_search_locations
    return Path(next(iter(places))) if places else None
