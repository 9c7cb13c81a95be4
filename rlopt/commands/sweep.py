"""The command that trains several settings of each optimizer: learning rates, or a search."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import tyro

from rlopt.benchmark.suites import FACTORS, candidate_rates
from rlopt.commands.population import Several
from rlopt.optimizers import arms
from rlopt.training import presets
from rlopt.training import search as searches
from rlopt.training.config import Hyper, TrainConfig


@dataclass(frozen=True)
class Sweep(Several[Hyper]):
    """Train several settings of each optimizer, all settings and seeds in one program; one table, one plot.

    Without --grid and --random, the settings are learning rates, and an optimizer that takes none is trained once.
    """

    learning_rates: tuple[float, ...] = ()
    """Learning rates, the same for every optimizer; default: `factors` times each optimizer's own."""
    factors: tuple[float, ...] = FACTORS
    """What each optimizer's own learning rate is multiplied by."""
    grid: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """A setting and the values to try, once for each setting: `--grid learning_rate 1e-3 3e-3 --grid b2 0.9 0.99`, the
    product of them. Settings: learning_rate, or factor, a multiple of each optimizer's own; numbers of the agent that
    are arguments of the program, such as entropy_coef; options of the optimizer that are numbers."""
    random: int = 0
    """Trials drawn from --space, in place of a grid; every optimizer gets as many."""
    space: tuple[str, ...] = ()
    """What trials are taken from: `--space factor=log:0.1:10 b2=choice:0.9:0.99 entropy_coef=lin:0:0.05`."""
    random_seed: int = 0
    """Seed of the draws; more trials with the same seed begin with those of fewer."""
    sampler: Literal["random", "optuna"] = "random"
    """What takes trials from --space. optuna: ten are drawn, then Optuna proposes others by what came of those before;
    its journal is in the run folder (`pip install rlopt[optuna]`)."""
    trials: int = 0
    """Trials that the sampler takes from --space for every optimizer; `--random N`: so many random ones."""
    batch: int | None = None
    """Trials that Optuna proposes at once, for one program; default: 5. More know less of each other."""
    unequal: bool = False
    """Allow optimizers unlike numbers of trials, where one lacks a setting of the grid."""

    @property
    def populations(self) -> tuple[int, ...]:
        """Runs side by side, of an optimizer with learning rates and of one without."""
        if search := self.search:
            parts = [self.part(search, arm, arm.options) for arm in arms.parse_all(self.optimizers).values()]
            return tuple(self.seeds * part.at_once for part in parts)
        rates = [max(1, len(self.rates(arms.parse(text).optimizer))) for text in self.optimizers]
        return tuple(self.seeds * count for count in rates)

    def rates(self, optimizer: str) -> tuple[float, ...]:
        """The learning rates of an optimizer; () for one that takes none."""
        return candidate_rates(self.agent, self.env, optimizer, self.preset, self.learning_rates, self.factors)

    @property
    def search(self) -> searches.Search:
        """What is tried beside learning rates; ValueError for what cannot be."""
        if self.random and (self.trials or self.sampler != "random"):
            raise ValueError("--random N is so many random trials; of another sampler: --sampler optuna --trials N")
        number, guided = self.random or self.trials, self.sampler == "optuna"
        grid, space = searches.grid(self.grid), searches.space(self.space)
        found = searches.Search(grid, number, space, self.random_seed, guided, self.batch)
        if found:
            found.check()
            if self.learning_rates or self.factors != FACTORS:
                name, values = ("learning_rate", "1e-3 3e-3") if self.learning_rates else ("factor", "0.3 1 3")
                raise ValueError(
                    f"--{name.replace('_', '-')}s is for rates alone; within a search: --grid {name} {values}"
                )
            if self.agent in presets.AGENTS:
                searches.check_names(found, self.agent, [arms.parse(text).optimizer for text in self.optimizers])
        return found

    def part(self, search: searches.Search, arm: arms.Arm, fixed: Mapping[str, Any]) -> searches.Part:
        """What the search is for an optimizer; fixed: options that were given for it."""
        return searches.part(search, self.agent, self.env, self.preset, arm.optimizer, fixed)

    def parts(self) -> list[tuple[TrainConfig, searches.Part]]:
        """Each optimizer's population but for its trials, and what the search is for it; ValueError as `configs`."""
        from rlopt.optimizers import factory

        search, swept = self.search, self._swept()
        fixed = [factory.own_settings(arm, self.options, self.theta)["options"] for arm in swept]
        found = [self.part(search, arm, mine) for arm, mine in zip(swept, fixed, strict=True)]
        counts = {arm.name: part.count for arm, part in zip(swept, found, strict=True)}
        searches.check_equal(counts, self.unequal)
        searches.check_number(counts, search, self.unequal)
        return [(self.config(arm), part) for arm, part in zip(swept, found, strict=True)]

    def configs(self) -> list[TrainConfig]:
        """One population per optimizer; ValueError for unknown names and settings that no optimizer takes."""
        if self.search:
            return [replace(config, trials=part.trials()) for config, part in self.parts()]
        return [self.config(arm, rates=self.rates(arm.optimizer)) for arm in self._swept()]

    def _swept(self) -> list[arms.Arm]:
        from celo2.names import check_known
        from rlopt.optimizers import factory

        check_known("agent", self.agent, presets.AGENTS)
        swept = arms.parse_all(self.optimizers).values()
        factory.check_settings(swept, self.options, self.theta)
        return list(swept)

    def run(self) -> None:
        """Trains what is missing, writes the run folders, prints the table."""
        from rlopt.runs import console, experiment, guided, launcher

        search = self.search
        plans = [guided.Plan(*part) for part in self.parts()] if search.guided else []
        configs = [] if search.guided else self.configs()
        launch = launcher.make(self.launcher, self.launcher_options, self.tracking.flags)
        with self.tracking.open() as tracker:
            if search.guided:
                runs, plot = guided.sweep(plans, self.out, tracker=tracker, launch=launch)
            else:
                runs, plot = experiment.sweep(configs, self.out, tracker=tracker, launch=launch)
            (console.show_search if search else console.show)(runs, plot)
