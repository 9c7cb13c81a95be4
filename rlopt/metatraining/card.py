"""The card that goes with a theta: how it was made, in JSON."""

import dataclasses
import hashlib
import json
import math
import platform
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from celo2 import save_checkpoint
from celo2.files import read_json, write_atomic
from celo2.form import to_card
from metatrain.config import MetaTrainConfig
from metatrain.validation import VERSION, Score
from rlopt.metatraining import checkpoint

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
CURVE_POINTS = 50


def command(config: MetaTrainConfig) -> str:
    """The command line that repeats the run; files and folders by name, wherever they lie."""
    words = [f"rlopt metatrain {shlex.quote(config.rule)}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "rule" or (value == field.default and field.name != "iterations"):
            continue
        parts = value if isinstance(value, tuple) else (value.name if isinstance(value, Path) else value,)
        shown = shlex.join(map(str, parts))
        option = field.name.replace("_", "-")
        words.append(f"--{'' if value else 'no-'}{option}" if isinstance(value, bool) else f"--{option} {shown}")
    return " ".join(words)


def theta_path(folder: Path, config: MetaTrainConfig, best: bool = False) -> Path:
    """Where a run's weights lie: the last ones, or those that did best in meta-validation."""
    return folder / f"{config.rule}{'.best' if best else ''}.theta"


def best_validation(folder: Path, config: MetaTrainConfig) -> float:
    """The meta-validation loss of the best weights so far, from their card; infinite before the first.

    That of another version of meta-validation cannot be compared, and counts as none.

    Raises:
      ValueError: for a damaged card.
    """
    path = theta_path(folder, config, best=True).with_suffix(".json")
    if not path.exists():
        return math.inf
    try:
        found = read_json(path)["validation"]
        return float(found["loss"]) if found.get("version", 1) == VERSION else math.inf
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} holds no meta-validation loss ({error!r})") from error


def _origin(theta: Path | None) -> dict[str, Any] | None:
    """Hash and card, if there is one, of the weights that a run started from."""
    if theta is None:
        return None
    path = theta.with_suffix(".json")
    card = read_json(path) if path.exists() else {}
    kept = ("rule", "command", "iterations", "validation", "wall_seconds")
    return {"sha256": hashlib.sha256(theta.read_bytes()).hexdigest()} | {k: card[k] for k in kept if k in card}


def write_theta(
    folder: Path,
    theta: Any,
    config: MetaTrainConfig,
    iteration: int,
    wall_seconds: float,
    losses: Sequence[tuple[int, float]],
    validation: Score | None = None,
    devices: int = 1,
) -> Path:
    """Writes `RULE.theta` and, after it, its card `RULE.json`; with a meta-validation, as the best so far.

    Args:
      folder: where to. theta: weights. iteration: outer iterations done.
      wall_seconds: of training so far.
      losses: (iteration, mean meta-loss since the row before) over the whole run; the card keeps at most 50
        points, each the mean of its neighbourhood.
      validation: score of these weights, for `RULE.best.theta` and `RULE.best.json`.
      devices: how many share the inner problems.
    """
    if config.outer_schedule != "cosine":  # which depends on the number of iterations planned
        config = dataclasses.replace(config, iterations=iteration)  # the run that ends where this theta was taken
    path = theta_path(folder, config, best=validation is not None)
    save_checkpoint(path, theta)
    card = {
        "rule": config.rule,
        "form": to_card(config.form),
        "command": command(config),
        "iterations": iteration,
        "inner_steps": iteration * config.inner_steps_per_iteration,
        "init_theta": _origin(config.init_theta),
        **({"init_schedule": _origin(config.init_schedule)} if config.init_schedule else {}),
        "seed": config.seed,
        "families": list(config.families),
        "config": json.loads(json.dumps(dataclasses.asdict(config), default=lambda path: path.name)),
        "wall_seconds": round(wall_seconds, 1),
        "devices": {"platform": jax.default_backend(), "count": devices, "machine": platform.machine()},
        "loss_curve": [{"iteration": i, "loss": loss} for i, loss in checkpoint.thin(losses, CURVE_POINTS)],
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "MIT",
    }
    if validation is not None:
        card["validation"] = validation._asdict()
    else:
        best = theta_path(folder, config, best=True).with_suffix(".json")
        if best.exists():  # which says how many iterations it was chosen from
            found = read_json(best)
            found |= {"chosen_from_iterations": iteration, "init_theta": card["init_theta"]}
            write_atomic(best, json.dumps(found, indent=1).encode() + b"\n")
    write_atomic(path.with_suffix(".json"), json.dumps(card, indent=1).encode() + b"\n")
    return path
