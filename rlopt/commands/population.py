"""Commands that train agents, or use trained ones."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal

import tyro

from envs.atari_config import AtariConfig
from rlopt.optimizers import arms
from rlopt.tracking.session import PopulationTracking
from rlopt.training import presets
from rlopt.training.config import Hyper, TrainConfig
from rlopt.training.monitor_config import MonitorConfig

# What a command for several optimizers and the settings of one population call by the same names.
SHARED = ("agent", "env", "seeds", "seed", "preset", "atari", "hyper", "monitor")


@dataclass(frozen=True)
class Train(Generic[Hyper]):
    """Train one population: an agent, an environment, an optimizer, several seeds in one program."""

    config: Annotated[TrainConfig[Hyper], tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """The config.json of a run, or its folder: the same run again. Flags win."""
    out: Path | None = None
    """Run folder; default: a new one under runs/."""
    tracking: Annotated[PopulationTracking, tyro.conf.arg(name="")] = field(default_factory=PopulationTracking)

    def run(self) -> None:
        """Trains, writes the run folder, prints the table."""
        from rlopt.runs import console, experiment, results

        config = self.config
        arm = arms.parse(config.optimizer)
        if arm.optimizer != config.optimizer:
            options = {**config.options, **arm.options}
            config = replace(config, optimizer=arm.optimizer, options=options, arm=arm.name)
        with self.tracking.open() as tracker:
            finished = experiment.run(config, self.out, tracker=tracker)
            console.show([finished], finished.folder / results.PLOTS / "learning_curve.png")


@dataclass(frozen=True)
class Resume:
    """Resume a training run that was stopped or killed."""

    folder: tyro.conf.Positional[Path]
    """Run folder, as `rlopt train` leaves it; of a sweep, the folder of an optimizer."""
    devices: int | None = None
    """CPU devices to share the runs, with a core each; default: as many as keep every core busy."""
    trust: bool = False
    """Import the code that the folder names as `module:Class`: only for run folders of your own."""
    tracking: Annotated[PopulationTracking, tyro.conf.arg(name="")] = field(default_factory=PopulationTracking)

    def run(self) -> None:
        """Trains to the end, prints the table."""
        from rlopt.runs import console, experiment, results

        with self.tracking.open() as tracker:
            # In a file, as a job's log is one, a progress bar is a line per second.
            finished = experiment.resume(self.folder, sys.stderr.isatty(), trust=self.trust, tracker=tracker)
            console.show(finished, finished[0].folder / results.PLOTS / "learning_curve.png")


@dataclass(frozen=True)
class Several(Generic[Hyper]):
    """What the commands that train one population per optimizer have in common."""

    agent: tyro.conf.Positional[str] = "ppo"
    """Agent to train: ppo, dqn, pqn, rppo, sac."""
    env: str = "CartPole-v1"
    """Environment id; `rlopt envs` lists them. The defaults below are for this environment."""
    optimizers: tuple[str, ...] = ("celo2", "adam")
    """Optimizers by name; `rlopt optimizers` lists them. With options of its own, and a name for that:
    `--optimizers adam celo2 "plain=celo2:odd=false,size=unit"`."""
    seeds: int = 8
    """Number of independent runs per optimizer (and learning rate)."""
    seed: int = 0
    """Seed of the first run; the others follow on."""
    out: Path | None = None
    """Run folder; default: a new one under runs/. The same command with the same folder does what is missing."""
    options: dict[str, float | str] = field(default_factory=dict)
    """What optimizers are told besides, such as `--options weight_decay 0.1`: those that have an option of the name."""
    optimizer_of: dict[str, str] = field(default_factory=dict)
    """Other optimizers for parts of the agent, in every population: `--optimizer-of temperature adam` of sac."""
    theta: dict[str, Path] = field(default_factory=dict)
    """Weight files for learned optimizers, in place of the packaged ones: `--theta celo2 mine.theta`."""
    file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """The config.json of a run, or its folder: its settings, but for the optimizer's own (a sweep's: those, too).
    Flags win."""
    monitor: Annotated[MonitorConfig, tyro.conf.arg(name="")] = field(default_factory=MonitorConfig)
    launcher: Literal["none", "local", "slurm"] = "none"
    """Where populations are trained: here, or each as a job, in other processes of this machine or under SLURM."""
    launcher_options: dict[str, str] = field(default_factory=dict)
    """For submitit, such as `--launcher-options partition long timeout_min 240 cpus_per_task 8`."""
    preset: Literal["default", "fast"] = "default"
    """What all other settings start from. fast: Atari games with few cores (a quarter of the pixels)."""
    atari: AtariConfig = field(default_factory=AtariConfig)
    """How Atari games are shown and played."""
    tracking: Annotated[PopulationTracking, tyro.conf.arg(name="")] = field(default_factory=PopulationTracking)
    hyper: Annotated[Hyper, tyro.conf.arg(name="")] = field(default_factory=presets.CONFIGS["ppo"])  # type: ignore[assignment]

    def config(self, arm: arms.Arm, **changes: Any) -> TrainConfig:
        """The population of an optimizer; ValueError for an unknown one."""
        from rlopt.optimizers import factory

        return TrainConfig(
            **{name: getattr(self, name) for name in SHARED},
            optimizer_of=self.optimizer_of,
            **factory.own_settings(arm, self.options, self.theta),
            **changes,
        )


@dataclass(frozen=True)
class Compare(Several[Hyper]):
    """Train one population per optimizer on the same seeds; one table, one plot."""

    learning_rates: tuple[float | Literal["none"], ...] = ()
    """One learning rate per optimizer, in the same order; default, and `none`: the optimizer's own, if it takes any."""

    @property
    def populations(self) -> tuple[int, ...]:
        """Runs side by side."""
        return (self.seeds,)

    def configs(self) -> list[TrainConfig]:
        """One population per optimizer; ValueError for unknown names and settings that no optimizer takes."""
        if self.learning_rates and len(self.learning_rates) != len(self.optimizers):
            raise ValueError(
                f"{len(self.learning_rates)} learning rates were given for {len(self.optimizers)} optimizers; "
                "give one for each, or none"
            )
        from rlopt.optimizers import factory

        compared = arms.parse_all(self.optimizers).values()
        factory.check_settings(compared, self.options, self.theta)
        rates = [None if rate == "none" else rate for rate in self.learning_rates] or [None] * len(self.optimizers)
        return [self.config(arm, learning_rate=rate) for arm, rate in zip(compared, rates, strict=True)]

    def run(self) -> None:
        """Trains each population, writes the run folders, prints the table."""
        from rlopt.runs import console, experiment, launcher, results

        configs = self.configs()
        launch = launcher.make(self.launcher, self.launcher_options, self.tracking.flags)
        with self.tracking.open() as tracker:
            runs = experiment.compare(configs, self.out, tracker=tracker, launch=launch)
            console.show(runs, runs[0].folder.parent / results.PLOTS / "learning_curves.png")


@dataclass(frozen=True)
class Plot:
    """Draw the learning curves of finished runs together; one table, one plot."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders that hold some."""
    out: Path = Path("learning_curves.png")
    """Picture to write."""
    evaluations: bool = False
    """Draw the evaluations during training, in place of the training episodes."""

    def run(self) -> None:
        """Writes the picture, prints the table."""
        from rlopt.runs import console, experiment

        console.show(experiment.draw(self.folders, self.out, self.evaluations), self.out)


@dataclass(frozen=True)
class Evaluate:
    """Play full episodes with the trained networks of run folders; what they earn is kept in evaluation.json there."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, as `rlopt train` leaves them, or folders of them, as `rlopt compare` does."""
    episodes: int = 100
    """Episodes per seed of a run."""
    max_steps: int | None = None
    """Steps after which an episode is given up; default: the environment's time limit, or else 10,000."""
    sampled: bool = False
    """Act as at the end of training, randomly in part, and not greedily."""
    seed: int = 0
    """Seed of the environments."""
    params: str = "final"
    """Which parameters play: final, best, or those after a number of steps, as far as training has kept them."""
    trust: bool = False
    """Import the code that the folder names as `module:Class`: only for run folders of your own."""

    def run(self) -> None:
        """Plays, writes, prints the table."""
        from rich.console import Console

        from rlopt.play import evaluated, evaluation
        from rlopt.runs import results

        settings = {x: getattr(self, x) for x in ("episodes", "seed", "max_steps")} | {"greedy": not self.sampled}
        settings |= {"params": self.params} if self.params != "final" else {}  # what has none is written as ever
        found = []
        folders = results.run_folders(self.folders)
        for folder in folders:
            evaluated.check(folder, self.params)  # before the minutes that playing may take
        for folder in folders:
            returns = evaluation.evaluate(folder, **settings, trust=self.trust)
            found.append(evaluated.Evaluated(folder, results.read_config(folder), settings, returns))
            evaluated.keep(found[-1])
        Console().print(evaluated.seeds_table(found[0]) if len(found) == 1 else evaluated.runs_table(found))
