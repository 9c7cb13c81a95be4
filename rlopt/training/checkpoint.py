"""Checkpoints of a training run: all seeds' states and everything logged so far, verified on reading. No pickle."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from rlopt import typed
from rlopt.optimizers import factory
from rlopt.storage import pieces, sealed
from rlopt.training import legacy, placement
from rlopt.training.best import Best, empty
from rlopt.training.config import TrainConfig

FORMAT = "rlopt-train-1"
NAMES = ("checkpoint.msgpack", "checkpoint.previous.msgpack")
# What a damaged newest one is called as soon as an intact one before it has been read.
DAMAGED = "checkpoint.damaged.msgpack"


class Left(NamedTuple):
    """steps: int64 [S], environment steps after which a member was no longer trained; -1: it is.

    policies: tree of NumPy arrays, leaves [S, ...], as they were when a member was given up last.
    """

    steps: np.ndarray
    policies: Any


class Progress(NamedTuple):
    """How far a run is, after a whole number of logging intervals.

    state: tree, the agents' states with leading axis S, without those that were given up. rows: {name: float32 [S]} per
    interval. sums, counts: [I, S] per iteration, as `statistics.tail_means`. stopped: int64 [S], as in
    `history.History`. train_seconds, cpu_seconds: so far. best: the policies that were best so far; None where they are
    not kept. seconds_beside: of evaluations and what else is no part of training. left: of members that were given up;
    None: none was.
    """

    state: Any
    rows: list[dict[str, np.ndarray]]
    sums: np.ndarray
    counts: np.ndarray
    stopped: np.ndarray
    train_seconds: float
    cpu_seconds: float
    best: Best | None = None
    seconds_beside: float = 0.0
    left: Left | None = None

    @property
    def given_up(self) -> np.ndarray:
        """As `Left.steps`, int64 [S]."""
        return np.full(len(self.stopped), -1, np.int64) if self.left is None else self.left.steps


def settings(config: TrainConfig) -> dict[str, Any]:
    """What must not change between a run and its continuation; of a weight file, the contents count."""
    digest = factory.theta_sha256(config.optimizer, config.theta)
    found = typed.plain(config) | {"theta": digest, "format": legacy.FORMAT}
    if not config.rates:
        found["learning_rate"] = config.resolved_learning_rate
    return found


def exists(folder: Path) -> bool:
    """Whether a folder holds a checkpoint."""
    return any((folder / name).exists() for name in NAMES)


def save(folder: Path, config: TrainConfig, progress: Progress) -> None:
    """Writes a checkpoint atomically; the one before it stays as well.

    That one must be intact, being all that there is until the new one is written: `load` puts damaged ones aside.
    """
    newest, previous = (folder / name for name in NAMES)
    contents = progress._asdict() | {"state": flax.serialization.to_state_dict(_plain_keys(progress.state))}
    contents |= {name: flax.serialization.to_state_dict(contents.pop(name)) for name in ("best", "left")}
    contents = {name: value for name, value in contents.items() if value is not None}  # what has none is as ever
    payload = pieces.serialized(jax.tree.map(np.asarray, contents))
    if newest.exists():
        newest.replace(previous)
    header = {"format": FORMAT, "settings": settings(config), "devices": _num_devices(progress.state)}
    sealed.write(newest, header, payload)


def load(folder: Path, config: TrainConfig, template: Any, policies: Any = None) -> Progress | None:
    """The newest intact checkpoint of a folder; None: there is none.

    A damaged file is passed over with a warning in favour of the one before it.

    Args:
      folder: of the run.
      config: of the run as it is to be resumed.
      template: a state like the one to read, on the devices where it is to be.
      policies: like those of all members; None: none are kept.

    Warns:
      RuntimeWarning: if it was written with another number of devices.

    Raises:
      ValueError: if the checkpoint belongs to other settings, or if every file is damaged.
    """
    files = [folder / name for name in NAMES if (folder / name).exists()]
    damaged = []
    for path in files:
        try:
            header, payload = sealed.read(path, FORMAT)
        except ValueError as error:
            warnings.warn(f"passing over {path}: {error}", stacklevel=2)
            damaged.append(path)
            continue
        if not isinstance(header.get("settings"), dict):
            raise ValueError(f"{path} says nothing of its settings")
        # A setting that did not exist when the file was written stood at what is its default now.
        defaults = settings(TrainConfig(agent=config.agent, hyper=type(config.hyper)()))
        sealed.check_settings(str(path), _completed(legacy.upgraded(header["settings"]), defaults), settings(config))
        try:
            found = _progress(payload, config, template, policies)
        except Exception as error:  # intact, so somebody wrote it so: msgpack, flax and NumPy raise many types
            raise ValueError(f"{path} is not of a run that this version understands: {error}") from error
        here = _num_devices(found.state)
        written = header.get("devices", here)
        if type(written) is not int or written < 1:
            raise ValueError(f"{path} is not of a run that this version understands: devices is {written!r}")
        if written != here:
            warnings.warn(
                f"{path} was written on {written} device(s), and the run is resumed with {here}: its numbers "
                "will differ from those of an undisturbed run in the last bits",
                RuntimeWarning,
                stacklevel=2,
            )
        for passed_over in damaged:
            passed_over.replace(folder / DAMAGED)
        return found
    if files:
        raise ValueError(f"no intact checkpoint among {[str(path) for path in files]}")
    return None


def remove(folder: Path) -> None:
    """Deletes a folder's checkpoints."""
    for name in (DAMAGED, *NAMES):  # as long as one of the others is there, the next process comes here again
        (folder / name).unlink(missing_ok=True)


def _progress(payload: bytes, config: TrainConfig, template: Any, policies: Any) -> Progress:
    """What `save` wrote, every array checked against what the run needs."""
    found = flax.serialization.msgpack_restore(payload)
    wanted = {"best": None if policies is None else empty(policies), "left": Left(np.zeros(config.size, int), policies)}
    kept = {name: flax.serialization.from_state_dict(x, found.pop(name)) for name, x in wanted.items() if name in found}
    if "left" in kept:
        template = placement.subset(template, np.flatnonzero(kept["left"].steps < 0))
    like = jax.eval_shape(_plain_keys, template)
    state = flax.serialization.from_state_dict(like, found.pop("state"))
    rows = found.pop("rows")
    train, cpu, beside = (float(found.pop(x, 0.0)) for x in ("train_seconds", "cpu_seconds", "seconds_beside"))
    progress = Progress(
        state, _listed(rows), **found, **kept, train_seconds=train, cpu_seconds=cpu, seconds_beside=beside
    )
    expected = [like, *(wanted[name] for name in kept)]
    for x, y in zip(*map(jax.tree.leaves, ([state, *kept.values()], expected)), strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise ValueError(f"it has an array {x.dtype} {x.shape} where this version has {y.dtype} {y.shape}")
    size = config.size
    per_iteration = (len(progress.sums), size)
    logged: list[tuple[tuple[int, ...], np.ndarray]] = [((size,), x) for row in progress.rows for x in row.values()]
    logged += [(per_iteration, progress.sums), (per_iteration, progress.counts), ((size,), progress.stopped)]
    if any(x.shape != shape or x.dtype.kind not in "if" for shape, x in logged):
        raise ValueError("what was logged does not fit")
    if progress.stopped.dtype != np.int64 or any(row.keys() != progress.rows[0].keys() for row in progress.rows):
        raise ValueError("what was logged does not fit together")
    # What is read cannot be written to.
    return progress._replace(state=jax.tree.map(_placed, template, state), stopped=progress.stopped.copy())


def _listed(rows: Any) -> list[dict[str, np.ndarray]]:
    """A list, which flax reads back as a dict with its positions as names."""
    return list(rows) if isinstance(rows, list | tuple) else [rows[str(i)] for i in range(len(rows))]


def _completed(found: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    nested = {
        name: defaults[name] | value
        for name, value in found.items()
        if isinstance(value, dict) and isinstance(defaults.get(name), dict)
    }
    return defaults | found | nested


def _num_devices(state: Any) -> int:
    """How many devices share a state."""
    return len(jax.tree.leaves(state)[0].sharding.device_set)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _placed(template: jax.Array, x: np.ndarray) -> jax.Array:
    value = (
        jax.random.wrap_key_data(jax.numpy.asarray(x), impl=jax.random.key_impl(template)) if _is_key(template) else x
    )
    return jax.device_put(value, template.sharding)


def _plain_keys(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)
