"""What all plots share."""

import io
import math
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from celo2.files import write_atomic

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Of optimizers: told apart on light and dark pages, and by most colour-blind readers. Adam has the colour of text.
OPTIMIZER_COLOURS = (
    *("#0083C7", "#E0632A", "#00A37A", "#C667A0", "#DF9A00", "#7A5FC4", "#3FB3D8", "#A5772B", "#C8384B", "#7F8C3A"),
)
# Of those without a colour of their own.
_OTHER_COLOURS = (
    *("#827373", "#28CD28", "#EBA091", "#EB28EB", "#91BE28", "#AFA0DC", "#289128", "#EB28A0", "#91BEAF", "#EB73EB"),
)
_YARDSTICK = "adam"
_OWN = ("celo2", "celo2_base", "celo", "celo_adam", "muon", "muon_routed", "adam_routed", "adamw", "adam_rel", "sgd")
KINDS = ("png", "pdf", "svg")


def looks(names: Iterable[str], ink: str = "black") -> dict[str, tuple[str, int]]:
    """Colour of each optimizer's line, and which dash: an optimizer has the same ones in every plot, if they are free.

    names: of optimizers, perhaps with what tells them apart: "adam (b2 0.99)". The first of a kind that has a
    colour of its own has that one. All others get one that their name decides, or the next that is free of those; when
    all are taken, with the next dash.
    """
    names = list(dict.fromkeys(names))
    found: dict[str, tuple[str, int]] = {}
    for name in names:
        kind = name.partition(" (")[0]
        own = ink if kind == _YARDSTICK else OPTIMIZER_COLOURS[_OWN.index(kind)] if kind in _OWN else None
        if own is not None and (own, 0) not in found.values():
            found[name] = (own, 0)
    for name in names:
        start, count = zlib.crc32(name.partition(" (")[0].encode()), len(_OTHER_COLOURS)
        places = ((_OTHER_COLOURS[(start + i) % count], i // count) for i in range(count * (1 + len(names))))
        if name not in found:
            found[name] = next(place for place in places if place not in found.values())
    return {name: found[name] for name in names}


def rate_axis(axes: Axes, rates: Sequence[float], most: int = 6) -> None:
    """A logarithmic abscissa with ticks at learning rates that were tried, no more than fit beside each other."""
    logs = sorted({math.log10(rate) for rate in rates})
    apart = (logs[-1] - logs[0]) / most
    ticks: list[float] = []
    for log in logs:
        if not ticks or log - ticks[-1] >= apart:
            ticks.append(log)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([10**log for log in ticks]))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{10**log:.3g}" for log in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


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
