"""What is done beside training: evaluations, which parameters are kept, who is given up. Imports no jax."""

import math
from dataclasses import dataclass
from typing import Any

from rlopt.training import intervals


@dataclass(frozen=True)
class LookConfig:
    """Evaluations, and which parameters are kept: between logging intervals, of which a run has about 50.

    Off by default; it changes nothing of what a seed learns.
    """

    eval_every: int = 0
    """Environment steps per seed after which the networks are evaluated with full greedy episodes of their own, at the
    end of a logging interval, and at the end of training; 0: never."""
    eval_episodes: int = 10
    """Episodes of an evaluation, per seed."""
    keep_best: bool = False
    """Keep each seed's parameters at its best evaluation; without --eval-every, at the logging interval with its
    highest return. `rlopt evaluate` and `rlopt watch` can take them."""
    keep_every: int = 0
    """Environment steps after which parameters are kept, at the end of a logging interval; 0: never. `rlopt evaluate`
    and `rlopt watch` can take them."""
    keep_last: int = 0
    """How many of these are kept, the newest; 0: all."""

    def check(self, hyper: Any) -> None:
        """Refuses impossible settings.

        hyper: settings of the agent, which are possible.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        for name, least in (("eval_every", 0), ("eval_episodes", 1), ("keep_every", 0), ("keep_last", 0)):
            _check_least(name, getattr(self, name), least)
        if self.keep_last and not self.keep_every:
            raise ValueError(f"keep_last is of what keep_every keeps; give both, got {self.keep_last} and none")
        for name in ("eval_every", "keep_every"):
            if steps := getattr(self, name):
                _check_steps(name, steps, hyper)


@dataclass(frozen=True)
class MonitorConfig(LookConfig):
    """That, and which members are given up early, whom it costs what they would have come to. Off by default, too."""

    stop_below: float | None = None
    """Give up seeds whose return is below this after --stop-at: what they would count as if training ended there. They
    count as their last known return, and the others go on in a smaller program. Default: none is given up."""
    stop_at: int = 0
    """Environment steps after which --stop-below decides, at the end of a logging interval."""
    halve_at: tuple[int, ...] = ()
    """Environment steps after each of which only the better half of the rates or trials of a sweep goes on, in the mean
    over seeds, and at least two."""

    @property
    def stops(self) -> bool:
        """Whether any member may be given up."""
        return self.stop_below is not None or bool(self.halve_at)

    def check(self, hyper: Any) -> None:
        """As `LookConfig.check`."""
        super().check(hyper)
        _check_least("stop_at", self.stop_at, 0)
        if (self.stop_below is None) != (self.stop_at == 0):
            raise ValueError(f"stop_below and stop_at go together, got {self.stop_below} and {self.stop_at}")
        if self.stop_below is not None and not math.isfinite(self.stop_below):
            raise ValueError(f"stop_below must be a finite return, got {self.stop_below}")
        if list(self.halve_at) != sorted(set(self.halve_at)):
            raise ValueError(f"halve_at must rise, got {', '.join(map(str, self.halve_at))}")
        if self.stop_at:
            _check_steps("stop_at", self.stop_at, hyper)
        for steps in self.halve_at:
            _check_steps("halve_at", steps, hyper)

    def check_not_halving(self) -> None:
        """Refuses to halve what is one setting; ValueError."""
        if self.halve_at:
            steps = ", ".join(map(str, self.halve_at))
            raise ValueError(f"halve_at is for `rlopt sweep`, whose rates or trials it halves, got {steps}")


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _check_steps(name: str, steps: int, hyper: Any) -> None:
    found = intervals.ends(hyper)
    if not found[0] <= steps <= found[-1]:
        raise ValueError(
            f"{name} must be at least a logging interval, {found[0]:,} steps here, and at most the run, "
            f"{found[-1]:,}; got {steps:,}"
        )
