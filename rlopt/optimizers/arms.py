"""Arms of a comparison: an optimizer with options of its own, under a name. Imports no jax."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rlopt.optimizers import catalog, heads

_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Arm(NamedTuple):
    """name: what tables, folders and reports call it. optimizer: of the catalog, or `module:function`.

    options: of its own, beside those that a command gives to all optimizers.
    """

    name: str
    optimizer: str
    options: Mapping[str, float | str]


def parse(text: str) -> Arm:
    """An arm as the command line has it: `[NAME=]OPTIMIZER[:OPTION=VALUE[,OPTION=VALUE ...]]`.

    Without a name it is called as it is written: `celo2`, `celo2:odd=false`. Options are looked up where the optimizer
    is made.

    Raises:
      ValueError: for what has another form.
    """
    found = re.match(r"([^=:,]*)=(.*)", text)
    name, described = (found[1], found[2]) if found else (text, text)
    if found and not _NAME.fullmatch(name):
        raise ValueError(f"{text!r}: a name may have letters, digits, dots, dashes and underscores, got {name!r}")
    optimizer, _, settings = described.rpartition(":")
    if "=" not in settings:
        optimizer, settings = described, ""
    options: dict[str, float | str] = {}
    for setting in settings.split(",") if settings else ():
        option, equals, value = setting.partition("=")
        if not (option and equals and value):
            raise ValueError(f"{text!r}: options are written OPTION=VALUE,OPTION=VALUE, got {setting!r}")
        if option in options:
            raise ValueError(f"{text!r}: option {option} is given twice")
        options[option] = _number(value)
    check_options(options)
    if optimizer in catalog.OPTIMIZERS:
        options = heads.settled(options)
    if not optimizer:
        raise ValueError(f"{text!r} names no optimizer; it is written [NAME=]OPTIMIZER[:OPTION=VALUE,...]")
    return Arm(name, optimizer, options)


def parse_all(texts: Iterable[str]) -> dict[str, Arm]:
    """Arms by name, in order.

    Raises:
      ValueError: for none at all, or a name that is given twice.
    """
    arms: dict[str, Arm] = {}
    for arm in map(parse, texts):
        if arm.name in arms:
            raise ValueError(
                f"each optimizer may be named once, got {arm.name!r} twice; NAME={arm.optimizer}:OPTION=VALUE gives it "
                "another name"
            )
        arms[arm.name] = arm
    if not arms:
        raise ValueError("name at least one optimizer, got none")
    return arms


def settled(text: str) -> str:
    """An arm's text with the weights of a head in the place of its file, to be written down."""
    if not isinstance(text, str) or f"{heads.OPTION}=" not in text:
        return text
    arm, path = parse(text), re.search(rf"[:,]{heads.OPTION}=([^,]*)", text)
    if path is None or arm.optimizer not in catalog.OPTIMIZERS:
        return text
    return text[: path.start(1)] + heads.in_words(path[1]) + text[path.end(1) :]


def check_options(options: Iterable[str]) -> None:
    """Refuses names of options that no function could take.

    They are printed within commands to be repeated, and may come from a file.

    Raises:
      ValueError: naming the first.
    """
    for name in options:
        if not name.isidentifier():
            raise ValueError(f"the name of an option has letters, digits and underscores, got {name!r:.100}")


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
