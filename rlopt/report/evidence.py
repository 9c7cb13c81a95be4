"""Reads everything that a report is made from; whatever is missing or unreadable becomes a sentence, not an error."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlopt.benchmark import protocol
from rlopt.benchmark.plan import YARDSTICK, Plan
from rlopt.benchmark.protocol import FINAL, TUNING, Choice
from rlopt.runs import results


class Cell(NamedTuple):
    """A finished population: an optimizer at a learning rate on an environment, all its seeds.

    environment: its id, with the agent where a report has several. seeds: [S]. final: float64 [S], as
    `protocol.finals`; NaN: never an episode.
    """

    environment: str
    optimizer: str
    rate: float | None
    seeds: tuple[int, ...]
    final: np.ndarray
    run: results.Run
    document: dict[str, Any]

    @property
    def failed(self) -> dict[int, int]:
        """Seeds that were stopped since their loss was not finite, with the step."""
        return {seed: int(step) for seed, step in zip(self.seeds, self.run.stopped, strict=True) if step >= 0}


class Evidence(NamedTuple):
    """All of it.

    plan: of a benchmark; None: of other runs. tuning: cells that learning rates were chosen from; reported: those whose
    seeds count. choices: per optimizer that has one. random: returns of random policies per environment. problems:
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
    problems: list[str]

    def cell(self, environment: str, optimizer: str, rate: float | None) -> Cell | None:
        """The reported cell of an optimizer at a rate."""
        for cell in self.reported:
            if (cell.environment, cell.optimizer, cell.rate) == (environment, optimizer, rate):
                return cell
        return None

    def chosen(self, environment: str, optimizer: str, setting: str) -> Cell | None:
        """The reported cell at the "tuned" or the "shared" setting."""
        choice = self.choices.get(optimizer)
        if choice is None or environment not in choice.tuned:
            return None
        return self.cell(environment, optimizer, choice.tuned[environment] if setting == "tuned" else choice.shared)


def read(folders: Sequence[Path]) -> Evidence:
    """The evidence of one benchmark's folder, or of any other run folders together.

    Raises:
      ValueError: for a folder that does not exist, a benchmark together with something else, or one whose plan cannot
        be read; for folders without a benchmark or a finished run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
    benchmarks = [folder for folder in folders if (folder / protocol.PLAN).is_file()]
    if benchmarks and len(folders) > 1:
        raise ValueError(f"{benchmarks[0]} holds a benchmark, which gets a report of its own")
    found = _benchmark(folders[0]) if benchmarks else _others(folders)
    return found._replace(problems=found.problems + _unlike(found))


def _benchmark(folder: Path) -> Evidence:
    plan = protocol.read_plan(folder)
    problems: list[str] = []
    tuning: list[Cell] = []
    reported: list[Cell] = []
    choices = {}
    for optimizer in plan.all_optimizers:
        for environment in plan.environments:
            for rate in plan.candidates(optimizer):
                place = protocol.place(folder, TUNING, environment, optimizer) / results.rate_name(rate)
                _append(tuning, place, f"tuning run of {optimizer} on {environment} at rate {rate:g}", problems)
        try:
            choices[optimizer] = choice = protocol.choice(folder, plan, optimizer)
        except (ValueError, KeyError, OSError):
            problems.append(
                f"{optimizer}: no learning rate could be chosen, since tuning runs (or Adam's) are missing."
            )
            continue
        for environment in plan.environments:
            place = protocol.place(folder, FINAL, environment, optimizer)
            what = f"run of {optimizer} on {environment}"
            for rate in choice.rates(environment):
                _append(reported, place / results.rate_name(rate), f"{what} at rate {rate:g}", problems)
            if not choice.rates(environment):
                _append(reported, place, what, problems)
    return Evidence(
        title=f"{plan.agent.upper()} on the {plan.suite} suite",
        plan=plan,
        environments=plan.environments,
        optimizers=plan.all_optimizers,
        tuning=tuning,
        reported=reported,
        choices=choices,
        random=protocol.random_returns(folder),
        problems=problems,
    )


def _others(folders: Sequence[Path]) -> Evidence:
    """Runs of other commands: all are reported, and the best rate of each optimizer is chosen on the same seeds."""
    problems: list[str] = []
    cells: list[Cell] = []
    for place in sorted({path.parent for folder in folders for path in folder.rglob(results.CONFIG)}):
        with contextlib.suppress(OSError):  # a run that cannot be read gets its sentence
            if results.is_sweep(place):
                continue
        _append(cells, place, f"run in {place}", problems)
    if not cells:
        raise ValueError("; ".join([f"no finished run in {', '.join(map(str, folders))}", *problems]))
    if len({cell.document["agent"] for cell in cells}) > 1:
        cells = [cell._replace(environment=f"{cell.environment} ({cell.document['agent']})") for cell in cells]
    cells = _told_apart(cells)
    environments = tuple(dict.fromkeys(cell.environment for cell in cells))
    optimizers = tuple(dict.fromkeys(cell.optimizer for cell in cells))
    choices = {}
    for optimizer in optimizers:
        tuned = {}
        mine = [cell for cell in cells if cell.optimizer == optimizer]
        for environment in dict.fromkeys(cell.environment for cell in mine):
            here = [cell for cell in mine if cell.environment == environment]
            scores = np.asarray([np.mean(cell.final) for cell in here])
            tuned[environment] = here[protocol.best(scores)].rate
            if len(here) > 1:
                problems.append(
                    f"{optimizer} on {environment}: the best of {len(here)} learning rates was chosen on the same "
                    "seeds that are reported, which flatters it; `rlopt benchmark` chooses on others."
                )
        rates = set(tuned.values())
        shared = rates.pop() if len(rates) == 1 else float("nan")
        choices[optimizer] = Choice(tuned, shared)
    agents = " and ".join(dict.fromkeys(cell.document["agent"].upper() for cell in cells))
    return Evidence(
        title=f"{agents} on {', '.join(environments)}" if cells else "No finished run",
        plan=None,
        environments=environments,
        optimizers=optimizers,
        tuning=cells,
        reported=cells,
        choices=choices,
        random={},
        problems=problems,
    )


def _append(cells: list[Cell], place: Path, what: str, problems: list[str]) -> None:
    """Adds the finished run of a folder, or a sentence on why there is none."""
    if not (place / results.CONFIG).is_file():
        problems.append(f"The {what} is missing.")
        return
    if not results.is_finished(place):
        problems.append(f"The {what} is not finished, and not counted.")
        return
    try:
        config = results.read_config(place)
        run = results.read_run(place)
        results.check_seeds(run, config)
        document = results.read_document(place)
        seeds = tuple(range(config.seed, config.seed + config.seeds))
        final = protocol.finals(run)
        if not (len(seeds) == len(final) == len(run.returns) == len(run.stopped)) or not run.returns.size:
            raise ValueError(f"{len(seeds)} seeds, but returns of shape {run.returns.shape}")
    except (ValueError, KeyError, OSError, TypeError) as error:
        problems.append(f"The {what} cannot be read, and is not counted: {error}.")
        return
    if not np.any(np.isfinite(run.returns)):
        problems.append(f"The {what} has no returns: no episode ended in any of its seeds.")
    elif missing := int(np.sum(~np.isfinite(final))):
        problems.append(f"The {what} has {missing} seeds in which no episode ever ended.")
    cells.append(Cell(config.env, config.title, config.resolved_learning_rate, seeds, final, run, document))


def _told_apart(cells: list[Cell]) -> list[Cell]:
    """Runs of the same optimizer at the same rate on the same environment are named by their folders."""
    count: dict[tuple[Any, ...], int] = {}
    for cell in cells:
        key = (cell.environment, cell.optimizer, cell.rate)
        count[key] = count.get(key, 0) + 1
    return [
        cell._replace(optimizer=f"{cell.optimizer} ({cell.run.folder.name})")
        if count[cell.environment, cell.optimizer, cell.rate] > 1
        else cell
        for cell in cells
    ]


def _unlike(evidence: Evidence) -> list[str]:
    """What makes runs less comparable: unequal seeds, steps, versions; failed seeds of the yardstick."""
    problems = []
    for environment in evidence.environments:
        cells = [cell for cell in evidence.reported if cell.environment == environment]
        by_seeds: dict[tuple[int, ...], list[str]] = {}
        for cell in cells:
            by_seeds.setdefault(cell.seeds, []).append(cell.optimizer)
        if len(by_seeds) > 1:
            each = "; ".join(
                f"{', '.join(dict.fromkeys(names))}: {len(seeds)} from {seeds[0]}" for seeds, names in by_seeds.items()
            )
            problems.append(
                f"On {environment}, optimizers have unequal seeds ({each}); paired differences use those in common."
            )
        steps = {int(cell.run.steps[-1]) for cell in cells if not cell.failed}
        if len(steps) > 1:
            problems.append(
                f"On {environment}, runs differ in length ({', '.join(f'{n:,}' for n in sorted(steps))} steps)."
            )
    packages = [cell.document.get("packages", {}) for cell in evidence.reported]
    for name in sorted({name for found in packages for name in found}):
        versions = sorted({str(found.get(name, "unknown")) for found in packages})
        if len(versions) > 1:
            problems.append(f"Runs were made with several versions of {name}: {', '.join(versions)}.")
    # "2 x cpu": the number changes no result, the kind changes rounding. Older runs do not say.
    devices = {cell.run.summary.get("devices", "").split(" x ")[-1] for cell in evidence.reported if not cell.failed}
    if len(devices - {""}) > 1:
        problems.append(f"Runs were made on several kinds of device: {', '.join(sorted(devices - {''}))}.")
    if evidence.plan is not None and YARDSTICK in evidence.choices:
        for environment in evidence.environments:
            if environment not in evidence.random:
                problems.append(f"No random policy was played on {environment}, so its scores cannot be normalised.")
    return problems
