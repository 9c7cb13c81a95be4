"""Attacks on the promises of docs/reliability.md, each with what it did before it was held off.

`python tests/reliability/attacks` carries them out and prints the table of the document. Every module holds those of a kind.
"""

import importlib
from pathlib import Path

from attacks.base import ATTACKS, Attack, rows

KINDS = ("code", "links", "lost", "streams", "sizes", "tampered", "printed", "surroundings", "settings")


def load() -> list[Attack]:
    """All attacks, in the order of the kinds."""
    here = Path(__file__).parent
    for kind in KINDS:
        if (here / f"{kind}.py").exists():
            importlib.import_module(f"attacks.{kind}")
    return ATTACKS


__all__ = ["ATTACKS", "KINDS", "Attack", "load", "rows"]
