"""What a run keeps beside its last parameters and its learning curve: earlier parameters, and its evaluations."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.serialization
import numpy as np

from celo2.files import write_atomic
from metatrain import npz
from rlopt.training import monitor
from rlopt.training.history import History

if TYPE_CHECKING:
    from rlopt.runs.results import Run

FOLDER, EVALUATIONS = "kept", "evaluations.npz"
FINAL = "final"
_SUFFIX = ".msgpack"
_STEP = re.compile(monitor.STEP.format(r"(\d{1,18})"))
_LIMIT = 256 << 20


class Evaluations(NamedTuple):
    """Evaluations of a run while it trained, K of them.

    steps: int64 [K], environment steps per seed before each. returns, lengths: float32 [S, K], means over the episodes
    that were over in time; NaN: none was, or the seed had been stopped. episodes: float32 [S, K], how many were over.
    """

    steps: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    episodes: np.ndarray


def of(history: History) -> Evaluations | None:
    """The evaluations in a history; None: there are none."""
    if monitor.EPISODES not in history.metrics:
        return None
    names = (monitor.RETURN, monitor.LENGTH, monitor.EPISODES)
    done = np.any(np.isfinite(history.metrics[monitor.EPISODES]), axis=0)
    return Evaluations(history.steps[done], *(history.metrics[name][:, done] for name in names)) if done.any() else None


def write_evaluations(folder: Path, found: Evaluations) -> None:
    """Writes them into a run folder."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **found._asdict())
    write_atomic(folder / EVALUATIONS, buffer.getvalue(), make_folder=False)


def read_evaluations(folder: Path, seeds: int) -> Evaluations | None:
    """Those of a run folder; None: it has none.

    seeds: how many the run has.

    Raises:
      ValueError: for a damaged file, or one of another run.
    """
    path = folder / EVALUATIONS
    if not path.exists():
        return None
    found = Evaluations(**npz.read(path, Evaluations._fields, limit=_LIMIT))
    count = len(found.steps) if found.steps.ndim == 1 else 0
    fits = count > 0 and found.steps.dtype.kind in "iu" and all(x.shape == (seeds, count) for x in found[1:])
    if not fits or any(x.dtype.kind != "f" for x in found[1:]):
        shapes = ", ".join(f"{name} {x.dtype} {x.shape}" for name, x in found._asdict().items())
        raise ValueError(f"{path} does not fit a run of {seeds} seeds: {shapes}")
    return found


def evaluated(run: "Run") -> "Run | None":
    """A run with its evaluations (`--eval-every`) in place of the returns of training; None: it has none.

    Raises:
      ValueError: for a damaged file of them.
    """
    found = read_evaluations(run.folder, len(run.final))
    return None if found is None else run._replace(steps=found.steps, returns=found.returns)


def write(folder: Path, name: str, policies: Any, last: int = 0) -> None:
    """Writes parameters into a run folder, and removes those that they replace.

    Args:
      folder: the run's. name: `monitor.BEST`, or one of `monitor.STEP`.
      policies: tree of NumPy arrays, leaves [S, ...].
      last: how many with steps in their names stay, the newest up to these; 0: all. Later ones, which a run left that
        is resumed from an earlier checkpoint, do not.
    """
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    write_atomic(place / f"{name}{_SUFFIX}", flax.serialization.to_bytes(policies), make_folder=False)
    if name == monitor.BEST:
        return
    here = int(_STEP.fullmatch(name)[1])  # type: ignore[index]  # it is one of ours
    there = steps(folder)
    before = [step for step in there if step <= here]
    for step in [*(step for step in there if step > here), *(before[:-last] if last else [])]:
        (place / f"{monitor.STEP.format(step)}{_SUFFIX}").unlink(missing_ok=True)


def steps(folder: Path) -> list[int]:
    """Environment steps of the parameters that were kept every so often, in rising order."""
    found = (_STEP.fullmatch(path.name.removesuffix(_SUFFIX)) for path in (folder / FOLDER).glob(f"*{_SUFFIX}"))
    return sorted(int(one[1]) for one in found if one)


def path_of(folder: Path, which: str) -> Path:
    """The file of kept parameters: "best", or a number of environment steps.

    Raises:
      ValueError: if they were not kept, with those that were.
    """
    name = which if which == monitor.BEST else monitor.STEP.format(which.replace(",", "").replace("_", ""))
    path = folder / FOLDER / f"{name}{_SUFFIX}"
    if not (name == monitor.BEST or _STEP.fullmatch(name)) or not path.is_file():
        best = [monitor.BEST] if (folder / FOLDER / f"{monitor.BEST}{_SUFFIX}").is_file() else []
        raise ValueError(
            f"{folder} has no parameters {which!r}; it has {', '.join([FINAL, *best, *map(str, steps(folder))])} "
            "(`rlopt train` keeps others with --keep-best and --keep-every)"
        )
    return path
