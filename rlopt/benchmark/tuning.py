"""Which learning rates are tried with how many seeds, and which are chosen.

Successive halving: every rate gets two tuning seeds, the better half of them twice as many, and so on up to the plan's
number; a rate is chosen among those that came that far. (Jamieson and Talwalkar, 2016.) Rates go on where they are
among the best of an environment, or of all environments together: four seeds for five rates so cost 16 runs or a few
more instead of 20, eight 24 or a few more instead of 40. What goes on follows from the runs on disk alone.

A best rate at the edge of those tried may have a better one beyond: `extension` says which to try next.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlopt import statistics
from rlopt.benchmark import protocol
from rlopt.benchmark.plan import YARDSTICK, Plan
from rlopt.benchmark.protocol import Choice, Scale
from rlopt.runs import results
from rlopt.training.config import TrainConfig

# How often a grid may grow on either side.
MOST_EXTENSIONS = 4
# Final returns [seeds so far] by learning rate.
Scores = Mapping[float, np.ndarray]


class Rung(NamedTuple):
    """stage: of `protocol.place`. first: how many tuning seeds come before; seeds: how many it adds."""

    stage: str
    first: int
    seeds: int


def rungs(plan: Plan) -> list[Rung]:
    """In which portions rates get their tuning seeds: 2, 2, 4, 8, ... up to the plan's; all at once without halving.

    None where nothing is tuned.
    """
    if not plan.tunes:
        return []
    totals = [plan.first_tuning_seeds]
    while totals[-1] < plan.tuning_seeds:
        totals.append(min(2 * totals[-1], plan.tuning_seeds))
    before = [0, *totals]
    return [
        Rung(protocol.TUNING if i == 0 else f"{protocol.TUNING}-{i + 1}", before[i], total - before[i])
        for i, total in enumerate(totals)
    ]


def config(plan: Plan, optimizer: str, env_id: str, rung: Rung, rates: Sequence[float]) -> TrainConfig:
    """The population of a rung."""
    return plan.tuning_config(optimizer, env_id, tuple(rates), rung.first, rung.seeds)


def tried(folder: Path, plan: Plan, optimizer: str) -> tuple[float, ...]:
    """The candidates, and the rates beyond them that have been begun, lowest first; () for what takes no rate."""
    there = set()
    for env_id in plan.environments:
        for path in protocol.place(folder, protocol.TUNING, env_id, optimizer).glob("rate-*"):
            try:
                there.add(float(path.name.removeprefix("rate-")))
            except ValueError:
                continue
    rates = tuple(sorted(plan.candidates(optimizer)))
    if not rates:
        # Nothing of an optimizer of another version is known but what lies there.
        return tuple(sorted(there))
    for side in ("lowest", "highest"):
        while (more := beyond(rates, side)) in there:
            rates = tuple(sorted((*rates, more)))
    return rates


def beyond(rates: Sequence[float], side: str) -> float:
    """The next rate on a side, "lowest" or "highest": rates 0.1, 0.3, 1 go on with 3, and with 0.03."""
    logs = np.log(rates if side == "highest" else rates[::-1])
    # The step before the last one: of a grid of 1, 3, 10 steps alternate.
    step = logs[-2] - logs[-3] if len(logs) > 2 else logs[1] - logs[0] if len(logs) == 2 else np.log(3.0)
    step = abs(step) if side == "highest" else -abs(step)
    return float(f"{np.exp(logs[-1] + step):.6g}")


def extension(plan: Plan, optimizer: str, rates: Sequence[float], chosen: Choice) -> tuple[float, ...]:
    """The rates to try next, since one that was chosen is at the edge of those tried; () if none is, or enough were."""
    best = {*chosen.tuned.values(), chosen.shared}
    sides = [side for side, rate in (("lowest", rates[0]), ("highest", rates[-1])) if rate in best] if rates else []
    low, high = min(plan.candidates(optimizer), default=0.0), max(plan.candidates(optimizer), default=0.0)
    grown = {"lowest": sum(rate < low for rate in rates), "highest": sum(rate > high for rate in rates)}
    return tuple(beyond(rates, side) for side in sides if grown[side] < MOST_EXTENSIONS)


def rates_of(
    folder: Path, plan: Plan, optimizer: str, rates: Sequence[float], number: int
) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
    """Which rates reach a rung: per environment, and those that are also candidates for all environments together.

    rates: that are tried. number: of the rung.

    Raises:
      ValueError: if a run of a rung before is missing.
    """
    here = {env_id: tuple(rates) for env_id in plan.environments}
    shared = tuple(rates)
    for i in range(number):
        keep = len(kept(rates, i + 1))
        scores = {
            env_id: _scores(folder, plan, optimizer, env_id, sorted({*here[env_id], *shared}), i)
            for env_id in plan.environments
        }
        scales = _scales(folder, plan, i, scores if optimizer == YARDSTICK else None)
        together = _together(scores, shared, scales)
        shared = _leading(dict(zip(shared, together, strict=True)), keep)
        here = {
            env_id: tuple(
                sorted({*_leading({rate: float(np.mean(mine[rate])) for rate in here[env_id]}, keep), *shared})
            )
            for env_id, mine in scores.items()
        }
    return here, shared


def kept(rates: Sequence[float], number: int) -> Sequence[float]:
    """As many rates as reach a rung at least, of each environment, by halving alone."""
    return rates if number == 0 else rates[: max(2, -(-len(rates) // 2**number))]


def choice(folder: Path, plan: Plan, optimizer: str, rates: Sequence[float] | None = None) -> Choice:
    """What is chosen for an optimizer, from its tuning runs and Adam's; rates: those that are tried.

    Where nothing is tuned, it is the only candidate.

    Raises:
      ValueError: if a run is missing.
    """
    if not plan.tunes:
        only = next(iter(plan.candidates(optimizer)), None)
        return Choice(dict.fromkeys(plan.environments, only), only)
    rates = tried(folder, plan, optimizer) if rates is None else rates
    last = len(rungs(plan)) - 1
    here, shared = rates_of(folder, plan, optimizer, rates, last)
    scores = {env_id: _scores(folder, plan, optimizer, env_id, mine, last) for env_id, mine in here.items()}
    return choose(scores, shared, _scales(folder, plan, last, scores if optimizer == YARDSTICK else None))


def choose(scores: Mapping[str, Scores], shared: Sequence[float], scales: Mapping[str, Scale]) -> Choice:
    """The rates with the highest mean over tuning seeds: per environment, and in the mean of normalised scores.

    Args:
      scores: per environment, final returns by rate; none for an optimizer that takes no rate.
      shared: the rates from which one for all environments is chosen; every environment has scores of them.
      scales: per environment, made from tuning seeds as well. The shared rate is chosen on those that are usable; where
        none is, it is the middle one.
    """
    if not shared:
        return Choice(dict.fromkeys(scores), None)
    tuned = {
        env_id: list(mine)[statistics.best(np.asarray([np.mean(x) for x in mine.values()]))]
        for env_id, mine in scores.items()
    }
    return Choice(tuned, shared[statistics.best(np.asarray(_together(scores, shared, scales)))])


def _together(scores: Mapping[str, Scores], rates: Sequence[float], scales: Mapping[str, Scale]) -> list[float]:
    """Mean normalised score of each rate over the environments with a usable scale."""
    usable = [(mine, scales[env_id]) for env_id, mine in scores.items() if env_id in scales and scales[env_id].usable]
    return [float(np.mean([np.mean(scale(mine[rate])) for mine, scale in usable])) if usable else 0.0 for rate in rates]


def _leading(means: Mapping[float, float], keep: int) -> tuple[float, ...]:
    """The rates with the highest means, of equal ones those nearest to the middle; in rising order."""
    rates = list(means)
    return tuple(rates[i] for i in statistics.leading(list(means.values()), keep))


def _scores(
    folder: Path, plan: Plan, optimizer: str, env_id: str, rates: Sequence[float], number: int
) -> dict[float, np.ndarray]:
    """Final returns of the tuning seeds by rate, up to and with a rung."""
    stages = [rung.stage for rung in rungs(plan)[: number + 1]]
    found = {}
    for rate in rates:
        places = [protocol.place(folder, stage, env_id, optimizer) / results.rate_name(rate) for stage in stages]
        found[rate] = np.concatenate([results.read_run(place).final.astype(np.float64) for place in places])
    return found


def _scales(folder: Path, plan: Plan, number: int, adam: Mapping[str, Scores] | None) -> dict[str, Scale]:
    """Zero and one as far as they are known after a rung; adam: its scores, if they have been read."""
    if adam is None:
        here, _ = rates_of(folder, plan, YARDSTICK, tried(folder, plan, YARDSTICK), number)
        adam = {env_id: _scores(folder, plan, YARDSTICK, env_id, mine, number) for env_id, mine in here.items()}
    zeros = protocol.random_returns(folder)
    return {
        env_id: Scale(float(np.mean(zeros[env_id])), max(float(np.mean(x)) for x in mine.values()))
        for env_id, mine in adam.items()
        if env_id in zeros
    }
