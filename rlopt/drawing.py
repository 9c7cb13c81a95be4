"""What all plots share."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from celo2.files import write_atomic

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


KINDS = ("png", "pdf", "svg")


def kind(path: Path) -> str:
    """What kind of picture a file's name asks for, one of `KINDS`; ValueError for another."""
    found = path.suffix.removeprefix(".").lower()
    if found not in KINDS:
        raise ValueError(f"a picture must be called .{', .'.join(KINDS[:-1])} or .{KINDS[-1]}, got {path}")
    return found


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format that the name of the file asks for, whole or not at all.

    Raises:
      ValueError: as `kind`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind(path), dpi=150)
    write_atomic(path, buffer.getvalue())
