"""Run folders: everything a run leaves behind, written so that a reader never sees half of a file."""

import dataclasses
import io
import json
import math
import platform
import re
import time
import warnings
from collections.abc import Container, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from celo2.files import JSON_LIMIT, append_line, read_json, read_limited, write_atomic
from metatrain import npz
from rlopt import statistics
from rlopt.optimizers import factory
from rlopt.runs import kept, summary
from rlopt.storage import run_lock
from rlopt.training import legacy, machine, stored
from rlopt.training.config import TrainConfig
from rlopt.training.history import History
from rlopt.training.monitor import BEST
from rlopt.training.monitor_config import MonitorConfig

CONFIG, METRICS, RETURNS, SUMMARY, PARAMS, PLOTS = (
    "config.json",
    "metrics.jsonl",
    "returns.npz",
    "summary.json",
    "params.msgpack",
    "plots",
)
# A run folder that holds these works with every command that takes a finished run.
MODEL = (CONFIG, RETURNS, PARAMS, SUMMARY)
# Ten thousand seeds with hundreds of intervals.
_RETURNS_LIMIT = 256 << 20
# A folder with it is a benchmark's, see `rlopt.benchmark.protocol`.
BENCHMARK = "benchmark.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "distrax", "numpy")


class Run(NamedTuple):
    """A finished run as read back: steps [T], returns [S, T], final [S], stopped [S], and its summary.

    As in `history.History`; what a seed counts as is so of older runs, too.
    """

    folder: Path
    steps: np.ndarray
    returns: np.ndarray
    final: np.ndarray
    stopped: np.ndarray
    summary: dict[str, Any]

    @property
    def given_up(self) -> np.ndarray:
        """Environment steps after which a seed was no longer trained (`training.giving_up`), int64 [S]; -1: it was."""
        return np.asarray(self.summary.get(summary.GIVEN_UP, [-1] * len(self.final)), np.int64)


def safe_name(name: str) -> str:
    """A name for a folder: other characters than letters, digits, dot, dash and underscore become dashes."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return safe if safe.strip(".") else "-" * max(1, len(safe))  # not the folder above


def rate_name(rate: float) -> str:
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
    if folder.exists() and (not folder.is_dir() or not run_lock.is_empty(folder)):
        what = "holds a finished run" if is_finished(folder) else "is not an empty folder"
        raise ValueError(f"{folder} {what}; choose another or remove it")


def write_config(folder: Path, config: TrainConfig) -> None:
    """The resolved settings, seeds, package versions, and the hash of the weights (as on their card)."""
    resolved = dataclasses.asdict(config) | ({} if config.rates else {"learning_rate": config.resolved_learning_rate})
    if not config.trials:
        del resolved["trials"]  # what has none is written as ever
    if config.monitor == MonitorConfig():
        del resolved["monitor"]
    document = {
        "format": legacy.FORMAT,
        **resolved,
        "seed_list": list(range(config.seed, config.seed + config.seeds)),
        "theta_sha256": factory.theta_sha256(config.optimizer, config.theta),
        "theta_form": factory.form_of(config.optimizer, config.theta, config.options),
        "packages": {"rlopt": machine.own_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
    }
    _write_json(folder / CONFIG, document)


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """One line of metrics.jsonl; NaN becomes null."""
    append_line(folder / METRICS, _line(row))


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All of metrics.jsonl, in place of what there is."""
    write_atomic(folder / METRICS, "".join(map(_line, rows)).encode(), make_folder=False)


def write_history(folder: Path, config: TrainConfig, history: History) -> Run:
    """Writes returns.npz, params.msgpack and what else was asked for; `write_summary` makes it a finished run."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        steps=history.steps,
        returns=history.returns,
        lengths=history.lengths,
        final=history.final,
        stopped=history.stopped,
    )
    write_atomic(folder / RETURNS, buffer.getvalue(), make_folder=False)
    write_atomic(folder / PARAMS, flax.serialization.to_bytes(history.params), make_folder=False)
    evaluations = kept.of(history)
    if evaluations is not None:
        kept.write_evaluations(folder, evaluations)
    if history.best is not None:
        kept.write(folder, BEST, history.best.policies)
    told = _plain(summary.of(config, history) | summary.beside(config, history, evaluations))
    return Run(folder, history.steps, history.returns, history.final, history.stopped, told)


def write_summary(run: Run) -> None:
    """Writes summary.json, the last file of a run: with it, the run counts as finished."""
    _write_json(run.folder / SUMMARY, run.summary, make_folder=False)


def read_run(folder: Path) -> Run:
    """Reads a finished run; what the seeds of an older one count as is made anew.

    Raises:
      ValueError: if the folder holds no finished run, or a damaged one.
    """
    if not (folder / SUMMARY).exists() or not (folder / RETURNS).exists():
        raise ValueError(f"{folder} holds no finished run ({SUMMARY} and {RETURNS} are needed)")
    arrays = npz.read(folder / RETURNS, ("steps", "returns", "final", "stopped"), limit=_RETURNS_LIMIT)
    run = Run(folder, **arrays, summary=read_json(folder / SUMMARY))
    seeds, intervals = run.returns.shape if run.returns.ndim == 2 else (0, 0)
    shapes = {"steps": (intervals,), "returns": (seeds, intervals), "final": (seeds,), "stopped": (seeds,)}
    for name, shape in shapes.items():
        whole = name in ("steps", "stopped")
        if arrays[name].shape != shape or not arrays[name].size or (arrays[name].dtype.kind in "iu") != whole:
            raise ValueError(f"{folder / RETURNS}: {name} does not fit: {arrays[name].dtype} {arrays[name].shape}")
    summary.check(folder / SUMMARY, run.summary, seeds)
    final = statistics.final_returns(run.final, run.returns, run.stopped)
    if not np.array_equal(final, run.final, equal_nan=True):  # of an older version
        run = run._replace(final=final, summary=run.summary | _plain(summary.told_of(final)))
    return run


def check_seeds(run: Run, config: TrainConfig) -> None:
    """Refuses settings of another number of seeds than the arrays beside them have; ValueError."""
    if config.seeds != len(run.final):
        raise ValueError(f"{run.folder / CONFIG} says {config.seeds} seeds, but {RETURNS} has {len(run.final)}")


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
        places = [place for place in below if not (is_sweep(place) and place in begun)]
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


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders themselves where they are of a run, finished or not, and else those of the finished runs below them.

    Warns, Raises: as `find_runs`, for folders that are of no run.
    """
    found: list[Path] = []
    for folder in folders:
        own = (folder / CONFIG).is_file() and not is_sweep(folder)
        found += [folder] if own else [run.folder for run in find_runs([folder])]
    return list(dict.fromkeys(found))


def is_sweep(folder: Path) -> bool:
    """Whether a folder's settings are of several learning rates or trials."""
    try:
        found = read_json(folder / CONFIG)
        return bool(found.get("rates") or found.get("trials"))
    except ValueError:
        return False


def is_search(folder: Path) -> bool:
    """Whether a folder's settings are of several trials."""
    try:
        return bool(read_json(folder / CONFIG).get("trials"))
    except ValueError:
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
        document = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is not of a run that this version understands: {error!r}") from error
    return stored.config(path, document)


def is_trusted(config: TrainConfig, trust: bool | Container[str]) -> bool:
    """Whether the code that settings from a file name may be imported: all, none, or what `trust` holds."""
    return trust if isinstance(trust, bool) else all(name in trust for name in config.code)


def read_document(folder: Path) -> dict[str, Any]:
    """What `config.json` says beside the settings: "packages", {name: version}, and "python", the version of that.

    Raises:
      ValueError: if these are anything else than text.
    """
    path = folder / CONFIG
    found = legacy.upgraded(read_json(path))
    packages = found.setdefault("packages", {})
    python = found.setdefault("python", "?")
    versions = packages.values() if isinstance(packages, dict) else (None,)
    if not all(isinstance(version, str) for version in (*versions, python)):
        raise ValueError(f"{path}: packages and python must be versions, got {packages!r:.100} and {python!r:.100}")
    return found


def check_trusted(folder: Path, config: TrainConfig, trust: bool) -> TrainConfig:
    """Refuses settings from a file that would import a module, unless told that the folder is the user's own.

    A run folder is data; `module:Class` in it names code, perhaps a file within that very folder.

    Args:
      folder: of the run, for the message.
      config: what was read there.
      trust: import what it names.

    Raises:
      ValueError: naming what would be imported.
    """
    if config.code and not trust:
        raise ValueError(
            f"{folder} names {' and '.join(map(repr, config.code))}, which is code to be imported; "
            "say --trust if the folder is your own"
        )
    return config


def read_params(folder: Path, template: Any, which: str = kept.FINAL) -> Any:
    """The trained networks of a finished run, or those that were kept on the way, leaves [S, ...].

    Args:
      folder: the run's.
      template: tree of arrays or shapes, what they must look like.
      which: "final", "best", or a number of environment steps.

    Raises:
      ValueError: if they are missing, damaged, or of another network.
    """
    path = folder / PARAMS if which == kept.FINAL else kept.path_of(folder, which)
    if not path.is_file():
        raise ValueError(f"{folder} holds no finished run ({PARAMS} is needed)")
    try:
        expected = [(x.shape, x.dtype) for x in jax.tree.leaves(template)]
        limit = JSON_LIMIT + 2 * sum(math.prod(shape) * dtype.itemsize for shape, dtype in expected)
        params = flax.serialization.from_bytes(template, read_limited(path, limit))
        found = [(np.shape(x), np.asarray(x).dtype) for x in jax.tree.leaves(params)]
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if found != expected:
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


def _write_json(path: Path, document: dict[str, Any], *, make_folder: bool = True) -> None:
    write_atomic(path, json.dumps(_plain(document), indent=2).encode() + b"\n", make_folder=make_folder)
