"""What a search tries: a grid, or random draws from a space, for each optimizer. Imports no jax.

`factor` stands for the learning rate as a multiple of the optimizer's own, or where it takes none, for its `share`
likewise: the same factors are then fair to all of them.
"""

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlopt.optimizers import catalog
from rlopt.training import presets, trials
from rlopt.training.trials import Trial

FACTOR = "factor"
KINDS = ("log", "lin", "choice")
MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Range:
    """Values that a setting is drawn from. kind: one of KINDS; values: the bounds, or what is chosen from."""

    kind: str
    values: tuple[float, ...]

    def at(self, share: float) -> float:
        """The value at a share of the range, in [0, 1)."""
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = self.values
        value = low * (high / low) ** share if self.kind == "log" else low + share * (high - low)
        return float(f"{value:.4g}")  # what is printed, and named after it, is what was tried


Grid = Mapping[str, tuple[float, ...]]
Space = Mapping[str, Range]


def grid(given: Sequence[Sequence[str]]) -> Grid:
    """Values by setting, from `--grid NAME VALUE VALUE ...`, each name once.

    Raises:
      ValueError: naming what is wrong.
    """
    found: dict[str, tuple[float, ...]] = {}
    for words in given:
        name, *values = words or ("",)
        if not name or not values:
            raise ValueError(
                f"--grid takes a setting and its values, as in `--grid b2 0.9 0.99`, got {' '.join(words)!r}"
            )
        if name in found:
            raise ValueError(f"--grid: {name} is given twice")
        found[name] = tuple(_number(name, value) for value in values)
        if len(set(found[name])) != len(values):
            raise ValueError(f"--grid: each value of {name} may be given once, got {', '.join(values)}")
    return found


def space(given: Sequence[str]) -> Space:
    """Ranges by setting, from `NAME=log:LOW:HIGH`, `NAME=lin:LOW:HIGH` and `NAME=choice:VALUE:VALUE...`.

    Raises:
      ValueError: naming what is wrong.
    """
    found: dict[str, Range] = {}
    for text in given:
        name, equals, described = text.partition("=")
        kind, *rest = described.split(":")
        if not (name and equals and kind in KINDS):
            raise ValueError(
                f"--space takes NAME=log:LOW:HIGH, NAME=lin:LOW:HIGH or NAME=choice:VALUE:VALUE..., got {text!r}"
            )
        if name in found:
            raise ValueError(f"--space: {name} is given twice")
        values = tuple(_number(name, value) for value in rest)
        if kind == "choice" and len(set(values)) != len(values):
            raise ValueError(f"--space: each value of {name} may be given once, got {text!r}")
        if not values or (kind != "choice" and (len(values) != 2 or not values[0] < values[1])):
            raise ValueError(f"--space: {kind} takes {'values' if kind == 'choice' else 'LOW:HIGH'}, got {text!r}")
        if kind == "log" and values[0] <= 0:
            raise ValueError(f"--space: the bounds of log must be positive, got {text!r}")
        found[name] = Range(kind, values)
    return found


@dataclass(frozen=True)
class Search:
    """A grid, or a number of random draws from a space; without both, nothing is searched.

    seed: of the draws. The first draws of a longer search are those of a shorter one, and no setting's draws depend on
    which others there are.
    """

    grid: Grid
    number: int
    space: Space
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.grid or self.number or self.space)

    def check(self) -> None:
        """Refuses half a search, or two; ValueError."""
        if self.grid and (self.number or self.space):
            raise ValueError("a search is a grid (--grid) or random (--random and --space), not both")
        if bool(self.number) != bool(self.space):
            raise ValueError("a random search takes both the number of trials, --random, and --space")
        count = self.number if self.space else math.prod(map(len, self.grid.values()))
        if not 1 <= count <= MOST_TRIALS:
            raise ValueError(f"a search has 1 to {MOST_TRIALS} trials, got {count}")

    def draws(self, takes: Sequence[str]) -> list[dict[str, float]]:
        """Trials over those settings that an optimizer takes, in their order; [] if it takes none of them."""
        if self.grid:
            names = [name for name in self.grid if name in takes]
            products = itertools.product(*(self.grid[name] for name in names))
            return [dict(zip(names, values, strict=True)) for values in products] if names else []
        import numpy as np

        shares = {
            name: np.random.default_rng([self.seed, zlib.crc32(name.encode())]).random(self.number)
            for name in self.space
            if name in takes
        }
        drawn = [
            {name: self.space[name].at(float(mine[i])) for name, mine in shares.items()} for i in range(self.number)
        ]
        return list({trials.described(trial): trial for trial in drawn if trial}.values())


def of_optimizer(search: Search, agent: str, env_id: str, preset: str, optimizer: str, fixed: Mapping[str, Any]) -> Any:
    """The trials of an optimizer: tuple of {name: value}, the factors made learning rates; () if it takes none of them.

    Args:
      search: what is tried.
      agent, env_id, preset: decide the optimizer's own rate.
      optimizer: its name.
      fixed: options that were given for it.

    Raises:
      ValueError: for a setting that trials cannot differ in, or that is fixed or given twice.
    """
    asked = tuple(search.grid or search.space)
    own_function = optimizer not in catalog.OPTIMIZERS
    info = catalog.find(optimizer)
    if FACTOR in asked and trials.RATE in asked:
        raise ValueError(f"a search varies {FACTOR} or {trials.RATE}, not both")
    known = (*trials.names_of(agent, optimizer), FACTOR)
    takes = [name for name in asked if name in known or own_function]
    for name in takes:
        if name in fixed:
            raise ValueError(f"the search varies {name}, which is fixed at {fixed[name]} for {optimizer}")
    scheduled = info is not None and info.scheduled
    found: list[Trial] = []
    for drawn in search.draws(takes):
        trial = dict(drawn)
        if FACTOR in trial:
            own = (
                presets.share(agent, optimizer)
                if scheduled
                else presets.learning_rate(agent, env_id, optimizer, preset)
            )
            if own is None:
                raise ValueError(f"{optimizer} has no default learning rate to multiply; search {trials.RATE} instead")
            rate = float(f"{trial.pop(FACTOR) * own:.{6 if search.grid else 4}g}")
            trial = {catalog.SHARE if scheduled else trials.RATE: rate, **trial}
        found.append(trial)
    return tuple(found)


def check_names(search: Search, agent: str, optimizers: Sequence[str]) -> None:
    """Refuses settings that no optimizer's trials could differ in; ValueError with the reason."""
    for name in search.grid or search.space:
        if name == FACTOR or any(name in trials.names_of(agent, optimizer) for optimizer in optimizers):
            continue
        reasons = []
        for optimizer in optimizers:
            try:
                trials.place_of(agent, optimizer, name)
                break
            except ValueError as error:
                reasons.append(str(error))
        else:
            raise ValueError(reasons[0])


def check_equal(counts: Mapping[str, int], unequal: bool) -> None:
    """Refuses a search that gives optimizers unlike numbers of trials, unless that was asked for; ValueError."""
    if len(set(counts.values())) > 1 and not unequal:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(
            f"the optimizers would get unlike numbers of trials ({shown}), since some lack a setting "
            f"(or a draw came twice); --random gives each as many, `{FACTOR}` is taken by all in place of "
            f"{trials.RATE}, and --unequal allows it"
        )


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number to be searched, got {text!r}")
    return value
