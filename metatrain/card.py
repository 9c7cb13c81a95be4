"""The card that goes with a theta: how it was made, in JSON."""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from celo2 import save_checkpoint
from celo2.files import write_atomic
from metatrain.config import MetaTrainConfig

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
CURVE_POINTS = 50


def command(config: MetaTrainConfig) -> str:
    """The command line that repeats the run."""
    words = [f"rlopt metatrain {config.rule}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "rule" or (value == field.default and field.name != "iterations"):
            continue
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        words.append(f"--{field.name.replace('_', '-')} {shown}")
    return " ".join(words)


def write_theta(
    folder: Path,
    theta: Any,
    config: MetaTrainConfig,
    iteration: int,
    wall_seconds: float,
    losses: Sequence[tuple[int, float]],
) -> Path:
    """Writes `RULE.theta` and, after it, its card `RULE.json`.

    Args:
      folder: where to. theta: weights. iteration: outer iterations done.
      losses: (iteration, mean meta-loss since the row before) over the whole run; the card keeps at most 50
        points, each the mean of its neighbourhood.
    """
    config = dataclasses.replace(config, iterations=iteration)  # the run that ends where this theta was taken
    path = folder / f"{config.rule}.theta"
    save_checkpoint(path, theta)
    card = {
        "rule": config.rule,
        "command": command(config),
        "iterations": iteration,
        "inner_steps": iteration * config.inner_steps_per_iteration,
        "seed": config.seed,
        "data": list(config.datasets),
        "config": dataclasses.asdict(config) | {"outer_learning_rate": config.resolved_learning_rate},
        "wall_seconds": round(wall_seconds, 1),
        "devices": {"platform": jax.default_backend(), "count": jax.device_count(), "machine": platform.machine()},
        "loss_curve": _thin(losses),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "MIT",
    }
    write_atomic(path.with_suffix(".json"), json.dumps(card, indent=1).encode() + b"\n")
    return path


def _thin(losses: Sequence[tuple[int, float]]) -> list[dict[str, float]]:
    size = max(1, -(-len(losses) // CURVE_POINTS))
    groups = [losses[i : i + size] for i in range(0, len(losses), size)]
    return [
        {"iteration": group[-1][0], "loss": round(sum(loss for _, loss in group) / len(group), 5)} for group in groups
    ]
