"""What makes the runs of a report less comparable than they look."""

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rlopt.report.cells import Cell, Evidence
from rlopt.report.formats import count
from rlopt.report.pooling import Setting, grouped, plain
from rlopt.runs import results

# Of an agent, whichever optimizer trains it; the preset's name changes nothing beside them.
_GROUPS = ("hyper", "atari")


def problems(evidence: Evidence) -> list[str]:
    """Sentences: unequal settings first, then seeds, lengths, versions, devices."""
    found: list[str] = []
    by_environment = grouped(evidence.reported, lambda cell: cell.environment)
    for sentences in (_settings, _seeds, _lengths):
        for environment, cells in by_environment.items():
            found += sentences(environment, cells)
    return found + _seeds_lost(evidence) + _versions(evidence.reported) + _devices(evidence.reported)


def differences(ones: Sequence[Cell], others: Sequence[Cell]) -> list[str]:
    """The agent's settings in which two optimizers' cells differ on an environment that both have."""
    theirs = {cell.environment: cell for cell in others}
    pairs = [(cell, theirs[cell.environment]) for cell in ones if cell.environment in theirs]
    names = dict.fromkeys(name for pair in pairs for cell in pair for name in cell.settings if name[0] in _GROUPS)
    return [name[1] for name in names if any(_value(one, name) != _value(other, name) for one, other in pairs)]


def _value(cell: Cell, name: Setting) -> str:
    return plain(cell.settings.get(name))


def _settings(environment: str, cells: Sequence[Cell]) -> list[str]:
    """A sentence per setting of the agent that is not the same for all."""
    found = []
    for name in dict.fromkeys(name for cell in cells for name in cell.settings if name[0] in _GROUPS):
        by_value: dict[str, list[Cell]] = grouped(cells, partial(_value, name=name))
        if len(by_value) > 1:
            said = "; ".join(f"{value} for {_optimizers(mine)}" for value, mine in by_value.items())
            found.append(
                f"On {environment}, {name[1]} is not the same for all optimizers ({said}): between these there is no "
                "verdict, since the difference may be the setting's."
            )
    return found


def _seeds(environment: str, cells: Sequence[Cell]) -> list[str]:
    by_seeds = grouped(cells, lambda cell: cell.seeds)
    if len(by_seeds) < 2:
        return []
    said = "; ".join(f"{_optimizers(mine)}: {len(seeds)} from {seeds[0]}" for seeds, mine in by_seeds.items())
    return [f"On {environment}, optimizers have unequal seeds ({said}); paired differences use those in common."]


def _lengths(environment: str, cells: Sequence[Cell]) -> list[str]:
    steps = {int(cell.steps[-1]) for cell in cells if not (cell.failed or cell.given_up)}
    if len(steps) < 2:
        return []
    return [f"On {environment}, runs differ in length ({', '.join(f'{n:,}' for n in sorted(steps))} steps)."]


def given_up(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each folder with runs, or rates or trials of a sweep, of which seeds were given up early."""
    found = []
    for place, mine in grouped(cells, _whole).items():
        gone = [step for cell in mine for step in cell.given_up.values()]
        if not gone:
            continue
        count, entire = sum(len(cell.seeds) for cell in mine), sum(len(c.given_up) == len(c.seeds) for c in mine)
        of_all = f" (in {entire} of {len(mine)} runs all of them)" if len(mine) > 1 else ""
        steps = " and ".join(f"{step:,}" for step in sorted(set(gone)))
        rules = "; ".join(dict.fromkeys(_stops(cell) for cell in mine))
        found.append(
            f"{place}: {len(gone)} of {count} seeds{of_all} were given up after {steps} steps ({rules}): they count as "
            "their last known return, which may be less than what they would have come to."
        )
    return found


def _whole(cell: Cell) -> Path:
    """The folder of a run, or that of the sweep whose rate or trial it is."""
    place = cell.folders[0]
    with contextlib.suppress(OSError):
        return place.parent if results.is_sweep(place.parent) else place
    return place


def _stops(cell: Cell) -> str:
    """The flags by which seeds were given up."""
    rules = cell.config.monitor
    below = [f"--stop-below {rules.stop_below:g} --stop-at {rules.stop_at}"] if rules.stop_below is not None else []
    return ", ".join([*below, *([f"--halve-at {' '.join(map(str, rules.halve_at))}"] if rules.halve_at else [])])


def _optimizers(cells: Sequence[Cell]) -> str:
    """The names of their optimizers, each once."""
    return ", ".join(dict.fromkeys(cell.optimizer for cell in cells))


def _seeds_lost(evidence: Evidence) -> list[str]:
    """Optimizers whose scores over several environments are of fewer seeds than an environment has."""
    found = []
    for optimizer in evidence.optimizers:
        cells = [evidence.chosen(environment, optimizer, "tuned") for environment in evidence.environments]
        seeds = [set(cell.seeds) for cell in cells if cell is not None]
        common = set.intersection(*seeds) if seeds else set()
        if common and any(mine != common for mine in seeds):
            found.append(
                f"Scores of {optimizer} over all environments are of the {count(len(common), 'seed')} common to them."
            )
    return found


def _versions(cells: Sequence[Cell]) -> list[str]:
    found = []
    packages = [document.get("packages", {}) for cell in cells for document in cell.documents]
    for name in sorted({name for mine in packages for name in mine}):
        versions = sorted({str(mine.get(name, "unknown")) for mine in packages})
        if len(versions) > 1:
            found.append(f"Runs were made with several versions of {name}: {', '.join(versions)}.")
    return found


def _devices(cells: Sequence[Cell]) -> list[str]:
    # "2 x cpu": the number changes no result, the kind changes rounding. Older runs do not say.
    devices = {
        found.get("devices", "").split(" x ")[-1] for cell in cells if not cell.failed for found in cell.summaries
    } - {""}
    return [f"Runs were made on several kinds of device: {', '.join(sorted(devices))}."] if len(devices) > 1 else []
