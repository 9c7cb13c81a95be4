"""Checkpoints of a meta-training run: the whole outer state, verified on reading.

A file is one line of JSON (format, configuration, iteration, wall time, meta-losses so far, length and SHA-256 of the
rest) followed by the state as flax-msgpack. No pickle: reading a foreign file runs no code.

Where all unrolls have just been started anew (every `refresh_every` iterations) their states follow from the rest and
are left out: such a file has kilobytes instead of megabytes, and resumes as exactly.
"""

import dataclasses
import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from celo2.form import PUBLISHED, to_card
from metatrain import datasets, image_files
from metatrain.config import MetaTrainConfig
from metatrain.outer import OuterState
from rlopt.storage import pieces, sealed

FORMAT = "rlopt-metatrain-2"
KEEP = 2
CURVE_POINTS = 200
# How rules were trained when there was no other form.
BEFORE = to_card(PUBLISHED)
_NAME = re.compile(r"checkpoint_(\d{8})\.msgpack")


class Loaded(NamedTuple):
    """state: like the template given to `load_latest`; its particles are None where the file leaves them out.

    wall_seconds: training time so far. losses: (iteration, meta-loss) pairs so far, thinned out.
    """

    state: OuterState
    iteration: int
    wall_seconds: float
    losses: list[tuple[int, float]]


def resume_key(config: MetaTrainConfig) -> dict[str, Any]:
    """The settings that must not change between a run and its continuation.

    That is all but the number of iterations (which matters under a cosine schedule only) and where files lie; of the
    weights to start from and of image sets of the user's own, the contents count.
    """
    settings = dataclasses.asdict(config)
    if config.outer_schedule != "cosine":
        settings.pop("iterations")
    settings |= to_card(config.form)
    settings["data_dir"] = _fingerprints(config)
    for name in ("init_theta", "init_schedule"):
        path = getattr(config, name)
        if path is not None:
            settings[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return json.loads(json.dumps(settings))


def _fingerprints(config: MetaTrainConfig) -> dict[str, str] | None:
    if config.data_dir is None:
        return None
    sets = {spec.partition("@")[0].partition("/")[0] for spec in config.families}
    bases = {datasets.base_name(name, config.data_dir) for name in sets} & {*image_files.available(config.data_dir)}
    return {base: image_files.fingerprint(config.data_dir, base) for base in sorted(bases)}


def thin(losses: Sequence[tuple[int, float]], points: int) -> list[tuple[int, float]]:
    """At most `points` means of neighbouring losses, each with the last iteration that it covers."""
    size = max(1, -(-len(losses) // points))
    groups = [losses[i : i + size] for i in range(0, len(losses), size)]
    return [(group[-1][0], round(sum(loss for _, loss in group) / len(group), 5)) for group in groups]


def save(
    folder: Path,
    state: OuterState,
    iteration: int,
    config: MetaTrainConfig,
    wall_seconds: float,
    losses: Sequence[tuple[int, float]],
) -> Path:
    """Writes one checkpoint atomically and removes all but the newest two and the newest small one."""
    if iteration % config.refresh_every == 0:
        state = state._replace(particles=None)  # type: ignore[arg-type]
    payload = pieces.serialized(flax.serialization.to_state_dict(jax.tree.map(np.asarray, state)))
    header = {
        "format": FORMAT,
        "config": resume_key(config),
        "iteration": iteration,
        "wall_seconds": wall_seconds,
        "losses": thin(losses, CURVE_POINTS),
    }
    path = folder / f"checkpoint_{iteration:08d}.msgpack"
    sealed.write(path, header, payload)
    # Not those of later iterations: they are damaged ones that were passed over, and must not displace intact ones.
    kept = [file for file in _files(folder) if _iteration(file) <= iteration]
    compact = [file for file in kept if _iteration(file) % config.refresh_every == 0]
    for old in set(kept) - {*kept[-KEEP:], *compact[-1:]}:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: Path, template: OuterState, config: MetaTrainConfig) -> Loaded | None:
    """The newest intact checkpoint of a folder, or None if there is none at all.

    A damaged file is passed over with a warning in favour of the one before it.

    Raises:
      ValueError: if the checkpoint belongs to another configuration, or if every file is damaged.
    """
    files = _files(folder)
    for path in reversed(files):
        try:
            header, payload = sealed.read(path, FORMAT)
        except ValueError as error:
            warnings.warn(f"passing over {path}: {error}", stacklevel=2)
            continue
        if not isinstance(header.get("config"), dict):
            raise ValueError(f"{path} says nothing of its configuration")
        # A setting that did not exist when the file was written stood at what is its default now, or was not to be had.
        before = {} if config.rule == "celo_adam" else BEFORE
        theirs, ours = resume_key(MetaTrainConfig(config.rule)) | before | header["config"], resume_key(config)
        sealed.check_settings(str(path), theirs, ours)
        try:
            return _contents(header, payload, template, config)
        except Exception as error:  # intact, so somebody wrote it so: msgpack, flax and NumPy raise many types
            raise ValueError(f"{path} is not of a run that this version understands: {error}") from error
    if files:
        raise ValueError(f"no intact checkpoint among {[str(path) for path in files]}")
    return None


def _contents(header: dict[str, Any], payload: bytes, template: OuterState, config: MetaTrainConfig) -> Loaded:
    iteration = header["iteration"]
    if type(iteration) is not int or iteration < 0:
        raise ValueError(f"iteration must be a whole number >= 0, got {iteration!r:.80}")
    if iteration % config.refresh_every == 0:
        template = template._replace(particles=None)  # type: ignore[arg-type]
    found = flax.serialization.msgpack_restore(payload)
    if template.particles is not None:
        # No task carried anything when files did not say so.
        for unrolls in found["particles"]["unrolls"].values():
            unrolls.setdefault("memory", None)
    state = flax.serialization.from_state_dict(template, found)
    for x, like in zip(*map(jax.tree.leaves, (state, template)), strict=True):
        if (x.shape, x.dtype) != (like.shape, like.dtype):
            raise ValueError(f"it has an array {x.dtype} {x.shape} where this version has {like.dtype} {like.shape}")
    losses = [(int(at), float(loss)) for at, loss in header["losses"]]
    return Loaded(state, iteration, float(header["wall_seconds"]), losses)


def _iteration(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint_"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("checkpoint_*.msgpack") if _NAME.fullmatch(path.name))
