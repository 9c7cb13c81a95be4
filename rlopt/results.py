"""Run folders: everything a run leaves behind, written so that a reader never sees half of a file."""

import dataclasses
import io
import json
import math
import platform
import re
import time
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from celo2.files import write_atomic
from envs import AtariConfig
from rlopt import optimizers, presets
from rlopt.config import TrainConfig
from rlopt.statistics import bootstrap
from rlopt.training import History

CONFIG, METRICS, RETURNS, SUMMARY, PARAMS, PLOTS = (
    "config.json",
    "metrics.jsonl",
    "returns.npz",
    "summary.json",
    "params.msgpack",
    "plots",
)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "distrax", "numpy")


class Run(NamedTuple):
    """A finished run as read back: steps [T], returns [S, T], final [S], stopped [S], and its summary.

    As in `training.History`.
    """

    folder: Path
    steps: np.ndarray
    returns: np.ndarray
    final: np.ndarray
    stopped: np.ndarray
    summary: dict[str, Any]


def safe_name(name: str) -> str:
    """A name for a folder: other characters than letters, digits, dot, dash and underscore become dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def rate_name(rate: float | None) -> str:
    """The folder of a learning rate in a sweep."""
    return f"rate-{rate:g}"


def new_folder(name: str, root: Path = Path("runs")) -> Path:
    """A fresh folder runs/NAME-DATE-TIME."""
    stem = f"{safe_name(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ("", *(f"-{i}" for i in range(2, 1000))):
        folder = root / (stem + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"no free name for {root / stem}")


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that has come to its end."""
    return (folder / SUMMARY).exists()


def check_free(folder: Path) -> None:
    """Refuses a folder that is not empty, or a path that is no folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds a finished run" if is_finished(folder) else "is not an empty folder"
        raise ValueError(f"{folder} {what}; choose another or remove it")


def write_config(folder: Path, config: TrainConfig) -> None:
    """The resolved settings, seeds, package versions, and the hash of the weights (as on their card)."""
    resolved = dataclasses.asdict(config) | ({} if config.rates else {"learning_rate": config.resolved_learning_rate})
    document = {
        **resolved,
        "seed_list": list(range(config.seed, config.seed + config.seeds)),
        "theta_sha256": optimizers.theta_sha256(config.optimizer, config.theta),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
    }
    _write_json(folder / CONFIG, document)


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """One line of metrics.jsonl; NaN becomes null."""
    with open(folder / METRICS, "a", encoding="utf-8") as file:
        file.write(_line(row))


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All of metrics.jsonl, in place of what there is."""
    write_atomic(folder / METRICS, "".join(map(_line, rows)).encode())


def write_history(folder: Path, config: TrainConfig, history: History) -> None:
    """Writes returns.npz, params.msgpack and, last, summary.json."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        steps=history.steps,
        returns=history.returns,
        lengths=history.lengths,
        final=history.final,
        stopped=history.stopped,
    )
    write_atomic(folder / RETURNS, buffer.getvalue())
    write_atomic(folder / PARAMS, flax.serialization.to_bytes(history.params))
    finite = bool(np.all(np.isfinite(history.final)))
    interval = bootstrap(history.final) if finite else None
    steps = int(history.steps[-1])
    summary = {
        "agent": config.agent,
        "env_id": config.env,
        "optimizer": config.optimizer,
        "learning_rate": config.resolved_learning_rate,
        "seeds": config.seeds,
        "env_steps": steps,
        "final_return_iqm": interval.estimate if interval else None,
        "final_return_ci95": [interval.low, interval.high] if interval else None,
        "final_returns": history.final.tolist(),
        "stopped_seeds": [config.seed + i for i in np.flatnonzero(history.stopped >= 0).tolist()],
        "wall_seconds": round(history.compile_seconds + history.train_seconds, 2),
        "compile_seconds": round(history.compile_seconds, 2),
        "env_steps_per_second": round(steps * config.seeds / history.train_seconds, 1),
    }
    _write_json(folder / SUMMARY, summary)


def read_run(folder: Path) -> Run:
    """Reads a finished run.

    Raises:
      ValueError: if the folder holds no finished run.
    """
    if not (folder / SUMMARY).exists() or not (folder / RETURNS).exists():
        raise ValueError(f"{folder} holds no finished run ({SUMMARY} and {RETURNS} are needed)")
    with np.load(folder / RETURNS, allow_pickle=False) as arrays:
        steps, returns, final, stopped = (arrays[name] for name in ("steps", "returns", "final", "stopped"))
    return Run(folder, steps, returns, final, stopped, json.loads((folder / SUMMARY).read_text(encoding="utf-8")))


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Every finished run in and below some folders, once, in the order of the folders.

    Warns:
      RuntimeWarning: naming a run that is not finished and left out.

    Raises:
      ValueError: for a folder without any run.
    """
    runs, taken = [], set()
    for folder in folders:
        below = sorted(path.parent for path in folder.rglob(CONFIG))
        # A sweep's own folder has settings, too; its runs lie below it, as soon as it has begun.
        begun = {parent for place in below for parent in place.parents}
        places = [place for place in below if not (_is_sweep(place) and place in begun)]
        if not places:
            raise ValueError(f"{folder} holds no run")
        for place in places:
            if place.resolve() in taken:
                continue
            taken.add(place.resolve())
            if is_finished(place):
                runs.append(read_run(place))
            else:
                warnings.warn(f"{place} holds an unfinished run; it is left out", RuntimeWarning, stacklevel=2)
    return runs


def _is_sweep(folder: Path) -> bool:
    """Whether a folder's settings are of several learning rates."""
    try:
        return bool(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("rates"))
    except (ValueError, AttributeError):
        return False


def read_config(folder: Path) -> TrainConfig:
    """The settings of a run, its learning rate resolved.

    Raises:
      ValueError: if the folder holds no run, or one that this version does not understand.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} holds no run ({CONFIG} is needed)")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kind = presets.CONFIGS[found["agent"]]
        hyper: dict[str, Any] = {n: tuple(x) if isinstance(x, list) else x for n, x in found.pop("hyper").items()}
        settings = {field.name: found[field.name] for field in dataclasses.fields(TrainConfig) if field.name in found}
        settings["atari"] = AtariConfig(**found.get("atari", {}))
        settings["options"] = dict(found.get("options", {}))
        settings["rates"] = tuple(found.get("rates", ()))
        settings["theta"] = None if found["theta"] is None else Path(found["theta"])
        return TrainConfig(**settings, hyper=kind(**hyper))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not of a run that this version understands: {error!r}") from error


def read_params(folder: Path, template: Any) -> Any:
    """The trained networks of a finished run, leaves [S, ...].

    Args:
      folder: the run's.
      template: tree of arrays or shapes, what they must look like.

    Raises:
      ValueError: if they are missing, damaged, or of another network.
    """
    path = folder / PARAMS
    if not path.is_file():
        raise ValueError(f"{folder} holds no finished run ({PARAMS} is needed)")
    try:
        params = flax.serialization.from_bytes(template, path.read_bytes())
        shapes = [(np.shape(a), b.shape) for a, b in zip(*map(jax.tree.leaves, (params, template)), strict=True)]
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if any(a != b for a, b in shapes):
        raise ValueError(f"{path} is of another network than {folder / CONFIG} says")
    return params


def _line(row: dict[str, Any]) -> str:
    return json.dumps(_plain(row)) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(_plain(document), indent=2).encode() + b"\n")
