"""Reads everything that a report is made from; whatever is missing or unreadable becomes a sentence, not an error."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlopt import statistics
from rlopt.benchmark import protocol, tuning
from rlopt.benchmark.plan import YARDSTICK, Plan
from rlopt.benchmark.protocol import FINAL, Choice
from rlopt.optimizers import catalog
from rlopt.report import agreement, cells, pooling
from rlopt.report.cells import Cell, Evidence
from rlopt.report.pooling import grouped
from rlopt.runs import results, searched

# Sentences on folders where there is nothing to report.
MOST_SAID = 4


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
    return found._replace(problems=agreement.problems(found) + found.problems)


def _benchmark(folder: Path) -> Evidence:
    plan = protocol.read_plan(folder)
    problems: list[str] = []
    tried: list[Cell] = []
    reported: list[Cell] = []
    choices = {}
    for optimizer in plan.all_optimizers:
        tried += _tuning(folder, plan, optimizer, problems)
        try:
            choices[optimizer] = choice = tuning.choice(folder, plan, optimizer)
        except (ValueError, KeyError, OSError):
            problems.append(
                f"{optimizer}: no learning rate could be chosen, since tuning runs (or Adam's) are missing."
            )
            continue
        for environment in plan.environments:
            place = protocol.place(folder, FINAL, environment, optimizer)
            what = f"run of {optimizer} on {environment}"
            for rate in choice.rates(environment):
                cells.append(reported, place / results.rate_name(rate), f"{what} at rate {rate:g}", problems)
            if not choice.rates(environment):
                cells.append(reported, place, what, problems)
    problems += agreement.given_up([*tried, *reported])
    try:
        random = protocol.random_returns(folder)
    except (ValueError, OSError) as error:
        random = {}
        problems.append(f"The returns of random policies cannot be read: {error}.")
    if YARDSTICK in choices:
        for environment in plan.environments:
            if environment not in random:
                problems.append(f"No random policy was played on {environment}, so its scores cannot be normalised.")
    return Evidence(
        title=f"{plan.agent.upper()} on the {plan.suite} suite",
        plan=plan,
        environments=plan.environments,
        optimizers=plan.all_optimizers,
        tuning=tried,
        reported=reported,
        choices=choices,
        random=random,
        yardstick=YARDSTICK,
        problems=problems,
    )


def _tuning(folder: Path, plan: Plan, optimizer: str, problems: list[str]) -> list[Cell]:
    """Cells of the tuning seeds, one per environment and rate, those of all rungs together."""
    found: list[Cell] = []
    rates = tuning.tried(folder, plan, optimizer)
    for number, rung in enumerate(tuning.rungs(plan)):
        try:
            here, _ = tuning.rates_of(folder, plan, optimizer, rates, number)
        except (ValueError, KeyError, OSError):
            break  # which rates should be there depends on runs that have had their sentence
        for environment, mine in here.items():
            for rate in mine:
                place = protocol.place(folder, rung.stage, environment, optimizer) / results.rate_name(rate)
                cells.append(found, place, f"tuning run of {optimizer} on {environment} at rate {rate:g}", problems)
    return [pooling.merged(group) for group in grouped(found, lambda cell: cell.key).values()]


def _others(folders: Sequence[Path]) -> Evidence:
    """Runs of other commands: all are reported, and the best rate of each optimizer is chosen on the same seeds."""
    problems: list[str] = []
    found: list[Cell] = []
    taken: set[Path] = set()
    inside = sorted({path.parent for folder in folders for path in folder.rglob(protocol.PLAN)})
    problems += [
        f"{bench} holds a benchmark, which gets a report of its own: its runs are not here." for bench in inside
    ]
    for place in sorted({path.parent for folder in folders for path in folder.rglob(results.CONFIG)}):
        if any(bench in place.parents for bench in inside):
            continue
        if place.resolve() in taken:
            continue
        taken.add(place.resolve())
        with contextlib.suppress(OSError):  # a run that cannot be read gets its sentence
            if results.is_sweep(place):
                continue
        cells.append(found, place, f"run in {place}", problems)
    problems += agreement.given_up(found)
    if not found:
        more = [f"and so for {len(problems) - MOST_SAID} more"] if len(problems) > MOST_SAID else []
        said = [f"no finished run in {', '.join(map(str, folders))}", *problems[:MOST_SAID], *more]
        raise ValueError("; ".join(said))
    found, told = pooling.together(_best_of_searches(found, problems))
    environments = tuple(dict.fromkeys(cell.environment for cell in found))
    optimizers = tuple(dict.fromkeys(cell.optimizer for cell in found))
    choices = {
        optimizer: _best(optimizer, mine, problems)
        for optimizer, mine in grouped(found, lambda cell: cell.optimizer).items()
    }
    yardstick, sentences = _yardstick(found)
    agents = " and ".join(dict.fromkeys(cell.config.agent.upper() for cell in found))
    return Evidence(
        title=f"{agents} on {', '.join(dict.fromkeys(cell.config.env for cell in found))}",
        plan=None,
        environments=environments,
        optimizers=optimizers,
        tuning=found,
        reported=found,
        choices=choices,
        random={},
        yardstick=yardstick,
        problems=sentences + told + problems,
    )


def _best_of_searches(found: Sequence[Cell], problems: list[str]) -> list[Cell]:
    """Of the trials of a search (`rlopt sweep --grid`, `--random`) the best; all other cells as they are."""
    kept: list[Cell] = []
    for parent, mine in grouped(found, lambda cell: cell.folders[0].parent).items():
        with contextlib.suppress(OSError):
            if results.is_search(parent):
                best = _best_of(mine)
                spent = [cell.processor_seconds for cell in mine]
                cost = "" if None in spent else f"{searched.spent(sum(filter(None, spent)))} of training in all"
                problems.append(
                    f"{best.optimizer} on {best.environment}: the best of the {len(mine)} trials in {parent} is "
                    f"reported ({best.folders[0].name}{cost}). It was chosen on the same seeds, which flatters it."
                )
                mine = [best]
        kept += mine
    return kept


def _best_of(mine: Sequence[Cell]) -> Cell:
    """The one with the highest mean return, of those that were trained to the end, if any was."""
    whole = [cell for cell in mine if not cell.given_up] or list(mine)
    return whole[statistics.best(np.asarray([np.mean(cell.final) for cell in whole]))]


def _best(optimizer: str, mine: Sequence[Cell], problems: list[str]) -> Choice:
    """The best rate per environment; a shared one only where it is the same everywhere."""
    tuned = {}
    for environment, here in grouped(mine, lambda cell: cell.environment).items():
        tuned[environment] = _best_of(here).rate
        if len(here) > 1:
            problems.append(
                f"{optimizer} on {environment}: the best of {len(here)} learning rates was chosen on the same seeds "
                "that are reported, which flatters it; `rlopt benchmark` chooses on others."
            )
    return Choice(tuned, next(iter(tuned.values())) if len(set(tuned.values())) == 1 else None)


def _yardstick(found: Sequence[Cell]) -> tuple[str | None, list[str]]:
    """The Adam that others are compared with, and what is to be said of that; several: the one as it comes."""
    adams = grouped((cell for cell in found if cell.config.title == YARDSTICK), lambda cell: cell.optimizer)
    if len(adams) == 1:
        return next(iter(adams)), []
    if not adams:
        several = len({cell.optimizer for cell in found}) > 1
        return None, ["Adam is not among the runs, so nothing is compared with it."] if several else []
    info = catalog.find(YARDSTICK)
    usual = info.defaults if info else {}
    as_it_comes = [
        name
        for name, mine in adams.items()
        if all(cell.settings.get(("options", option), x) == x for cell in mine for option, x in usual.items())
    ]
    if len(as_it_comes) == 1:
        others = ", ".join(name for name in adams if name not in as_it_comes)
        return as_it_comes[0], [
            f"Adam is there {len(adams)} times: all are compared with {as_it_comes[0]}, not with {others}."
        ]
    return None, [
        f"Adam is there {len(adams)} times ({', '.join(adams)}), so nothing is compared with it; report the folders "
        "apart, or leave one of them out."
    ]
