"""Checkpoints of a training run: all seeds' states and everything logged so far, verified on reading. No pickle."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from metatrain import sealed
from rlopt import optimizers
from rlopt.config import TrainConfig

FORMAT = "rlopt-train-1"
NAMES = ("checkpoint.msgpack", "checkpoint.previous.msgpack")


class Progress(NamedTuple):
    """How far a run is, after a whole number of logging intervals.

    state: tree, the agents' states with leading axis S. rows: {name: float32 [S]} per interval. sums, counts: float32
    [I, S] per iteration, of returns and episodes. stopped: int64 [S], as in `training.History`. train_seconds,
    cpu_seconds: so far.
    """

    state: Any
    rows: list[dict[str, np.ndarray]]
    sums: np.ndarray
    counts: np.ndarray
    stopped: np.ndarray
    train_seconds: float
    cpu_seconds: float


def settings(config: TrainConfig) -> dict[str, Any]:
    """What must not change between a run and its continuation; of a weight file, the contents count."""
    found = dataclasses.asdict(config) | {"theta": optimizers.theta_sha256(config.optimizer, config.theta)}
    if not config.rates:
        found["learning_rate"] = config.resolved_learning_rate
    return json.loads(json.dumps(found, default=str))


def exists(folder: Path) -> bool:
    """Whether a folder holds a checkpoint."""
    return any((folder / name).exists() for name in NAMES)


def save(folder: Path, config: TrainConfig, progress: Progress) -> None:
    """Writes a checkpoint atomically; the one before it stays as well."""
    newest, previous = (folder / name for name in NAMES)
    contents = progress._replace(state=flax.serialization.to_state_dict(_plain_keys(progress.state)))
    payload = flax.serialization.msgpack_serialize(jax.tree.map(np.asarray, contents._asdict()))
    if newest.exists():
        newest.replace(previous)
    header = {"format": FORMAT, "settings": settings(config), "devices": _num_devices(progress.state)}
    sealed.write(newest, header, payload)


def load(folder: Path, config: TrainConfig, template: Any) -> Progress | None:
    """The newest intact checkpoint of a folder; None: there is none.

    A damaged file is passed over with a warning in favour of the one before it.

    Args:
      folder: of the run.
      config: of the run as it is to go on.
      template: a state like the one to read, on the devices where it is to be.

    Warns:
      RuntimeWarning: if it was written with another number of devices.

    Raises:
      ValueError: if the checkpoint belongs to other settings, or if every file is damaged.
    """
    files = [folder / name for name in NAMES if (folder / name).exists()]
    for path in files:
        try:
            header, payload = sealed.read(path, FORMAT)
        except ValueError as error:
            warnings.warn(f"passing over {path}: {error}", stacklevel=2)
            continue
        # A setting that did not exist when the file was written stood at what is its default now.
        defaults = settings(TrainConfig(agent=config.agent, hyper=type(config.hyper)()))
        sealed.check_settings(str(path), _completed(header["settings"], defaults), settings(config))
        here = _num_devices(template)
        if header.get("devices", here) != here:
            warnings.warn(
                f"{path} was written on {header['devices']} device(s), and the run goes on with {here}: its numbers "
                "will differ from those of an undisturbed run in the last bits",
                RuntimeWarning,
                stacklevel=2,
            )
        found = flax.serialization.msgpack_restore(payload)
        state = flax.serialization.from_state_dict(_plain_keys(template), found.pop("state"))
        found["stopped"] = found["stopped"].copy()  # what is read cannot be written to
        for name in ("train_seconds", "cpu_seconds"):
            found[name] = float(found[name])
        return Progress(jax.tree.map(_like, template, state), **found)
    if files:
        raise ValueError(f"no intact checkpoint among {[str(path) for path in files]}")
    return None


def remove(folder: Path) -> None:
    """Deletes a folder's checkpoints."""
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)


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


def _like(template: jax.Array, x: np.ndarray) -> jax.Array:
    value = (
        jax.random.wrap_key_data(jax.numpy.asarray(x), impl=jax.random.key_impl(template)) if _is_key(template) else x
    )
    if value.shape != template.shape:
        raise ValueError(f"the checkpoint has an array {value.shape} where this version has {template.shape}")
    return jax.device_put(value, template.sharding)


def _plain_keys(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)
