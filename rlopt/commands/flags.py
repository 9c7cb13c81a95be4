"""Flags as people write them, made those that the parser knows: `--lr 3e-4 --steps 1e6 --anneal False`."""

import dataclasses
import decimal
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tyro

from rlopt.training import presets

# tyro's marks at a type: `Positional[int]` is an Annotated.
_NO_FLAGS = tuple(typing.get_args(made[int])[1] for made in (tyro.conf.Positional, tyro.conf.Suppress))
_COMMANDS_BELOW = typing.get_args(tyro.conf.OmitSubcommandPrefixes[int])[1]
# What is looked up in turn where a command has no flag of the name.
_ALIASES = {
    "--lr": ("--learning-rate", "--learning-rates"),
    "--learning-rate": ("--learning-rates",),
    "--learning-rates": ("--learning-rate",),
    "--steps": ("--total-steps",),
    "--optimizer": ("--optimizers",),
    "--optimizers": ("--optimizer",),
    "--members": ("--member",),
}
# Whose only word without a flag is an agent.
_OF_AGENTS = ("train", "compare", "sweep", "benchmark")
_WHOLE = re.compile(r"(\d[\d_]*\.?\d*(?:[eE]\+?\d+)?)([kKmM]?)")
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000}
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def of(command: type, hyper: type | None = None) -> dict[str, Any] | None:
    """The flags of a command with the types of their values; None for one with commands of its own.

    hyper: the settings of the agent.
    """
    found = list(_fields(command, hyper, ""))
    return None if any(kind is None for _, kind in found) else dict(found)


def _fields(kind: Any, hyper: type | None, prefix: str) -> Iterator[tuple[str, Any]]:
    kind = typing.get_origin(kind) or kind
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], field.name
        marks: tuple[Any, ...] = ()
        while typing.get_origin(hint) is typing.Annotated:
            marks += hint.__metadata__
            hint = hint.__origin__
        if any(mark in _NO_FLAGS for mark in marks):
            continue
        if _COMMANDS_BELOW in marks:
            yield name, None
            continue
        named = [mark.name for mark in marks if getattr(mark, "name", None) is not None]
        name = named[0] if named else name
        hint = hyper if isinstance(hint, typing.TypeVar) else hint
        if dataclasses.is_dataclass(typing.get_origin(hint) or hint):
            yield from _fields(hint, hyper, f"{prefix}{name}." if name else prefix)
        else:
            yield "--" + (prefix + name).replace("_", "-"), hint


def understood(command: str, words: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """The words after a command, with every flag as the parser knows it.

    known: flags, with the types of their values.

    Raises:
      ValueError: for an unknown flag, naming the nearest; for a number that is not whole; for several values of one.
    """
    made: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word[:2] != "--" or len(word) == 2 or word == "--help":
            made.append(word)
            continue
        written, equals, value = word.partition("=")
        values = [value] if equals else []
        while not equals and rest and not is_flag(rest[0]):
            values.append(rest.pop(0))
        made += _one(command, written, values, known)
    return made


def is_flag(word: str) -> bool:
    """Whether a word is a flag's name; a negative number is none."""
    return word[:1] == "-" and not (word[1:2].isdigit() or word[1:2] == ".")


def value_of(words: Sequence[str], flag: str) -> str | None:
    """The last value that is given for a flag; None: none is."""
    found = None
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            found = words[i + 1]
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found


def without(words: Sequence[str], flag: str) -> list[str]:
    """The words without a flag that takes one value."""
    kept: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == flag:
            del rest[:1]
        elif not word.startswith(f"{flag}="):
            kept.append(word)
    return kept


def _one(command: str, written: str, values: list[str], known: Mapping[str, Any]) -> list[str]:
    flag = written.replace("_", "-")
    if flag not in known:
        flag = next((other for other in _ALIASES.get(flag, ()) if other in known), flag)
    positive = re.sub(r"^--(.*\.)?no-", lambda found: f"--{found[1] or ''}", flag)
    if flag not in known and known.get(positive) is bool:
        if values and values[0].lower() in _TRUTH:
            raise ValueError(f"{written} takes no value; write {positive} or {flag}, got {values[0]!r}")
        return [flag, *values]
    if flag not in known:
        raise ValueError(_unknown(command, written, flag, known))
    kind = known[flag]
    if kind is bool and values and values[0].lower() in _TRUTH:
        on = _TRUTH[values.pop(0).lower()]
        *above, last = flag.removeprefix("--").split(".")
        return [flag if on else "--" + ".".join([*above, f"no-{last}"]), *values]
    if flag == "--optimizer" and written.replace("_", "-") == "--optimizers" and len(values) > 1 and command == "train":
        raise ValueError(f"`rlopt train` trains one optimizer, `rlopt compare` several; got {' '.join(values)}")
    if kind is bool and values and command in _OF_AGENTS and values[0] not in presets.AGENTS:
        raise ValueError(f"{written} is given as such, or with true or false, got {values[0]!r}")
    if _is_whole(kind):
        values = [_whole(written, value) for value in values]
    _check_numbers(written, values, kind)
    return [flag, *values]


def _check_numbers(written: str, values: list[str], kind: Any) -> None:
    """Refuses what is no number, where a type takes nothing else; ValueError."""
    parts = typing.get_args(kind) or (kind,)
    if not set(parts) <= {int, float, type(None), Ellipsis}:
        return
    for value in values if typing.get_origin(kind) is tuple else values[:1]:  # others are no values of the flag
        if type(None) in parts and value == "None":
            continue
        try:
            (int if int in parts else float)(value)
        except ValueError as error:
            what = "whole numbers, such as 1000000, 1e6, 500k or 2M" if int in parts else "numbers"
            raise ValueError(f"{written} takes {what}, got {value!r}") from error


def _is_whole(kind: Any) -> bool:
    """Whether a type is of whole numbers, and of no other numbers or text."""
    parts = typing.get_args(kind)
    if typing.get_origin(kind) in (tuple, types.UnionType, typing.Union):
        return any(_is_whole(part) for part in parts) and not any(part in (float, str) for part in parts)
    return kind is int


def _whole(flag: str, text: str) -> str:
    """A whole number, also as 1e6, 500k or 2M; what is no number is left as it is."""
    found = _WHOLE.fullmatch(text)
    if found is None or text.isdigit():
        return text
    number = decimal.Decimal(found[1].replace("_", "")) * _TIMES[found[2].lower()]
    if number.adjusted() > 18 or number != int(number):
        raise ValueError(f"{flag} takes whole numbers up to 2**63, such as 1000000, 1e6, 500k or 2M, got {text!r}")
    return str(int(number))


def _unknown(command: str, written: str, flag: str, known: Mapping[str, Any]) -> str:
    said = f"`rlopt {command}` has no flag {written}"
    field = flag.removeprefix("--").replace("-", "_").removeprefix("no_")
    of_agents = [name for name, kind in presets.CONFIGS.items() if field in {x.name for x in dataclasses.fields(kind)}]
    if of_agents and "--total-steps" in known:
        return f"{said} for this agent; {', '.join(of_agents)} {'has' if len(of_agents) == 1 else 'have'} it"
    aliases = [word for word, meant in _ALIASES.items() if any(other in known for other in meant)]
    close = difflib.get_close_matches(flag, [*known, *aliases], n=3, cutoff=0.6)
    nearest = f"; the nearest: {', '.join(close)}" if close else ""
    return f"{said}{nearest}; `rlopt {command} --help` lists all"
