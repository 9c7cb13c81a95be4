"""Trackers: Weights & Biases and TensorBoard. Used on a background thread, by `rlopt.tracking.session`."""

import json
import math
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from celo2.files import read_json, read_limited, write_atomic
from rlopt.tracking import wandb_process
from rlopt.tracking.subjects import Row, Subject

WANDB, TENSORBOARD = "wandb", "tensorboard"
# Beside wandb's own files: which of its runs a run folder is, so that a run that is resumed is not a second one there.
RUNS = "rlopt-runs.json"
_GROUP_LENGTH = 128
_FILM_LIMIT = 256 << 20


def values(row: Row, subject: Subject) -> dict[str, float]:
    """The finite numbers of a row but the step: of a population the mean and each member's, as METRIC/mean and so on.

    The mean is over the members that have a value: a seed that was stopped has none.
    """
    return {name: value for name, value in _entries(row, subject) if math.isfinite(value)}


def member_values(row: Row, index: int) -> dict[str, float]:
    """The finite numbers of one member of a population."""
    mine = ((name, items[index]) for name, items in row.items() if isinstance(items, list))
    return {name: value for name, value in mine if value is not None and math.isfinite(value)}


def films(row: Row) -> dict[str, Path]:
    """The GIFs of a row."""
    return {name: value for name, value in row.items() if isinstance(value, Path)}


def known_runs(folder: Path) -> tuple[str, ...]:
    """Which runs in Weights & Biases a run folder has: names of members, or "" for one of all; () for none.

    Raises:
      ValueError: for a damaged note of them.
    """
    path = folder / WANDB / RUNS
    return tuple(_read(path)["ids"]) if path.is_file() else ()


def _entries(row: Row, subject: Subject) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, list):
            found = [x for x in value if x is not None and math.isfinite(x)]
            if found:
                yield f"{name}/mean", sum(found) / len(found)
            yield from ((f"{name}/{of}", x) for of, x in zip(subject.members, value, strict=True) if x is not None)
        elif isinstance(value, dict):
            yield from ((f"{name}/{key}", x) for key, x in value.items())
        elif name != subject.step and value is not None and not isinstance(value, Path):
            yield name, value


class Wandb:
    """A run in Weights & Biases per subject, or one per member of a population, in a process of their own."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        first: int,
        *,
        mode: str,
        project: str,
        by_member: bool,
        seconds: float,
        name: str | None = None,
        group: str | None = None,
        more: Mapping[str, Any] | None = None,
        model: bool = False,
    ):
        """Starts the runs, or resumes those that the subjects' folders name.

        Args:
          subjects: what is tracked.
          first: not needed: wandb itself passes over steps that it has.
          mode: "online", or "offline" (files under FOLDER/wandb, to be sent later with `wandb sync`).
          project: by name.
          by_member: one run per member, in one group.
          seconds: after which a run that ends does not wait any more.
          name: in place of the folder's, for runs that are new.
          group: of all runs, in place of what the runs of one command have in common.
          more: other arguments of `wandb.init`.
          model: keep each subject's model as an artifact when it ends well; of several runs, the first has it.
        """
        self._subjects, self._by_member = subjects, by_member
        self._models: list[dict[str, Any]] = []
        runs: list[dict[str, Any]] = []
        for subject in subjects:
            wanted = tuple(subject.members) if by_member else ("",)
            in_group = bool(subject.group) and subject.name.startswith(subject.group)
            called = name and name + (subject.name.removeprefix(subject.group) if in_group else "")
            noted = _noted(subject, wanted, called)
            if model:
                files = {name: str(subject.folder.absolute() / name) for name in subject.model}
                self._models.append({"run": len(runs), "model": _artifact_name(noted["name"]), "files": files})
            runs += [
                {
                    "project": project,
                    "name": f"{noted['name']}-{member}" if member else noted["name"],
                    "group": (group or (noted["name"] if member else noted["group"]))[-_GROUP_LENGTH:] or None,
                    "dir": str(subject.folder),
                    "mode": mode,
                    "config": dict(subject.members[member] if member else subject.settings),
                    "id": noted["ids"][member],
                    "finish_seconds": seconds,
                    "machine_stats": not member,  # all runs of a group would measure the same machine
                    **(more or {}),
                }
                for member in wanted
            ]
        # A session of its own: Ctrl-C is for the training. -P: the folder of the script has modules named like others.
        self._process = subprocess.Popen(
            [sys.executable, "-P", wandb_process.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._write(runs)

    def log(self, rows: Sequence[Row]) -> None:
        """Logs its row to every run.

        Raises:
          RuntimeError: if the process has failed; with its reason.
        """
        found = []
        for subject, row in zip(self._subjects, rows, strict=True):
            if self._by_member:
                found += [member_values(row, i) for i in range(len(subject.members))]
            else:
                found.append(values(row, subject))
        step = rows[0][self._subjects[0].step]
        shown = {name: str(path) for row in rows for name, path in films(row).items()}
        for i, logged in enumerate(found):
            if logged or shown:
                self._write({"run": i, "step": step, "values": logged, **({"films": shown} if shown else {})})

    def close(self, ok: bool) -> None:
        """Ends the runs, and waits for that.

        Raises:
          RuntimeError: as `log`.
        """
        for model in self._models if ok else ():
            self._write(model)
        self._write({"exit_code": 0 if ok else 1})
        self._end()

    def _write(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._end()
            raise

    def _end(self) -> None:
        answer, _ = self._process.communicate()
        if answer:
            raise RuntimeError(json.loads(answer))
        if self._process.returncode:
            raise RuntimeError(f"its process ended with status {self._process.returncode}")


def _artifact_name(name: str) -> str:
    """A name as wandb allows it for an artifact."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[-_GROUP_LENGTH:]


def _noted(subject: Subject, wanted: tuple[str, ...], name: str | None) -> dict[str, Any]:
    """Name, group and ids of a subject's runs, as noted in its folder; name: of new ones, in place of the folder's."""
    path = subject.folder / WANDB / RUNS
    noted: dict[str, Any] = {"name": name or subject.name, "group": subject.group, "ids": {}}
    if path.is_file():
        noted |= _read(path)
    missing = [member for member in wanted if member not in noted["ids"]]
    if missing:
        noted["ids"] |= {member: uuid.uuid4().hex for member in missing}
        write_atomic(path, json.dumps(noted, indent=2).encode() + b"\n")
    return noted


def _read(path: Path) -> dict[str, Any]:
    noted = read_json(path)
    named = all(isinstance(noted.get(word), str) for word in ("name", "group"))
    if not (named and isinstance(noted.get("ids"), dict)):
        raise ValueError(f"{path} does not name the runs of a tracker; remove it to start new ones")
    return noted


class TensorBoard:
    """An event file under FOLDER/tensorboard per subject."""

    def __init__(self, subjects: Sequence[Subject], first: int):
        """Args:
        subjects: what is tracked.
        first: step of the first row; TensorBoard drops what earlier files of the folder hold from there on.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._subjects, self._event, self._writers = subjects, Event, []
        for subject in subjects:
            folder: Path = subject.folder / TENSORBOARD
            folder.mkdir(parents=True, exist_ok=True)
            # Not its SummaryWriter, which has a thread of its own that keeps its errors to itself. The suffix: files of
            # the same second would have the same name.
            writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
            self._writers.append(writer)
            self._write(writer, step=first, session_log=SessionLog(status=SessionLog.START))

    def log(self, rows: Sequence[Row]) -> None:
        """Writes a row to every file."""
        from tensorboardX.proto.summary_pb2 import Summary

        for subject, writer, row in zip(self._subjects, self._writers, rows, strict=True):
            found = values(row, subject)
            shown = [Summary.Value(tag=name, simple_value=value) for name, value in found.items()]
            shown += [Summary.Value(tag=name, image=_image(path)) for name, path in films(row).items()]
            summary = Summary(value=shown)
            self._write(writer, step=row[subject.step], summary=summary)

    def close(self, ok: bool) -> None:
        """Closes the files."""
        for writer in self._writers:
            writer.close()

    def _write(self, writer: Any, **entries: Any) -> None:
        writer.write_event(self._event(wall_time=time.time(), **entries))
        writer.flush()


def _image(path: Path) -> Any:
    """A GIF as TensorBoard takes it, which plays it."""
    from tensorboardX.proto.summary_pb2 import Summary

    data = read_limited(path, _FILM_LIMIT)
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))  # as the format begins
    return Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
