"""Runs of any folders, put together: what differs in anything gets a name of its own, what differs in nothing is one.

The key of a cell is environment, optimizer and learning rate, and the optimizer's name says every other setting in
which its runs differ. Equal settings with other seeds are pooled; with the same seeds they are repeats, which are named
by their folders, or counted once where they are the same to the last bit.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rlopt import statistics
from rlopt.report.cells import Cell
from rlopt.runs import labels, results
from rlopt.runs.kept import Evaluations

Setting = tuple[str, str]
Key = TypeVar("Key")
_THETA = ("theta", "theta")


def together(cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """Cells with a key each that is theirs alone, and sentences on what was pooled, dropped or named apart.

    cells: one per run folder, called by the titles of their configurations.
    """
    if len({cell.config.agent for cell in cells}) > 1:
        cells = [cell._replace(environment=f"{cell.environment} ({cell.config.agent})") for cell in cells]
    told: list[str] = []
    found: list[Cell] = []
    for group in grouped(_named(cells), lambda cell: (cell.environment, cell.optimizer)).values():
        found += _one_arm(group, told)
    return found, told


def grouped(cells: Iterable[Cell], key: Callable[[Cell], Key]) -> dict[Key, list[Cell]]:
    """Cells by a key, in their order."""
    groups: dict[Key, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def plain(value: Any) -> str:
    """A setting's value, to be compared and shown."""
    return json.dumps(value, sort_keys=True, default=str)


def _named(cells: Sequence[Cell]) -> list[Cell]:
    """Optimizers called by their titles and the settings in which the runs of a title differ."""
    varying: dict[str, list[Setting]] = {}
    for title, mine in grouped(cells, lambda cell: cell.optimizer).items():
        names = dict.fromkeys(name for cell in mine for name in cell.settings)
        # Options and weights make another optimizer wherever; the agent's settings differ between environments anyway.
        wide = grouped(mine, lambda cell: cell.config.agent).values()
        narrow = grouped(mine, lambda cell: cell.environment).values()
        varying[title] = [
            name
            for name in names
            if name[0] != "run"
            and any(_differ(group, name) for group in (wide if name[0] in ("options", "theta") else narrow))
        ]
        if any(len({cell.config.optimizer for cell in group}) > 1 for group in wide):
            varying[title].insert(0, ("optimizer", "optimizer"))
    # Packaged weights of two versions have one name: then their hash tells them apart.
    stems = {cell.optimizer: set[tuple[str, str]]() for cell in cells}
    for cell in cells:
        stems[cell.optimizer].add((_value(cell, _THETA), labels.shown(_THETA, cell.settings.get(_THETA, (None, "")))))
    hashed = {title for title, found in stems.items() if len({stem for _, stem in found}) < len(found)}
    return [cell._replace(optimizer=_name(cell, varying[cell.optimizer], cell.optimizer in hashed)) for cell in cells]


def _differ(cells: Sequence[Cell], name: Setting) -> bool:
    return len({_value(cell, name) for cell in cells}) > 1


def _value(cell: Cell, name: Setting) -> str:
    value = cell.settings.get(name)
    if name[0] == "theta" and value is not None and value[0] is not None:
        return str(value[0])  # the same weights, wherever they were read from
    return plain(value)


def _name(cell: Cell, varying: Sequence[Setting], hashed: bool) -> str:
    said = []
    for name in varying:
        if name[0] == "optimizer":
            said.append(cell.config.optimizer)
        elif name in cell.settings:
            text = labels.shown(name, cell.settings[name])
            said.append(f"{text} {_value(cell, name)[:8]}" if name == _THETA and hashed else text)
        else:
            said.append(f"no {name[1]}")
    return f"{cell.optimizer} ({', '.join(said)})" if said else cell.optimizer


def _one_arm(cells: list[Cell], told: list[str]) -> list[Cell]:
    """The cells of one optimizer on one environment, one per learning rate where seeds allow it."""
    cells = _without_copies(cells, told)
    by_rate = grouped(cells, lambda cell: cell.rate)
    if all(_can_pool(group) for group in by_rate.values()):
        return [_pooled(group, told) for group in by_rate.values()]
    sources = _sources(cells)
    name = cells[0].optimizer
    told.append(
        f"{name} on {cells[0].environment}: runs of the same settings share seeds, or cannot be pooled, and are shown "
        f"apart, named by their folders ({', '.join(dict.fromkeys(sources))})."
    )
    return [cell._replace(optimizer=f"{name} ({place})") for cell, place in zip(cells, sources, strict=True)]


def _without_copies(cells: list[Cell], told: list[str]) -> list[Cell]:
    kept: list[Cell] = []
    for cell in cells:
        same = [one for one in kept if one.rate == cell.rate and _equal(one, cell)]
        if same:
            told.append(
                f"{cell.optimizer} on {cell.environment}: {cell.folders[0]} repeats {same[0].folders[0]} to the last "
                "bit, and is counted once."
            )
        else:
            kept.append(cell)
    return kept


def _equal(one: Cell, other: Cell) -> bool:
    names = ("steps", "returns", "final", "stopped")
    return one.seeds == other.seeds and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in names
    )


def _can_pool(cells: Sequence[Cell]) -> bool:
    seeds = [seed for cell in cells for seed in cell.seeds]
    longest = max((cell.steps for cell in cells), key=len)
    return len(set(seeds)) == len(seeds) and all(
        np.array_equal(cell.steps, longest[: len(cell.steps)]) and (len(cell.steps) == len(longest) or _broke(cell))
        for cell in cells
    )


def _broke(cell: Cell) -> bool:
    """Whether all seeds were stopped, with which a run ends early."""
    return bool(np.all(cell.stopped >= 0))


def _pooled(cells: Sequence[Cell], told: list[str]) -> Cell:
    if len(cells) == 1:
        return cells[0]
    first = cells[0]
    parts = "; ".join(f"{_range(cell.seeds)} from {cell.folders[0]}" for cell in cells)
    rate = "" if first.rate is None else f" at rate {first.rate:g}"
    told.append(f"{first.optimizer} on {first.environment}{rate}: seeds of equal settings are pooled ({parts}).")
    return merged(cells)


def merged(cells: Sequence[Cell]) -> Cell:
    """One cell of the seeds of several, which differ in nothing else."""
    if len(cells) == 1:
        return cells[0]
    first, longest = cells[0], max((cell.steps for cell in cells), key=len)
    returns = [np.pad(c.returns, ((0, 0), (0, len(longest) - len(c.steps))), constant_values=np.nan) for c in cells]
    pooled = first._replace(
        seeds=tuple(seed for cell in cells for seed in cell.seeds),
        steps=longest,
        returns=np.concatenate(returns),
        stopped=np.concatenate([cell.stopped for cell in cells]),
        folders=tuple(place for cell in cells for place in cell.folders),
        documents=tuple(found for cell in cells for found in cell.documents),
        summaries=tuple(found for cell in cells for found in cell.summaries),
        evaluations=_evaluations([cell.evaluations for cell in cells]),
    )
    return pooled._replace(final=_finals(pooled, np.concatenate([cell.final for cell in cells])))


def _evaluations(found: Sequence[Evaluations | None]) -> Evaluations | None:
    """Those of several cells' seeds; None where some have none, or at other steps."""
    whole = [one for one in found if one is not None]
    if len(whole) < len(found) or any(not np.array_equal(one.steps, whole[0].steps) for one in whole):
        return None
    parts = zip(*(one[1:] for one in whole), strict=True)
    return Evaluations(whole[0].steps, *map(np.concatenate, parts))


def _finals(pooled: Cell, final: np.ndarray) -> np.ndarray:
    """What broke, or never ended, counts as the lowest of all the seeds that are together now."""
    silent = ~np.any(np.isfinite(pooled.returns), axis=1)
    return statistics.final_returns(np.where(silent, np.nan, final), pooled.returns, pooled.stopped)


def _range(seeds: tuple[int, ...]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _sources(cells: Sequence[Cell]) -> list[str]:
    """What tells the folders of some cells apart: the sweep's for those of a rate, as short as can be."""
    places = [_without_rate(cell) for cell in cells]
    if len(set(zip(places, (cell.rate for cell in cells), strict=True))) < len(cells):
        places = [cell.folders[0] for cell in cells]
    different = [place.absolute() for place in dict.fromkeys(places)]
    parent = Path(os.path.commonpath(different)) if len(different) > 1 else different[0].parent
    parts = [place.relative_to(parent).parts for place in different]
    while all(len(part) > 1 for part in parts) and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    short = {place: "/".join(part) or place.name for place, part in zip(different, parts, strict=True)}
    return [short[place.absolute()] for place in places]


def _without_rate(cell: Cell) -> Path:
    place = cell.folders[0]
    return place.parent if cell.rate is not None and place.name == results.rate_name(cell.rate) else place
