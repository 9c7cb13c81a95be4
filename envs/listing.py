"""Environments by suite, as they can be told without importing jax, gymnax, envpool or gymnasium."""

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from envs import names
from envs.pool_ids import SUITES as POOLS
from envs.suite_ids import SUITES

_IN_JAX = "in JAX, resumes bit for bit"
_ON_HOST = "on the host, starts new episodes when a run is resumed"
_TITLES = {
    "envpool.mujoco.gym": "mujoco",
    "envpool.mujoco.dmc": "control",
    "envpool.box2d": "box2d",
}


class Listed(NamedTuple):
    """A suite. summary: what runs it, and what resumes. missing: how to install it; None: it is there."""

    name: str
    summary: str
    ids: tuple[str, ...]
    missing: str | None


def suites() -> tuple[Listed, ...]:
    """Every suite, installed or not; of gymnasium, what it registers itself."""
    gymnax, games = names.installed() or ((), ())
    gymnax = tuple(env_id for env_id in gymnax if env_id not in names.NEEDS_NETWORK)
    no_pool = None if find_spec("envpool") is not None else "not installed: pip install envpool"
    return (
        Listed("gymnax", _IN_JAX, gymnax, None),
        Listed("probes", f"{_IN_JAX}; for testing agents", names.PROBE_IDS, None),
        Listed("atari", f"games of envpool, {_ON_HOST}", games, no_pool),
        *(Listed(_TITLES[pool], f"of envpool, {_ON_HOST}", ids, no_pool) for pool, ids in POOLS.items()),
        *(
            Listed(
                prefix,
                _IN_JAX,
                names.of_suite(prefix),
                None if names.is_installed(prefix) else f"not installed: pip install 'rlopt[{suite.extra}]'",
            )
            for prefix, suite in SUITES.items()
        ),
        Listed("gymnasium", f"{_ON_HOST}; any other id that it knows as well", _of_gymnasium(), None),
    )


def _of_gymnasium() -> tuple[str, ...]:
    """Ids that gymnasium's own file registers, but for those that only say that they are gone."""
    folder = names.folder("gymnasium")
    try:
        tree = ast.parse(Path(folder or "", "envs", "__init__.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return ()
    found = []
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "register"):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        name, entry = given.get("id"), given.get("entry_point")
        gone = isinstance(entry, ast.Name)  # a function that raises
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and not gone:
            found.append(f"{names.GYMNASIUM}{name.value}")
    return tuple(found)
