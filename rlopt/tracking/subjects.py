"""What is tracked, and what a tracker is. Nothing here imports jax."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rlopt import typed
from rlopt.training.config import TrainConfig

Row = dict[str, Any]
"""Numbers by name, lists of a number for each member, mappings of numbers; a path is that of a film, a GIF."""
Report = Callable[[Sequence[Row]], None]


@dataclass(frozen=True)
class Subject:
    """A run folder that is tracked.

    folder: the run's. name: what it is called. group: what the runs made with it have in common. settings: the run's.
    step: name of the entry of a row that counts its steps. members: settings of each member of a population, by the
    name of the member, in the order of the lists in its rows; {}: the rows hold no lists. model: names of the files in
    the folder that make up what was trained, as soon as it is; those that are there count.
    """

    folder: Path
    name: str
    group: str
    settings: Mapping[str, Any]
    step: str
    members: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    model: tuple[str, ...] = ()


class Tracker(Protocol):
    """What follows one population. Everything happens on a background thread."""

    def log(self, rows: Sequence[Row]) -> None:
        """Takes a row of each subject, as `metrics.jsonl` has it but for NaN."""

    def close(self, ok: bool) -> None:
        """Ends; ok: the run came to its end."""


Make = Callable[[Sequence[Subject], int], Tracker]
"""Makes a tracker of subjects whose rows come together; also given the step of their first rows."""


def population(folder: Path, root: Path, config: TrainConfig, model: tuple[str, ...] = ()) -> Subject:
    """A population of seeds at one learning rate, in a run folder at or below that of its comparison or sweep."""
    folder, root = folder.resolve(), root.resolve()
    config = dataclasses.replace(config, learning_rate=config.resolved_learning_rate)
    seeds = range(config.seed, config.seed + config.seeds)
    return Subject(
        folder=folder,
        name="-".join((root.name, *folder.relative_to(root).parts)),
        group=root.name,
        settings=typed.plain(config),
        step="step",
        model=model,
        members={f"seed-{seed}": typed.plain(dataclasses.replace(config, seed=seed, seeds=1)) for seed in seeds},
    )
