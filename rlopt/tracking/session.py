"""Rows to Weights & Biases and TensorBoard, beside the `metrics.jsonl` that every run writes. Nothing here imports jax.

A tracker gets its rows on a thread of its own. One that is slow, hangs or fails loses rows with a warning; it neither
stops a run nor holds it up, but for a bounded time at the end.
"""

import dataclasses
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rlopt.tracking.background import CAPACITY, Worker
from rlopt.tracking.subjects import Make, Report, Row, Subject, Tracker

MAX_WAIT = 86_400.0
# As wandb has it.
_FORBIDDEN, _PROJECT_LENGTH, _TAG_LENGTH = "/\\#?%:", 128, 64


@dataclass(frozen=True)
class Tracking:
    """What is tracked, and how. No part of a run's settings: a run can be resumed with another tracking."""

    wandb: Literal["off", "disabled", "online", "offline"] = "off"
    """Send the metrics, or the film, to Weights & Biases, or keep it in its format for `wandb sync`; off and disabled:
    neither."""
    wandb_project: str = "rlopt"
    """Project in Weights & Biases."""
    wandb_entity: str | None = None
    """Whose project it is there, a user or a team; default: whoever is logged in."""
    wandb_name: str | None = None
    """Name of the run there, in place of the folder's; several runs of one command have their part of it added."""
    wandb_group: str | None = None
    """Group of the runs there; default: that of a comparison, sweep or benchmark is its folder's name."""
    wandb_tags: tuple[str, ...] = ()
    """Tags of the runs there."""
    wandb_notes: str | None = None
    """Notes on the runs there."""
    wandb_model: bool = False
    """Keep what was trained there, too: the files of a run that came to its end, as an artifact of type `model`."""
    tensorboard: bool = False
    """Write event files for TensorBoard, into RUN_FOLDER/tensorboard."""
    tracker_wait: float = 10.0
    """Seconds to wait at the end for what has not been sent; then it is left out."""

    @property
    def by_member(self) -> bool:
        """Whether each member of a population is a run in Weights & Biases."""
        return False

    @property
    def flags(self) -> tuple[str, ...]:
        """What a command line needs for the same tracking."""
        found: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                name = f"--{field.name.replace('_', '-')}"
                found += [name] if value is True else [name, *map(str, value if isinstance(value, tuple) else (value,))]
        return tuple(found)

    def check(self) -> None:
        """Refuses impossible settings.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        if not 0 <= self.tracker_wait <= MAX_WAIT:
            raise ValueError(f"tracker_wait must lie in [0, {MAX_WAIT:g}] seconds, got {self.tracker_wait}")
        for tag in self.wandb_tags:
            if not 0 < len(tag) <= _TAG_LENGTH:
                raise ValueError(f"wandb_tags must have 1 to {_TAG_LENGTH} characters each, got {tag!r}")
        for setting in ("wandb_entity", "wandb_name", "wandb_group"):
            found = getattr(self, setting)
            if found is not None and not 0 < len(found) <= _PROJECT_LENGTH:
                raise ValueError(f"{setting} must have 1 to {_PROJECT_LENGTH} characters, got {found!r}")
        name = self.wandb_project
        if not 0 < len(name) <= _PROJECT_LENGTH or any(letter in _FORBIDDEN for letter in name):
            raise ValueError(
                f"wandb_project must have 1 to {_PROJECT_LENGTH} characters and none of {_FORBIDDEN}, got {name!r}"
            )

    @contextmanager
    def open(self) -> Iterator["Session | None"]:
        """What a command hands its rows to; None: nothing is tracked.

        Warns:
          UserWarning: naming a tracker that fails; the command goes on without it.

        Raises:
          ValueError: as `check`.
        """
        self.check()
        from rlopt.tracking import trackers

        makers: dict[str, Make] = {}
        if self.wandb in ("online", "offline"):
            makers["wandb"] = partial(
                trackers.Wandb,
                mode=self.wandb,
                project=self.wandb_project,
                name=self.wandb_name,
                group=self.wandb_group,
                more={"entity": self.wandb_entity, "tags": list(self.wandb_tags) or None, "notes": self.wandb_notes},
                by_member=self.by_member,
                seconds=self.tracker_wait,
                model=self.wandb_model,
            )
        if self.tensorboard:
            makers["TensorBoard"] = trackers.TensorBoard
        if not makers:
            yield None
            return
        session = Session(makers, self.tracker_wait)
        try:
            yield session
        finally:
            session.close()


@dataclass(frozen=True)
class PopulationTracking(Tracking):
    """Tracking of populations of seeds."""

    wandb_runs: Literal["population", "seed"] = "population"
    """population: one run with the mean and every seed's values. seed: one run per seed, in one group."""

    @property
    def by_member(self) -> bool:
        """As in `Tracking`."""
        return self.wandb_runs == "seed"


class Session:
    """Trackers that follow one population after the other, each on a thread that starts with its first row."""

    def __init__(self, makers: Mapping[str, Make], seconds: float, capacity: int = CAPACITY):
        """Args:
        makers: what makes the trackers, by the names used in warnings.
        seconds: to wait at the end, for all of them together.
        capacity: rows that may wait for a tracker.
        """
        self._seconds = seconds
        self._workers = {name: Worker(f"rlopt-{name}", partial(_work, make), capacity) for name, make in makers.items()}
        self._warned: set[str] = set()

    @contextmanager
    def follow(self, subjects: Sequence[Subject]) -> Iterator[Report]:
        """Something to call with every row of a population: one part per subject. It never waits."""
        subjects = tuple(subjects)

        def report(rows: Sequence[Row]) -> None:
            for name, worker in self._workers.items():
                if not worker.put((subjects, rows, True)):
                    self._warn(name, _reason(worker) or "it is slower than the run; rows are left out")

        ok = False
        try:
            yield report
            ok = True
        finally:
            for worker in self._workers.values():
                worker.put((subjects, None, ok))  # where there is no room, the next population or the end closes it

    def close(self) -> None:
        """Waits, for a bounded time, until everything has been taken."""
        until = time.monotonic() + self._seconds
        for worker in self._workers.values():
            worker.end()
        busy = [name for name, worker in self._workers.items() if not worker.join(max(0.0, until - time.monotonic()))]
        for name, worker in self._workers.items():
            if name in busy or worker.error is not None:
                self._warn(name, _reason(worker) or f"it did not finish in {self._seconds:g} s; the rest is left out")

    def _warn(self, name: str, why: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            warnings.warn(f"going on without {name}: {why}", stacklevel=3)


@contextmanager
def follow(session: Session | None, subjects: Sequence[Subject]) -> Iterator[Report]:
    """As `Session.follow`; without a session, something that does nothing."""
    if session is None:
        yield lambda rows: None
        return
    with session.follow(subjects) as report:
        yield report


def _reason(worker: Worker) -> str:
    return f"{type(worker.error).__name__}: {worker.error}" if worker.error is not None else ""


def _work(make: Make, items: Iterator[tuple[tuple[Subject, ...], Sequence[Row] | None, bool]]) -> None:
    """Follows the populations whose rows come."""
    current: tuple[Subject, ...] | None = None
    tracker: Tracker | None = None
    for subjects, rows, ok in items:
        if tracker is not None and (subjects is not current or rows is None):
            tracker.close(ok or subjects is not current)
            tracker = None
        if rows is None:
            continue
        if tracker is None:
            # Not before the first row: a run that is refused leaves nothing behind.
            current, tracker = subjects, make(subjects, rows[0][subjects[0].step])
        tracker.log(rows)
    if tracker is not None:
        tracker.close(True)
