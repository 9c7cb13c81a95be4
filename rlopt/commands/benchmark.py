"""Commands that judge optimizers on suites of environments, and report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from rlopt.plan import Plan
from rlopt.suites import FACTORS
from rlopt.tracking import PopulationTracking


@dataclass(frozen=True)
class Benchmark:
    """Judge optimizers on a suite of environments: learning rates chosen on other seeds than those reported."""

    agent: tyro.conf.Positional[str] = "ppo"
    """Agent to train: ppo, dqn, pqn."""
    suite: str = "quick"
    """Suite by name; `rlopt suites` lists them."""
    optimizers: tuple[str, ...] = ("adam", "celo2")
    """Optimizers by name; `rlopt optimizers` lists them. Adam is the yardstick and trained in any case."""
    envs: tuple[str, ...] = ()
    """Environments in place of the suite's."""
    seeds: int = 10
    """Reported runs per optimizer, environment and setting."""
    seed: int = 0
    """Seed of the first one; the others follow on."""
    tuning_seeds: int = 2
    """Runs per learning rate that is tried."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try, the same for every optimizer; default: `factors` times each optimizer's own."""
    factors: tuple[float, ...] = FACTORS
    """What each optimizer's own learning rate, that for the suite's first environment, is multiplied by."""
    steps: int | None = None
    """Environment steps per seed; default: the suite's."""
    out: Path | None = None
    """Folder; default: a new one under runs/. The same command with the same folder does what is missing."""
    tracking: Annotated[PopulationTracking, tyro.conf.arg(name="")] = field(default_factory=PopulationTracking)

    @property
    def plan(self) -> Plan:
        """What decides the numbers."""
        return Plan(
            agent=self.agent,
            suite=self.suite,
            envs=self.envs,
            optimizers=self.optimizers,
            seeds=self.seeds,
            seed=self.seed,
            tuning_seeds=self.tuning_seeds,
            rates=self.learning_rates,
            factors=self.factors,
            steps=self.steps,
        )

    @property
    def populations(self) -> tuple[int, ...]:
        """Runs side by side."""
        tried = len(self.learning_rates or self.factors)
        return (self.seeds, self.tuning_seeds * max(1, tried))

    def run(self) -> None:
        """Trains what is missing."""
        from rlopt import benchmark

        with self.tracking.open() as tracker:
            print(f"runs: {benchmark.run(self.plan, self.out, tracker=tracker)}")
