"""The rows of a run: `metrics.jsonl`, one line of JSON per logging interval."""

import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from celo2.files import append_line, parse_json, read_limited, write_atomic
from metatrain import outer
from metatrain.config import MetaTrainConfig

METRICS = "metrics.jsonl"
MAX_BYTES = 1 << 30


def row(iteration: int, window: list[outer.Metrics], config: MetaTrainConfig, begun: float) -> dict[str, Any]:
    """Means over the iterations since the last row, which began at `begun` (of `time.monotonic`)."""
    stacked = jax.tree.map(lambda *x: np.stack([np.asarray(value) for value in x]), *window)  # waits for the device
    seconds = time.monotonic() - begun
    return {
        "iteration": iteration,
        "loss": float(stacked.loss.mean()),
        "family_loss": dict(zip(config.families, stacked.family_loss.mean(0).tolist(), strict=True)),
        "grad_norm": float(stacked.grad_norm.mean()),
        "bad_grads": float(stacked.bad_grads.mean()),
        "inner_steps_per_second": round(len(window) * config.inner_steps_per_iteration / seconds, 1),
    }


def append(folder: Path, added: dict[str, Any]) -> None:
    """Adds one row to the file."""
    append_line(folder / METRICS, json.dumps(added) + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run folder; a half-written last line of a killed run is passed over.

    Raises:
      ValueError: for rows of something else, or of different families.
      FileNotFoundError: if there are none.
    """
    path = folder / METRICS
    rows: list[dict[str, Any]] = []
    for line in read_limited(path, MAX_BYTES).splitlines():
        try:
            found = parse_json(line)
        except ValueError:
            continue
        if not _is_row(found):
            raise ValueError(f"{path} is not of a meta-training run; choose another folder")
        if rows and found["family_loss"].keys() != rows[0]["family_loss"].keys():
            raise ValueError(f"{path} has rows of different families; choose another folder")
        rows.append(found)
    return rows


def _is_row(found: Any) -> bool:
    """Whether it has what plots and cards need."""
    if not isinstance(found, dict) or not isinstance(found.get("family_loss"), dict):
        return False
    losses = [found.get("loss"), *found["family_loss"].values(), found.get("validation_loss", 0.0)]
    return type(found.get("iteration")) is int and all(isinstance(loss, float | int) for loss in losses)


def read_until(folder: Path, iteration: int) -> list[dict[str, Any]]:
    """The rows up to a checkpoint, if there are any; later ones, of work that a kill lost, leave the file."""
    path = folder / METRICS
    if not path.exists():
        return []
    rows = [found for found in read(folder) if found["iteration"] <= iteration]
    write_atomic(path, "".join(json.dumps(found) + "\n" for found in rows).encode())
    return rows
