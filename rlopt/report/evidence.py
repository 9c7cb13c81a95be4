"""What a report is made from: cells, choices, and what is to be said about them."""

from typing import NamedTuple

from rlopt.benchmark.plan import YARDSTICK, Plan
from rlopt.benchmark.protocol import Choice
from rlopt.report.cells import Cell


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
    def baseline(self) -> str:
        """The yardstick in words: "Adam", or its name here."""
        return "Adam" if self.yardstick in (None, YARDSTICK) else str(self.yardstick)
