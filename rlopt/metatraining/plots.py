"""Plots of meta-training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlopt import escape
from rlopt.drawing import COLOURS, save


def meta_loss(rows: Sequence[dict[str, float]], title: str, path: Path) -> None:
    """Meta-loss over outer iterations, per family and in the mean, smoothed over about 1/100 of the run."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    iterations = np.asarray([row["iteration"] for row in rows])
    width = max(1, len(rows) // 100)

    def smooth(values: Sequence[float]) -> np.ndarray:
        return np.convolve(values, np.ones(width) / width, mode="valid")

    families = list(rows[0]["family_loss"])  # type: ignore[call-overload]
    for i, name in enumerate(families):
        values = [row["family_loss"][name] for row in rows]  # type: ignore[index]
        axes.plot(
            iterations[width - 1 :],
            smooth(values),
            color=COLOURS[i % 6],
            linewidth=1,
            linestyle=("-", "--")[i // 6 % 2],
            alpha=0.8,
            label=escape.figure(name),
        )
    axes.plot(iterations[width - 1 :], smooth([row["loss"] for row in rows]), color="black", linewidth=2, label="mean")
    validated = [(row["iteration"], row["validation_loss"]) for row in rows if "validation_loss" in row]
    if validated:
        axes.plot(*zip(*validated, strict=True), "k:o", markersize=3, label="meta-validation (share of the start)")
    axes.set_title(title)
    axes.set_xlabel("outer iterations")
    axes.set_ylabel("mean inner training loss")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    save(figure, path)
