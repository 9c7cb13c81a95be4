"""What a search tries: a grid, random draws from a space, or what Optuna proposes, for each optimizer. Imports no jax.

`factor` stands for the learning rate as a multiple of the optimizer's own, or where it takes none, for its `share`
likewise: the same factors are then fair to all of them.
"""

import importlib.util
import itertools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlopt.optimizers import catalog
from rlopt.training import presets, trials

FACTOR = "factor"
KINDS = ("log", "lin", "choice")
MOST_TRIALS = 10_000
# Trials that Optuna proposes at once, by default. Twice this many are drawn before it proposes any.
# `benchmarks/optuna_batches.py`: up to here a search finds as good a trial as one that proposes them one by one.
BATCH = 5
# How often as many trials as are to be are drawn, to have so many different ones.
ROUNDS = 64


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
        return _printed(low * (high / low) ** share if self.kind == "log" else low + share * (high - low))

    def near(self, value: float) -> float:
        """The value that is tried for one that was proposed."""
        return value if self.kind == "choice" else min(max(_printed(value), self.values[0]), self.values[1])


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
    """A grid, or a number of trials from a space; without both, nothing is searched.

    seed: of the draws. The first draws of a longer search are those of a shorter one, and no setting's draws depend on
    which others there are. guided: Optuna proposes the trials, in batches (`runs.study`); else they are drawn.
    """

    grid: Grid
    number: int
    space: Space
    seed: int = 0
    guided: bool = False
    batch: int | None = None

    def __bool__(self) -> bool:
        return bool(self.grid or self.number or self.space or self.guided)

    @property
    def size(self) -> int:
        """Trials of a batch, of a guided search."""
        return min(self.batch or BATCH, self.number)

    def check(self) -> None:
        """Refuses half a search, or two, or one that needs a package which is missing; ValueError."""
        if self.grid and (self.number or self.space or self.guided):
            raise ValueError(
                "a search is a grid (--grid) or random (--random and --space), not both"
                if not self.guided
                else "a search is a grid (--grid) or guided (--sampler optuna, --trials and --space), not both"
            )
        if bool(self.number) != bool(self.space) or (self.guided and not self.space):
            kind, flag = ("a search by Optuna", "--trials") if self.guided else ("a random search", "--random")
            raise ValueError(f"{kind} takes both the number of trials, {flag}, and --space")
        count = self.number if self.space else math.prod(map(len, self.grid.values()))
        if not 1 <= count <= MOST_TRIALS:
            raise ValueError(f"a search has 1 to {MOST_TRIALS} trials, got {count}")
        if self.batch is not None and not self.guided:
            raise ValueError("--batch is for --sampler optuna: all other trials are one program")
        if self.batch is not None and not 1 <= self.batch <= MOST_TRIALS:
            raise ValueError(f"--batch must lie in [1, {MOST_TRIALS}], got {self.batch}")
        if self.guided and importlib.util.find_spec("optuna") is None:
            raise ValueError("--sampler optuna needs Optuna: `pip install 'rlopt[optuna]'`; --random N needs nothing")

    def draws(
        self,
        takes: Sequence[str],
        number: int | None = None,
        made: Callable[[Mapping[str, float]], Mapping[str, float]] = dict,
    ) -> list[dict[str, float]]:
        """Trials over those settings that an optimizer takes, in their order; [] if it takes none of them.

        Args:
          takes: the settings.
          number: of random ones, each of them another; fewer where the space has no more. Default: the search's.
          made: the trial of a draw, by which draws are told apart.
        """
        if self.grid:
            names = [name for name in self.grid if name in takes]
            products = itertools.product(*(self.grid[name] for name in names))
            return [dict(zip(names, values, strict=True)) for values in products] if names else []
        import numpy as np

        count = self.number if number is None else number
        names = [name for name in self.space if name in takes]
        streams = [np.random.default_rng([self.seed, zlib.crc32(name.encode())]) for name in names]
        found: dict[str, dict[str, float]] = {}
        for _ in range(ROUNDS if names else 0):
            shares = np.stack([stream.random(count) for stream in streams], axis=1).tolist()
            for mine in shares:
                drawn = {name: self.space[name].at(share) for name, share in zip(names, mine, strict=True)}
                found.setdefault(trials.described(made(drawn)), drawn)
            if len(found) >= count:
                break
        return list(found.values())[:count]


@dataclass(frozen=True)
class Part:
    """A search as far as it concerns one optimizer.

    takes: the settings of the search that the optimizer has, in their order; (): it is trained once. rate, own: what
    `factor` becomes for it, and the value that is multiplied; None where no factor is searched.
    """

    search: Search
    takes: tuple[str, ...]
    rate: str = trials.RATE
    own: float | None = None

    def trial(self, drawn: Mapping[str, float]) -> dict[str, float]:
        """The settings of a trial, of what was drawn."""
        trial = dict(drawn)
        if FACTOR not in trial:
            return trial
        assert self.own is not None
        rate = float(f"{trial.pop(FACTOR) * self.own:.{6 if self.search.grid else 4}g}")
        return {self.rate: rate, **trial}

    def trials(self) -> tuple[dict[str, float], ...]:
        """All that is tried, of a search that is not guided; () without a setting of it."""
        return tuple(self.trial(drawn) for drawn in self.search.draws(self.takes, made=self.trial))

    @property
    def count(self) -> int:
        """Runs of the optimizer, but for seeds."""
        if self.search.guided:
            return self.search.number if self.takes else 1
        return max(1, len(self.trials()))

    @property
    def at_once(self) -> int:
        """Those that are one program."""
        return min(self.count, self.search.size) if self.search.guided else self.count

    def corners(self) -> tuple[dict[str, float], ...]:
        """Trials that have every bound of the space, and every value to choose from: what must be possible."""
        ranges = {name: self.search.space[name].values for name in self.takes}
        most = max(map(len, ranges.values()), default=0)
        found = [self.trial({name: v[min(i, len(v) - 1)] for name, v in ranges.items()}) for i in range(most)]
        return tuple({trials.folder_name(trial): trial for trial in found}.values())


def part(search: Search, agent: str, env_id: str, preset: str, optimizer: str, fixed: Mapping[str, Any]) -> Part:
    """What a search is for an optimizer.

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
    takes = tuple(name for name in asked if name in known or own_function)
    for name in takes:
        if name in fixed:
            raise ValueError(f"the search varies {name}, which is fixed at {fixed[name]} for {optimizer}")
    _check_room(search, takes)
    if FACTOR not in takes:
        return Part(search, takes)
    scheduled = info is not None and info.scheduled
    own = presets.share(agent, optimizer) if scheduled else presets.learning_rate(agent, env_id, optimizer, preset)
    if own is None:
        raise ValueError(f"{optimizer} has no default learning rate to multiply; search {trials.RATE} instead")
    return Part(search, takes, catalog.SHARE if scheduled else trials.RATE, own)


def _check_room(search: Search, takes: Sequence[str]) -> None:
    """Refuses a guided search for more trials than its space has."""
    count = math.prod(len(search.space[name].values) for name in takes) if search.guided else 0
    if takes and count and count < search.number and all(search.space[name].kind == "choice" for name in takes):
        raise ValueError(
            f"the space has {count} different trials, and --trials asks for {search.number}; a grid tries all"
        )


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
            f"(or have fewer to draw from); --random gives each as many, `{FACTOR}` is taken by all in place of "
            f"{trials.RATE}, and --unequal allows it"
        )


def check_number(counts: Mapping[str, int], search: Search, unequal: bool) -> None:
    """Refuses a random search for more trials than its space has, unless fewer were allowed; ValueError."""
    for name, count in counts.items():
        if not search.guided and not unequal and count < search.number:
            raise ValueError(
                f"the space has {count} different trials for {name}, and --random asks for {search.number}: a grid "
                "tries all"
            )


def _printed(value: float) -> float:
    """What is printed of a draw, and named after it, is what is tried."""
    return float(f"{value:.4g}")


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number to be searched, got {text!r}")
    return value
