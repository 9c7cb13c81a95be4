"""What a person sees while populations train: one bar for all of a plan, and lines on what happens."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tqdm

from rlopt import escape
from rlopt.storage.streams import Steady
from rlopt.training.config import TrainConfig


class Shown:
    """A progress bar over environment steps of one population, or over those of all members of a plan."""

    def __init__(self, enabled: bool = True, stream: Any = None):
        """enabled: False: nothing is shown. stream: where to; default: standard error."""
        self.enabled = enabled
        self._stream = Steady(sys.stderr, patient=False) if stream is None else stream
        self._plan: Any = None
        self._cells = self._begun = 0
        self.phase = ""

    @contextlib.contextmanager
    def plan(self) -> Iterator["Shown"]:
        """One bar for all populations within; `expect` says how many there are."""
        with self._bar(0, 0) as bar:
            self._plan = bar if self.enabled else None
            try:
                yield self
            finally:
                self._plan = None

    def expect(self, config: TrainConfig, count: int = 1) -> None:
        """Adds populations of a size to the plan; count below 0: takes them away."""
        self._cells += count
        if self._plan is not None:
            self._plan.total += count * _work(config)

    def passed(self, config: TrainConfig) -> None:
        """A population of the plan is there already."""
        if self._plan is not None:
            self._begun += 1
            self._plan.initial += _work(config)  # it took no time now, so the time left does not count it
            self._plan.update(_work(config))

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self.enabled:
            tqdm.tqdm.write(escape.terminal(line), file=self._stream)

    @contextlib.contextmanager
    def population(self, config: TrainConfig, label: str, begun: int, total: int) -> Iterator["Population"]:
        """A population that trains; begun, total: environment steps per seed."""
        if self._plan is None:
            with self._bar(begun, total, escape.terminal(label)) as bar:
                yield Population(bar, 1)
            return
        self._begun += 1
        where = " ".join(word for word in (self.phase, f"cell {self._begun} of {self._cells}") if word)
        self._plan.set_description_str(f"{where}: {escape.terminal(label)}")
        self._plan.initial += begun * config.size
        self._plan.update(begun * config.size)
        yield Population(self._plan, config.size)

    def _bar(self, begun: int, total: int, label: str | None = None) -> Any:
        return tqdm.tqdm(
            total=total,
            initial=begun,
            unit="step",
            unit_scale=True,
            desc=label,
            disable=not self.enabled,
            mininterval=1.0,
            file=self._stream,
        )


class Population:
    """One population's part in a bar; members: by which its steps count."""

    def __init__(self, bar: Any, members: int):
        self._bar, self._members = bar, members
        self._medians: dict[str, float] = {}

    def update(self, steps: int, returns: np.ndarray, evaluated: np.ndarray | None = None) -> None:
        """After steps more per seed; a median stays until there is another.

        returns: [S], NaN for seeds in which no episode ended since. evaluated: [S], likewise of evaluations.
        """
        for name, values in (("median return", returns), ("evaluated", evaluated)):
            known = np.zeros(0) if values is None else values[~np.isnan(values)]
            if known.size:
                self._medians[name] = float(np.median(known))
        if self._medians:
            words = ", ".join(f"{name} {value:.1f}" for name, value in self._medians.items())
            self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(steps * self._members)


def of(progress: "bool | Shown") -> Shown:
    """What was asked for: a bar of its own, none, or a plan's."""
    return progress if isinstance(progress, Shown) else Shown(progress)


def _work(config: TrainConfig) -> int:
    return int(config.hyper.num_iterations * config.hyper.env_steps_per_iteration * config.size)
