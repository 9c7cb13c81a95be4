"""What optimizers reach in equal time: all are stopped where the quickest has finished, on each environment."""

from typing import NamedTuple

import numpy as np

from rlopt.report import scores
from rlopt.report.cells import Cell, Evidence
from rlopt.report.scores import Scores
from rlopt.report.verdicts import Verdict
from rlopt.statistics import FINAL_SHARE


class Timing(NamedTuple):
    """Times of the reported runs at the tuned setting.

    kind: "processor time", or "wall-clock time" where a run does not know the former or was trained on an accelerator.
    seconds: by environment and optimizer, of training one seed from the first to the last step. limit: by environment,
    the shortest of them.
    """

    kind: str
    seconds: dict[tuple[str, str], float]
    limit: dict[str, float]


def of(evidence: Evidence) -> Timing | None:
    """None where there is nothing to compare, or a run does not say how long it took."""
    cells = {
        (environment, optimizer): cell
        for environment in evidence.environments
        for optimizer in evidence.optimizers
        if (cell := evidence.chosen(environment, optimizer, "tuned")) is not None and cell.has_returns
    }
    if len({optimizer for _, optimizer in cells}) < 2:
        return None
    on_processors = all(
        cell.processor_seconds is not None and all(found.get("devices", "").endswith("cpu") for found in cell.summaries)
        for cell in cells.values()
    )
    seconds = {}
    for key, cell in cells.items():
        total = cell.processor_seconds if on_processors else cell.wall_seconds
        # A run may have ended early, since all its seeds broke.
        seconds[key] = (total or 0.0) / len(cell.seeds) * scores.last_step(evidence, key[0]) / cell.steps[-1]
    if min(seconds.values()) <= 0:
        return None
    limit = {environment: min(s for key, s in seconds.items() if key[0] == environment) for environment, _ in cells}
    return Timing("processor time" if on_processors else "wall-clock time", seconds, limit)


def at_equal_time(evidence: Evidence, found: dict[str, Scores], timing: Timing) -> dict[str, Scores]:
    """Scores whose final returns are those of the last tenth of the steps that fit into the limit."""
    scales = scores.scales(evidence)

    def final(optimizer: str, mine: Scores, cell: Cell) -> np.ndarray:
        end = scores.last_step(evidence, cell.environment)
        stop = end * timing.limit[cell.environment] / timing.seconds[cell.environment, optimizer]
        steps, returns = scores.curve(cell, end)
        window = np.linspace((1 - FINAL_SHARE) * stop, stop, 20)
        rows = [cell.seeds.index(seed) for seed in mine.seeds]
        return scales[cell.environment](np.asarray([np.interp(window, steps, row).mean() for row in returns[rows]]))

    return {
        name: mine._replace(final=np.stack([final(name, mine, cell) for cell in mine.cells], axis=1))
        for name, mine in found.items()
    }


def slower(evidence: Evidence, timing: Timing) -> dict[str, float]:
    """How many times as long as the quickest each optimizer takes, in the geometric mean over its environments."""
    ratios: dict[str, list[float]] = {}
    for (environment, optimizer), seconds in timing.seconds.items():
        ratios.setdefault(optimizer, []).append(seconds / timing.limit[environment])
    return {name: float(np.exp(np.mean(np.log(ratios[name])))) for name in evidence.optimizers if name in ratios}


def difference(timing: Timing, steps: dict[str, Verdict], time: dict[str, Verdict]) -> str | None:
    """A sentence on where verdicts at equal time differ from those at equal steps; None where there are none."""
    both = [name for name in steps if name in time and steps[name].p is not None and time[name].p is not None]
    if not both:
        return None
    changed = [
        f"{name} is {time[name].word} instead of {steps[name].word}"
        for name in both
        if steps[name].word != time[name].word
    ]
    if not changed:
        return f"At equal {timing.kind} instead of equal steps, every verdict is the same."
    return f"At equal {timing.kind} instead of equal steps, {'; '.join(changed)}."
