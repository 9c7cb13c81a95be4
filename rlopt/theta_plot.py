"""Pictures of learned rules: their response to gradient and momentum, and Celo's schedule."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlopt import theta as theta_module
from rlopt.plotting import COLOURS, save

_EDGES = np.linspace(-2.5, 2.5, 21)
_LEAST = 3  # a bin with fewer parameters shows nothing


def plot(loaded: theta_module.Loaded, path: Path) -> None:
    """Draws what the rule of `loaded` has: response, slices through it, schedule."""
    has_rule, has_schedule = loaded.rule != "celo_adam", loaded.rule != "celo2"
    panels = 2 * has_rule + has_schedule
    figure = Figure(figsize=(4.6 * panels, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(1, panels)))
    if has_rule:
        response = theta_module.response(loaded)
        _map(figure, axes.pop(0), response)
        _slices(axes.pop(0), response)
    if has_schedule:
        _schedule(axes.pop(0), theta_module.schedules(loaded))
    figure.suptitle(f"{Path(loaded.name).name}: theta of {loaded.rule}")
    save(figure, path)


def _map(figure: Figure, axes: Any, response: theta_module.Response) -> None:
    sums, _, _ = np.histogram2d(response.gradient, response.momentum, [_EDGES, _EDGES], weights=response.update)
    counts, _, _ = np.histogram2d(response.gradient, response.momentum, [_EDGES, _EDGES])
    mean = np.where(counts >= _LEAST, sums / np.maximum(counts, 1), np.nan)
    limit = np.nanmax(np.abs(mean))
    image = axes.pcolormesh(_EDGES, _EDGES, mean.T, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=axes, label="mean update / rms")
    axes.set_xlabel("gradient / rms")
    axes.set_ylabel("momentum (decay 0.9) / rms")
    axes.set_title("update on a 64 x 64 matrix, not orthogonalised", fontsize=10)


def _slices(axes: Any, response: theta_module.Response) -> None:
    centres = (_EDGES[1:] + _EDGES[:-1]) / 2
    for i, (name, x) in enumerate((("gradient", response.gradient), ("momentum", response.momentum))):
        bins = np.digitize(x, _EDGES) - 1
        full = [k for k in range(len(centres)) if np.sum(bins == k) >= _LEAST]
        low, middle, high = (
            np.asarray([np.percentile(response.update[bins == k], q) for k in full]) for q in (25, 50, 75)
        )
        axes.plot(centres[full], middle, color=COLOURS[i], linewidth=2, label=f"against {name}")
        axes.fill_between(centres[full], low, high, color=COLOURS[i], alpha=0.2, linewidth=0)
    axes.axhline(0, color="grey", linewidth=0.5)
    axes.set_xlabel("gradient or momentum / rms")
    axes.set_ylabel("update / rms")
    axes.set_title("median and middle half", fontsize=10)
    axes.legend(frameon=False)


def _schedule(axes: Any, schedules: dict[str, np.ndarray]) -> None:
    for i, (name, eta) in enumerate(schedules.items()):
        axes.plot(np.arange(len(eta)) / len(eta), eta, color=COLOURS[i], linewidth=2, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("progress of training")
    axes.set_ylabel("step-size multiplier")
    axes.set_title("schedule", fontsize=10)
    axes.legend(frameon=False)
