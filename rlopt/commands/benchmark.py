"""Commands that judge optimizers on suites of environments, and report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rlopt.benchmark.plan import Plan
from rlopt.benchmark.suites import SUITES
from rlopt.tracking.session import PopulationTracking


@dataclass(frozen=True)
class Benchmark:
    """Judge optimizers on a suite of environments: learning rates chosen on other seeds than those reported."""

    plan: Annotated[Plan, tyro.conf.arg(name="")] = field(default_factory=Plan)
    out: Path | None = None
    """Folder; default: a new one under runs/. The same command with the same folder does what is missing."""
    extend: bool = False
    """As long as the best learning rate is the lowest or highest tried, try another one beyond it, for every optimizer
    alike. Also of a finished benchmark."""
    launcher: Literal["none", "local", "slurm"] = "none"
    """Where populations are trained: here, or each as a job, in other processes of this machine or under SLURM."""
    launcher_options: dict[str, str] = field(default_factory=dict)
    """For submitit, such as `--launcher-options partition long timeout_min 240 cpus_per_task 8`."""
    trust: bool = False
    """Import all code that the folder names as `module:name`, and not only what this command line names."""
    tracking: Annotated[PopulationTracking, tyro.conf.arg(name="")] = field(default_factory=PopulationTracking)

    @property
    def populations(self) -> tuple[int, ...]:
        """Runs side by side."""
        tried = len(self.plan.learning_rates or self.plan.factors)
        return (self.plan.seeds, self.plan.first_tuning_seeds * max(1, tried))

    def run(self) -> None:
        """Trains what is missing, writes the report."""
        from rlopt.benchmark import runner
        from rlopt.report import write
        from rlopt.runs import launcher

        launch = launcher.make(self.launcher, self.launcher_options, self.tracking.flags)
        with self.tracking.open() as tracker:
            folder = runner.run(self.plan, self.out, tracker=tracker, launch=launch, extend=self.extend)
        # The folder's own plan may name more: optimizers of an earlier command, or a stranger's.
        named = {*self.plan.environments, *(arm.optimizer for arm in self.plan.arms.values())}
        print(f"report: {write.write([folder], trust=self.trust or named)}")


@dataclass(frozen=True)
class Report:
    """Write report.html, figures and tables of a benchmark, or of finished runs of any other command."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """The folder of a benchmark, also one that is not finished; or run folders, and folders that hold some."""
    out: Path | None = None
    """Folder for the report; default: "report" in the first folder."""
    timing: bool = True
    """Time the optimizers' updates for the table of costs (takes some seconds per optimizer)."""
    trust: bool = False
    """Import the code that runs name as `module:name`, to time it: only for run folders of your own."""
    populations: tyro.conf.Suppress[tuple[int, ...]] = (1,)

    def run(self) -> None:
        """Writes the report."""
        from rlopt.report import write

        print(f"report: {write.write(self.folders, self.out, self.timing, self.trust)}")


@dataclass(frozen=True)
class ListSuites:
    """List the suites of environments that a benchmark can name."""

    def run(self) -> None:
        """Prints one suite per line."""
        for name, suite in SUITES.items():
            steps = "as their presets" if suite.steps is None else f"{suite.steps:,}"
            print(f"{name:12} {suite.summary} (steps: {steps}): {', '.join(suite.envs)}")
