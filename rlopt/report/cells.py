"""What a report has to go on: cells, finished populations as read from their folders, and all of them together.

What cannot be read becomes a sentence.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlopt import statistics
from rlopt.benchmark.plan import YARDSTICK, Plan
from rlopt.benchmark.protocol import Choice
from rlopt.runs import kept, labels, results
from rlopt.runs.summary import GIVEN_UP
from rlopt.training.config import TrainConfig


class Cell(NamedTuple):
    """An optimizer at a learning rate on an environment, all its seeds, perhaps of several run folders.

    environment: its id, with the agent where a report has several. optimizer: what the report calls it. seeds: [S].
    final: float64 [S], stopped [S], steps [T], returns [S, T]: as `history.History`; final is NaN where no episode
    ended in any seed. config: the first folder's. settings: what may differ, as `labels.settings`. documents,
    summaries: `config.json` and `summary.json` of each folder. evaluations: of all seeds; None: there are none.
    """

    environment: str
    optimizer: str
    rate: float | None
    seeds: tuple[int, ...]
    final: np.ndarray
    steps: np.ndarray
    returns: np.ndarray
    stopped: np.ndarray
    folders: tuple[Path, ...]
    config: TrainConfig
    settings: dict[tuple[str, str], Any]
    documents: tuple[dict[str, Any], ...]
    summaries: tuple[dict[str, Any], ...]
    evaluations: kept.Evaluations | None = None

    @property
    def failed(self) -> dict[int, int]:
        """Seeds that were stopped since their loss was not finite, with the step."""
        return {seed: int(step) for seed, step in zip(self.seeds, self.stopped, strict=True) if step >= 0}

    @property
    def given_up(self) -> dict[int, int]:
        """Seeds that were given up (`training.giving_up`), with the step."""
        steps = [step for found in self.summaries for step in found.get(GIVEN_UP, [-1] * int(found["seeds"]))]
        return {seed: step for seed, step in zip(self.seeds, steps, strict=False) if step >= 0}

    @property
    def has_returns(self) -> bool:
        """Whether an episode ended in any of its seeds."""
        return bool(np.all(np.isfinite(self.final)))

    @property
    def wall_seconds(self) -> float:
        """Of training all seeds, without compilation."""
        return float(sum(found["wall_seconds"] - found.get("compile_seconds", 0.0) for found in self.summaries))

    @property
    def processor_seconds(self) -> float | None:
        """Of training all seeds, over all cores; None: a run of an older version did not note it."""
        known = [found["cpu_seconds"] for found in self.summaries if found.get("cpu_seconds") is not None]
        return float(sum(known)) if len(known) == len(self.summaries) else None

    @property
    def key(self) -> tuple[str, str, float | None]:
        """What a report looks it up by."""
        return self.environment, self.optimizer, self.rate


class Evidence(NamedTuple):
    """All of it.

    plan: of a benchmark; None: of other runs. tuning: cells that learning rates were chosen from; reported: those whose
    seeds count, one per `Cell.key`. choices: per optimizer that has one. random: returns of random policies per
    environment. yardstick: what the others are compared with, one of the optimizers; None: there is none. problems:
    sentences.
    """

    title: str
    plan: Plan | None
    environments: tuple[str, ...]
    optimizers: tuple[str, ...]
    tuning: list[Cell]
    reported: list[Cell]
    choices: dict[str, Choice]
    random: dict[str, list[float]]
    yardstick: str | None
    problems: list[str]

    def cell(self, environment: str, optimizer: str, rate: float | None) -> Cell | None:
        """The reported cell of an optimizer at a rate; there is one at most, see `reading.read`."""
        found = [cell for cell in self.reported if cell.key == (environment, optimizer, rate)]
        if len(found) > 1:
            raise KeyError(f"{len(found)} cells of {optimizer} at rate {rate} on {environment}")
        return found[0] if found else None

    def chosen(self, environment: str, optimizer: str, setting: str) -> Cell | None:
        """The reported cell at the "tuned" or the "shared" setting."""
        choice = self.choices.get(optimizer)
        if choice is None or environment not in choice.tuned:
            return None
        return self.cell(environment, optimizer, choice.tuned[environment] if setting == "tuned" else choice.shared)

    @property
    def tunes(self) -> bool:
        """Whether it is of a benchmark that chose learning rates, per environment ("tuned") and for all ("shared")."""
        return self.plan is not None and self.plan.tunes

    @property
    def one(self) -> str:
        """What is 1 on the scale of scores, in words."""
        return f"tuned {self.baseline}" if self.plan is None or self.plan.tunes else self.baseline

    @property
    def baseline(self) -> str:
        """The yardstick in words: "Adam", or its name here."""
        return "Adam" if self.yardstick in (None, YARDSTICK) else str(self.yardstick)


def append(cells: list[Cell], place: Path, what: str, problems: list[str]) -> None:
    """Adds the finished run of a folder to cells, or a sentence to problems on why there is none."""
    if not (place / results.CONFIG).is_file():
        problems.append(f"The {what} is missing.")
        return
    if not results.is_finished(place):
        problems.append(f"The {what} is not finished, and not counted.")
        return
    try:
        cell = _read(place)
    except (ValueError, KeyError, OSError, TypeError) as error:
        problems.append(f"The {what} cannot be read, and is not counted: {error}.")
        return
    if not cell.has_returns:
        problems.append(f"The {what} has no returns: no episode ended in any of its seeds.")
    elif silent := statistics.silent_seeds(cell.returns):
        problems.append(
            f"The {what} has {silent} of {len(cell.seeds)} seeds in which no episode ever ended; they count as its "
            "lowest return."
        )
    try:
        cell = cell._replace(evaluations=kept.read_evaluations(place, len(cell.seeds)))
    except (ValueError, OSError) as error:
        problems.append(f"The evaluations during training of the {what} cannot be read, and are not shown: {error}.")
    cells.append(cell)


def _read(place: Path) -> Cell:
    config = results.read_config(place)
    run = results.read_run(place)
    results.check_seeds(run, config)
    document = results.read_document(place)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    return Cell(
        environment=config.env,
        optimizer=config.title,
        rate=config.resolved_learning_rate,
        seeds=seeds,
        final=run.final.astype(np.float64),
        steps=run.steps,
        returns=run.returns,
        stopped=run.stopped,
        folders=(place,),
        config=config,
        settings=labels.settings(document | {"hyper": _hyper(config)}),
        documents=(document,),
        summaries=(run.summary,),
    )


def _hyper(config: TrainConfig) -> dict[str, Any]:
    """The agent's settings, those an older file does not have at what they were then: today's defaults."""
    return {name: list(x) if isinstance(x, tuple) else x for name, x in dataclasses.asdict(config.hyper).items()}
