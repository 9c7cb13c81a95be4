"""Code of a user's own, named as `module:name`: the one place where it is imported."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def current_folder() -> Iterator[None]:
    """While inside, Python looks for modules in the current folder as well, after all other places.

    Not before: a folder may hold anybody's files, and one called like an installed package would take its place. Not
    for longer: what is imported later was not named by anybody.
    """
    try:
        here = os.getcwd()
    except OSError:  # it has been removed
        yield
        return
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def module(name: str) -> ModuleType:
    """A module by name; raises whatever its import raises. It may lie in `current_folder`."""
    with current_folder():
        return importlib.import_module(name)


def imported(module_name: str, name: str) -> Any:
    """What a module calls `name`; raises whatever its import raises. The module may lie in `current_folder`."""
    return getattr(module(module_name), name)
