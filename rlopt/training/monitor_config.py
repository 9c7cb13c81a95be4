"""What is done beside training: evaluations, and which parameters are kept. Imports no jax."""

from dataclasses import dataclass
from typing import Any

from rlopt.training import intervals


@dataclass(frozen=True)
class MonitorConfig:
    """All of it happens between logging intervals, of which a run has about 50, and changes nothing of what is learned.

    Everything is off by default.
    """

    eval_every: int = 0
    """Environment steps per seed after which the networks are evaluated with full greedy episodes of their own, at the
    end of a logging interval, and at the end of training; 0: never."""
    eval_episodes: int = 10
    """Episodes of an evaluation, per seed."""
    keep_best: bool = False
    """Keep each seed's parameters at its best evaluation; without --eval-every, at the logging interval with its
    highest return. `evaluate` and `watch` take them with `--params best`."""
    keep_every: int = 0
    """Environment steps after which parameters are kept, at the end of a logging interval; 0: never. `evaluate` and
    `watch` take them with `--params STEPS`."""
    keep_last: int = 0
    """How many of these are kept, the newest; 0: all."""

    @property
    def keeps(self) -> bool:
        """Whether any parameters are kept beside the last."""
        return self.keep_best or self.keep_every > 0

    def check(self, hyper: Any) -> None:
        """Refuses impossible settings.

        hyper: settings of the agent, which are possible.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        for name, least in (("eval_every", 0), ("eval_episodes", 1), ("keep_every", 0), ("keep_last", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.keep_last and not self.keep_every:
            raise ValueError(f"keep_last is of what keep_every keeps; give both, got {self.keep_last} and none")
        for name in ("eval_every", "keep_every"):
            self._check_steps(name, hyper)

    def _check_steps(self, name: str, hyper: Any) -> None:
        steps = getattr(self, name)
        if steps == 0:
            return
        found = intervals.ends(hyper)
        if not found[0] <= steps <= found[-1]:
            raise ValueError(
                f"{name} must be at least a logging interval, {found[0]:,} steps here, and at most the run, "
                f"{found[-1]:,}; got {steps:,}"
            )
