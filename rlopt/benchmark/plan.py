"""A benchmark's settings. Imports no jax."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from envs.atari_config import is_atari
from rlopt.benchmark.suites import SUITES, Suite, candidate_rates
from rlopt.optimizers import heads
from rlopt.optimizers.arms import Arm, parse, parse_all, settled
from rlopt.training import presets
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import LookConfig, MonitorConfig

# The tuning seeds lie this far above the others, so that more of either can be added.
TUNING_SEEDS_FROM = 10_000
YARDSTICK = "adam"


@dataclass(frozen=True)
class Plan:
    """A benchmark: what decides its numbers.

    What is not given is what the suite says; `dataclasses.replace` keeps what another suite gave.
    """

    agent: tyro.conf.Positional[str] = "ppo"
    """Agent to train: ppo, dqn, pqn, rppo, sac."""
    suite: str = "quick"
    """Suite by name; `rlopt suites` lists them."""
    envs: tuple[str, ...] = ()
    """Environments in place of the suite's, whose steps stay if it names some; see `--steps`."""
    optimizers: tuple[str, ...] = None  # type: ignore[assignment]  # until __post_init__
    """Optimizers by name; `rlopt optimizers` lists them. With options of its own, and a name for that:
    `"plain=celo2:odd=false,size=unit"`. Adam is the yardstick and trained in any case. Default: the suite's."""
    options: dict[str, float | str] = field(default_factory=dict)
    """What optimizers are told besides, such as `--options weight_decay 0.1`: those that have an option of the name."""
    theta: dict[str, Path] = field(default_factory=dict)
    """Weight files for learned optimizers, in place of the packaged ones: `--theta celo2 mine.theta`."""
    seeds: int = None  # type: ignore[assignment]
    """Reported runs per optimizer, environment and setting; default: the suite's."""
    seed: int = 0
    """Seed of the first one; the others follow on."""
    tuning_seeds: int = None  # type: ignore[assignment]
    """Runs per learning rate that is tried to the end; 0: nothing is tried, and every optimizer has its one candidate,
    by `--factors 1` its own rate. Default: the suite's."""
    halving: bool = True
    """Try all learning rates with two seeds each, and only the better half of them with twice as many, and so on."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try, the same for every optimizer; default: `factors` times each optimizer's own."""
    factors: tuple[float, ...] = None  # type: ignore[assignment]
    """What each optimizer's own learning rate, that for the first environment, is multiplied by; default: the
    suite's."""
    steps: int | None = None
    """Environment steps per seed; default: the suite's, or its presets'."""
    monitor: Annotated[LookConfig, tyro.conf.arg(name="")] = field(default_factory=LookConfig)
    """What is done beside training the reported runs; of those that rates are chosen from, nothing."""

    def __post_init__(self) -> None:
        # An unknown suite is refused by `check`; until then it has the usual settings.
        suite = SUITES.get(self.suite) or Suite("", ())
        for name in ("optimizers", "seeds", "tuning_seeds", "factors"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(suite, name))
        if isinstance(self.optimizers, tuple):  # else it is of a file, and refused later
            object.__setattr__(self, "optimizers", tuple(map(settled, self.optimizers)))
        object.__setattr__(self, "options", heads.settled(self.options))

    @property
    def environments(self) -> tuple[str, ...]:
        """Environment ids."""
        return self.envs or self._suite.envs

    @property
    def arms(self) -> dict[str, Arm]:
        """The optimizers by their names here, in the order in which they are trained, Adam first."""
        named = parse_all(self.optimizers)
        return {YARDSTICK: named.pop(YARDSTICK, parse(YARDSTICK)), **named}

    @property
    def all_optimizers(self) -> tuple[str, ...]:
        """The names of the optimizers in the order in which they are trained, Adam first."""
        return tuple(self.arms)

    def candidates(self, optimizer: str) -> tuple[float, ...]:
        """The learning rates tried of an optimizer, the same on every environment; () for one that takes none."""
        first, name = self.environments[0], self.arms[optimizer].optimizer
        return candidate_rates(self.agent, first, name, self._suite.preset, self.learning_rates, self.factors)

    def hyper(self, env_id: str) -> presets.Config:
        """The agent's settings on an environment."""
        suite = self._suite
        found = presets.config(self.agent, env_id, suite.preset)
        steps = suite.steps if self.steps is None else self.steps
        return found if steps is None else dataclasses.replace(found, total_steps=steps)

    def config(self, optimizer: str, env_id: str, **changes: Any) -> TrainConfig:
        """The reported population of an optimizer, by its name here, on an environment."""
        from rlopt.optimizers import factory

        suite = self._suite
        atari = presets.find(self.agent, env_id, suite.preset).atari
        if is_atari(env_id):
            atari = dataclasses.replace(atari, **suite.atari)
        return TrainConfig(
            agent=self.agent,
            env=env_id,
            seeds=self.seeds,
            seed=self.seed,
            preset=suite.preset,
            atari=atari,
            hyper=self.hyper(env_id),
            monitor=MonitorConfig(**dataclasses.asdict(self.monitor)),
            **factory.own_settings(self.arms[optimizer], self.options, self.theta),
            **changes,
        )

    @property
    def tunes(self) -> bool:
        """Whether learning rates are chosen, and not given."""
        return self.tuning_seeds > 0

    @property
    def first_tuning_seeds(self) -> int:
        """Runs that every learning rate gets that is tried."""
        return min(2, self.tuning_seeds) if self.halving else self.tuning_seeds

    def tuning_config(
        self,
        optimizer: str,
        env_id: str,
        rates: tuple[float, ...] | None = None,
        first: int = 0,
        seeds: int | None = None,
    ) -> TrainConfig:
        """A population that an optimizer's rate is chosen from.

        rates: default: all candidates. first: how many tuning seeds come before it; seeds: how many it has, by default
        those that every rate gets.
        """
        rates = self.candidates(optimizer) if rates is None else rates
        seeds = self.first_tuning_seeds if seeds is None else seeds
        config = self.config(optimizer, env_id, rates=rates)
        seed = self.seed + TUNING_SEEDS_FROM + first
        return dataclasses.replace(config, seeds=seeds, seed=seed, monitor=MonitorConfig())

    def check_hyper(self) -> None:
        """Refuses what does not fit an environment's runs: steps, evaluations; ValueError naming it. Imports no jax."""
        for env_id in self.environments:
            hyper = self.hyper(env_id)
            try:
                hyper.check()
                self.monitor.check(hyper)
            except ValueError as error:
                raise ValueError(f"{env_id}: {error}") from error

    def check(self) -> None:
        """Refuses what cannot be run.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        from celo2.names import check_known
        from rlopt.optimizers import factory

        check_known("agent", self.agent, presets.AGENTS)
        check_known("suite", self.suite, SUITES)
        if len(set(self.environments)) != len(self.environments):
            raise ValueError(f"each environment may be named once, got {', '.join(self.environments)}")
        factory.check_settings(self.arms.values(), self.options, self.theta)
        if self.tuning_seeds < 0:
            raise ValueError(f"tuning_seeds must be at least 0, got {self.tuning_seeds}")
        tried = {optimizer: self.candidates(optimizer) for optimizer in self.all_optimizers}
        if not self.tunes and (many := next((name for name, rates in tried.items() if len(rates) > 1), None)):
            raise ValueError(
                f"tuning_seeds 0 chooses nothing, but {many} has {len(tried[many])} learning rates to choose from; "
                "give one factor or learning rate (`--factors 1`), or tuning seeds"
            )
        if not 1 <= self.seeds <= TUNING_SEEDS_FROM:
            raise ValueError(
                f"seeds must lie in [1, {TUNING_SEEDS_FROM}], where the tuning seeds begin, got {self.seeds}"
            )

    @property
    def _suite(self) -> Suite:
        return SUITES[self.suite]
