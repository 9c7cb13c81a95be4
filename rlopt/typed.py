"""Dataclasses of settings in files: as JSON has them, and of the types that they declare. Nothing here imports jax."""

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any

# Characters of a file of settings.
GLANCE = 1 << 20
# Beyond, a whole number is no float and no NumPy integer.
LARGEST = 2**63


def glanced_at(path: Path) -> Any:
    """What a small JSON file says; `celo2.files.read_json` for all else, but that imports jax.

    Raises:
      ValueError: for what is no such file. RecursionError: for one that is nested too deeply.
    """
    if not path.is_file():  # nor a pipe or a device, which may never end
        raise ValueError(f"{path} is not a regular file")
    with path.open(encoding="utf-8") as file:
        return json.loads(file.read(GLANCE))


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass as JSON has it; paths as text."""
    return dict(json.loads(json.dumps(dataclasses.asdict(settings), default=str)))


def check(settings: Any, prefix: str = "") -> None:
    """Refuses a dataclass of settings with a value of another type than declared, nested ones included.

    What the numbers may be is for the settings' own `check` to say.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        name = prefix + field.name
        if dataclasses.is_dataclass(value):
            check(value, f"{name}.")
        elif not _fits(value, hint):
            raise ValueError(f"{name} must be {_described(hint)}, got {value!r:.100}")


def is_number(value: Any) -> bool:
    """Whether it is a finite number that a float can hold."""
    return _fits(value, float) and math.isfinite(value)


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in parts)
    if kind is typing.Literal:
        return any(value is part or (type(value) is type(part) and value == part) for part in parts)
    if kind is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    if kind is dict:
        # Options of an optimizer: flags are numbers, too.
        numbers = float in (parts[1], *typing.get_args(parts[1]))
        allowed = (bool, parts[1]) if numbers else parts[1:]
        items = value.items() if isinstance(value, dict) else (("", None),)
        return all(isinstance(n, str) and any(_fits(x, part) for part in allowed) for n, x in items)
    if hint is float:
        return isinstance(value, float) or _fits(value, int)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
    if hint is None or hint is type(None):
        return value is None
    return isinstance(value, hint) if hint in (str, bool, Path) else False


def _described(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
