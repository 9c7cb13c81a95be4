"""The picture of the README: what optimizers reach on MinAtar, over what Adam reaches.

    python benchmarks/arm_picture.py --out docs/images/minatar_ratios.png

reads the finished runs in docs/results/odd. Ratios and intervals are those of arm_ratios.py, each to the `adam` of the
same folder.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from arm_ratios import iqm, random_return
from matplotlib.figure import Figure

from rlopt import drawing, statistics
from rlopt.benchmark import protocol
from rlopt.runs import results

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "odd"
# Folder of the runs, arm, what the picture calls it, colour.
ARMS = (
    ("runs", "celo2_matrices", "celo2, input layers too", "celo2"),
    ("gpu", "celo2", "celo2", "celo2"),
    ("gpu", "celo2_base", "celo2_base", "celo2_base"),
    ("gpu", "celo2_v1_published", "celo2 as published", "celo"),
    ("runs", "muon_routed_sized_matrices", "Muon, size and layers of row 1", "muon"),
    ("gpu", "muon_routed_sized", "Muon, size and layers of row 2", "muon"),
)
ENVIRONMENTS = ("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "SpaceInvaders-MinAtar")
MARKERS = "^sDv"


class Row(NamedTuple):
    """Ratios of one arm: of every environment, and over all of them."""

    each: list[float]
    over_all: statistics.Interval


def row(folder: Path, arm: str, zeros: dict[str, float]) -> Row:
    """Reads the runs of an arm and of Adam; zeros: random returns, filled as they are needed."""
    pairs = []
    for name in ENVIRONMENTS:
        found, reference = (results.read_run(folder / name / which) for which in (arm, "adam"))
        if name not in zeros:
            zeros[name] = random_return(reference)
        scale = protocol.Scale(zeros[name], iqm(reference))
        pairs.append((scale(found.final), scale(reference.final)))
    both = [np.stack(side, axis=1) for side in zip(*pairs, strict=True)]
    interval = statistics.stratified_bootstrap(
        both, lambda a, b: statistics.aggregate_iqm(a) / statistics.aggregate_iqm(b)
    )
    return Row([float(statistics.iqm(a) / statistics.iqm(b)) for a, b in pairs], interval)


def draw(rows: list[Row]) -> Figure:
    """Dots for environments, a thick dot with its interval over all of them."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    looks = drawing.looks(sorted({colour for *_, colour in ARMS}))
    axes.axvline(1, color="black", linewidth=1)
    for height, (found, (*_, colour)) in enumerate(zip(rows, ARMS, strict=True)):
        for marker, value in zip(MARKERS, found.each, strict=True):
            axes.plot(value, height, marker, color="0.4", markersize=5, fillstyle="none", zorder=4)
        low, high = found.over_all.low, found.over_all.high
        axes.plot([low, high], [height, height], color=looks[colour][0], linewidth=4, solid_capstyle="butt")
        axes.plot(found.over_all.estimate, height, "o", color=looks[colour][0], markersize=9)
    for marker, name in zip(MARKERS, ENVIRONMENTS, strict=True):
        axes.plot([], [], marker, color="0.4", fillstyle="none", label=name.removesuffix("-MinAtar"))
    axes.plot([], [], "o-", color="0.3", markersize=9, linewidth=4, label="all four, 95 % interval")
    axes.set_yticks(range(len(ARMS)), [f"{i}  {label}" for i, (_, _, label, _) in enumerate(ARMS, 1)])
    axes.invert_yaxis()
    figure.supxlabel("return over Adam's, at Adam's learning rate\n(PPO, a million steps, 32 seeds)", fontsize=11)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("minatar_ratios.png"))
    args = parser.parse_args()
    zeros: dict[str, float] = {}
    rows = [row(RESULTS / folder, arm, zeros) for folder, arm, *_ in ARMS]
    for found, (_, _, label, _) in zip(rows, ARMS, strict=True):
        interval = found.over_all
        each = " ".join(f"{value:.3f}" for value in found.each)
        print(f"{label:48} {interval.estimate:.3f} [{interval.low:.2f}, {interval.high:.2f}]   {each}")
    drawing.save(draw(rows), args.out)


if __name__ == "__main__":
    main()
