"""Pictures of learned rules: their response to gradient and momentum, and Celo's schedule."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from celo2 import scheduler
from rlopt.drawing import COLOURS, save
from rlopt.optimizers import theta_probe
from rlopt.optimizers.theta import Loaded

_EDGES = np.linspace(-2.5, 2.5, 21)
_LEAST = 3  # a bin with fewer parameters shows nothing


def plot(loaded: Loaded, path: Path) -> None:
    """Draws what the rule of `loaded` has: response, slices through it, oddness, drift on noise, schedule.

    A schedule that reads tensor features is another one for every tensor, and is left out.

    Raises:
      ValueError: for a baseline, of which there is no picture.
    """
    if loaded.rule not in theta_probe.DRAWN:
        raise ValueError(f"{loaded.name} holds weights of {loaded.rule}; drawn are {', '.join(theta_probe.DRAWN)}")
    has_rule = loaded.rule != "celo_adam"
    has_schedule = loaded.rule != "celo2" and not scheduler.reads_tensors(loaded.theta)
    panels = 4 * has_rule + has_schedule
    figure = Figure(figsize=(4.6 * panels, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(1, panels)))
    if has_rule:
        response = theta_probe.response(loaded)
        _map(figure, axes.pop(0), response)
        _slices(axes.pop(0), response)
        _mirror(axes.pop(0), response)
        _drift(axes.pop(0), theta_probe.drift(loaded))
    if has_schedule:
        _schedule(axes.pop(0), theta_probe.schedules(loaded))
    figure.suptitle(f"{Path(loaded.name).name}: theta of {loaded.rule}")
    save(figure, path)


def _map(figure: Figure, axes: Any, response: theta_probe.Response) -> None:
    sums, _, _ = np.histogram2d(response.gradient, response.momentum, [_EDGES, _EDGES], weights=response.update)
    counts, _, _ = np.histogram2d(response.gradient, response.momentum, [_EDGES, _EDGES])
    mean = np.where(counts >= _LEAST, sums / np.maximum(counts, 1), np.nan)
    limit = np.nanmax(np.abs(mean))
    image = axes.pcolormesh(_EDGES, _EDGES, mean.T, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=axes, label="mean update / rms")
    axes.set_xlabel("gradient / rms")
    axes.set_ylabel("momentum (decay 0.9) / rms")
    axes.set_title("update on a 64 x 64 matrix, not orthogonalised", fontsize=10)


def _slices(axes: Any, response: theta_probe.Response) -> None:
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


def _mirror(axes: Any, response: theta_probe.Response) -> None:
    axes.axline((0, 0), slope=-1, color="grey", linewidth=0.5)
    axes.plot(response.update, response.mirrored, ".", color=COLOURS[0], markersize=2, alpha=0.5)
    axes.set_xlabel("update / rms")
    axes.set_ylabel("update for the other sign / rms")
    axes.set_title(f"odd: on the line (even over odd part {theta_probe.even_share(response):.2g})", fontsize=10)


def _drift(axes: Any, drift: theta_probe.Drift) -> None:
    axes.plot(np.arange(1, len(drift.path) + 1), drift.path, color=COLOURS[0], linewidth=2)
    axes.axhline(0, color="grey", linewidth=0.5)
    largest = max(0.02, 1.1 * float(np.max(np.abs(drift.path))))
    axes.set_ylim(-largest, largest)
    axes.set_xlabel("steps on pure noise")
    axes.set_ylabel("mean displacement / path")
    axes.set_title(f"drift; weights grow {drift.growth:.2f} times", fontsize=10)


def _schedule(axes: Any, schedules: dict[str, np.ndarray]) -> None:
    for i, (name, eta) in enumerate(schedules.items()):
        axes.plot(np.arange(len(eta)) / len(eta), eta, color=COLOURS[i], linewidth=2, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("progress of training")
    axes.set_ylabel("step-size multiplier")
    axes.set_title("schedule", fontsize=10)
    axes.legend(frameon=False)
