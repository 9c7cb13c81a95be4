"""The command line: `rlopt COMMAND --help` says more about each command."""

import itertools
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal

import tyro

from envs.atari_config import AtariConfig
from metatrain.config import MetaTrainConfig
from metatrain.stopping import BrokeOff, Unfinished
from rlopt import presets, runtime
from rlopt.catalog import OPTIMIZERS
from rlopt.config import Hyper, TrainConfig
from rlopt.supervised.config import SuiteConfig


@dataclass(frozen=True)
class Train(Generic[Hyper]):
    """Train one population: an agent, an environment, an optimizer, several seeds in one program."""

    config: Annotated[TrainConfig[Hyper], tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    out: Path | None = None
    """Run folder; default: a new one under runs/."""

    def run(self) -> None:
        """Trains, writes the run folder, prints the table."""
        from rlopt import experiment, results

        finished = experiment.run(self.config, self.out)
        experiment.show([finished], finished.folder / results.PLOTS / "learning_curve.png")


@dataclass(frozen=True)
class Resume:
    """Go on with a training run that was stopped or killed."""

    folder: tyro.conf.Positional[Path]
    """Run folder, as `rlopt train` leaves it."""

    def run(self) -> None:
        """Trains to the end, prints the table."""
        from rlopt import experiment, results

        finished = experiment.resume(self.folder)
        experiment.show([finished], finished.folder / results.PLOTS / "learning_curve.png")


@dataclass(frozen=True)
class Compare(Generic[Hyper]):
    """Train one population per optimizer on the same seeds; one table, one plot."""

    agent: tyro.conf.Positional[str] = "ppo"
    """Agent to train: ppo, dqn, pqn."""
    env: str = "CartPole-v1"
    """Environment id; `rlopt envs` lists them. The defaults below are for this environment."""
    optimizers: tuple[str, ...] = ("celo2", "adam")
    """Optimizers by name, each with its own default learning rate."""
    learning_rates: tuple[float, ...] = ()
    """One learning rate per optimizer, in the same order; default: each optimizer's own."""
    seeds: int = 8
    """Number of independent runs per optimizer."""
    seed: int = 0
    """Seed of the first run; the others follow on."""
    out: Path | None = None
    """Run folder; default: a new one under runs/."""
    preset: Literal["default", "fast"] = "default"
    """What all other settings start from. fast: PPO on Atari games with few cores (a quarter of the pixels)."""
    atari: AtariConfig = field(default_factory=AtariConfig)
    """How Atari games are shown and played."""
    hyper: Annotated[Hyper, tyro.conf.arg(name="")] = field(default_factory=presets.CONFIGS["ppo"])  # type: ignore[assignment]

    def run(self) -> None:
        """Trains each population, writes the run folders, prints the table."""
        if self.learning_rates and len(self.learning_rates) != len(self.optimizers):
            raise ValueError(
                f"{len(self.learning_rates)} learning rates were given for {len(self.optimizers)} optimizers; "
                "give one for each, or none"
            )
        from rlopt import experiment, results

        rates = self.learning_rates or (None,) * len(self.optimizers)
        configs = [
            TrainConfig(
                agent=self.agent,
                env=self.env,
                optimizer=optimizer,
                learning_rate=rate,
                seeds=self.seeds,
                seed=self.seed,
                preset=self.preset,
                atari=self.atari,
                hyper=self.hyper,
            )
            for optimizer, rate in zip(self.optimizers, rates, strict=True)
        ]
        runs = experiment.compare(configs, self.out)
        experiment.show(runs, runs[0].folder.parent / results.PLOTS / "learning_curves.png")


@dataclass(frozen=True)
class Evaluate:
    """Play full episodes with the trained networks of a run folder."""

    folder: tyro.conf.Positional[Path]
    """Run folder, as `rlopt train` leaves it."""
    episodes: int = 100
    """Episodes per seed of the run."""
    sampled: bool = False
    """Act as at the end of training, randomly in part, and not greedily."""
    seed: int = 0
    """Seed of the environments."""

    def run(self) -> None:
        """Prints the table."""
        from rich.console import Console

        from rlopt import evaluation, results

        returns = evaluation.evaluate(self.folder, episodes=self.episodes, greedy=not self.sampled, seed=self.seed)
        Console().print(evaluation.table(results.read_config(self.folder), returns, not self.sampled))


@dataclass(frozen=True)
class Watch:
    """Film a trained agent playing an Atari or MinAtar game: a GIF, and an MP4 where ffmpeg is installed."""

    folder: tyro.conf.Positional[Path]
    """Run folder, as `rlopt train` leaves it."""
    member: int | None = None
    """Which of the run's seeds plays; default: the one with the best final return."""
    max_steps: int = 3000
    """Steps after which the film ends, if the episode does not before."""
    sampled: bool = False
    """Act as at the end of training, randomly in part, and not greedily."""
    seed: int = 0
    """Seed of the episode."""

    def run(self) -> None:
        """Writes the film."""
        from rlopt import watch

        film = watch.watch(
            self.folder, member=self.member, max_steps=self.max_steps, greedy=not self.sampled, seed=self.seed
        )
        end = "" if film.over else " so far (the episode was not over)"
        print(f"return {film.total:g} in {film.steps:,} steps{end}")
        for path in film.files:
            print(f"film: {path}")


@dataclass(frozen=True)
class MetaTrain:
    """Meta-train a learned optimizer with PES on 8x8 image tasks; the same command continues a stopped run."""

    config: Annotated[MetaTrainConfig, tyro.conf.arg(name="")] = field(default_factory=MetaTrainConfig)
    out: Path | None = None
    """Run folder; default: runs/metatrain-RULE."""
    checkpoint_every: int = 500
    """Outer iterations between checkpoints."""
    validate_every: int = 1000
    """Outer iterations between meta-validations on tasks that are not trained on; 0: none."""
    wandb: Literal["off", "online", "offline"] = "off"
    """Send the metrics to Weights & Biases, or keep them in its format for `wandb sync`."""
    distributed: bool = False
    """Join the processes of a SLURM or MPI job, or of the three settings below, into one run."""
    coordinator: str | None = None
    """Where process 0 listens, HOST:PORT; found by itself under SLURM."""
    num_processes: int | None = None
    """Number of processes; found by itself under SLURM."""
    process_id: int | None = None
    """Number of this process, from 0; found by itself under SLURM."""

    def run(self) -> None:
        """Trains or continues, writes theta, card, metrics and plot."""
        manual = (self.coordinator, self.num_processes, self.process_id)
        if any(value is not None for value in manual) and (not self.distributed or None in manual):
            raise ValueError("coordinator, num_processes and process_id go together, and with --distributed")
        self.config.check()
        import jax

        if self.distributed:
            from jax.experimental import multihost_utils

            jax.distributed.initialize(*manual)
            # Connects the processes while they are still in step: compiling may take one much longer than another, and
            # waiting for a first connection has a time limit.
            multihost_utils.sync_global_devices("rlopt")
        from metatrain import metrics, trainer
        from rlopt import plotting, results, tracking

        folder = self.out or Path("runs") / f"metatrain-{self.config.rule}"
        lead = jax.process_index() == 0
        with tracking.wandb_report(self.wandb if lead else "off", self.config, folder, "iteration") as report:
            result = trainer.train(
                self.config,
                folder,
                checkpoint_every=self.checkpoint_every,
                validate_every=self.validate_every,
                report=report,
            )
        if not lead:
            return
        rows = metrics.read(folder)
        if rows:
            plot = folder / results.PLOTS / "meta_loss.png"
            plotting.meta_loss(rows, f"Meta-training of {self.config.rule}", plot)
            print(f"plot: {plot}")
        state = "stopped; the same command continues it" if result.stopped else "done"
        print(f"{result.iteration} outer iterations, {state}\ntheta: {result.theta_path}")
        if result.best_path:
            print(f"best in meta-validation: {result.best_path}")


@dataclass(frozen=True)
class MetaTest:
    """Judge learned rules on tasks that they were not trained on; the same command continues a stopped run."""

    suite: Literal["supervised"] = "supervised"
    """supervised: small networks on images, text and regression, against tuned hand-designed optimizers."""
    config: Annotated[SuiteConfig, tyro.conf.arg(name="")] = field(default_factory=SuiteConfig)
    out: Path | None = None
    """Run folder; default: runs/metatest-SUITE."""

    def run(self) -> None:
        """Trains what is missing, prints the tables, draws the curves."""
        from rich.console import Console

        from rlopt import results
        from rlopt.supervised import report
        from rlopt.supervised import suite as supervised

        folder = self.out or Path("runs") / f"metatest-{self.suite}"
        cells = supervised.run(self.config, folder)
        tuned = {name: len(entry.rates) > 1 for name, entry in supervised.contestants(self.config).items()}
        pages = (report.task_table(cells), report.summary_table(cells, tuned))
        console = Console()
        for page in pages:
            for table in page.rich(console.width):
                console.print(table)
        report.write(cells, folder, pages)
        print(f"run folder: {folder}\nplot: {folder / results.PLOTS / 'curves.png'}")


@dataclass(frozen=True)
class ThetaInfo:
    """Say what is in a theta file: rule, sizes, hash, card."""

    source: tyro.conf.Positional[str]
    """Theta file, or the name of packaged weights such as celo2."""

    def run(self) -> None:
        """Prints the description."""
        from rlopt import theta

        print(theta.info(theta.load(self.source)))


@dataclass(frozen=True)
class ThetaPlot:
    """Draw what a learned rule does: the update over gradient and momentum, and Celo's schedule."""

    source: tyro.conf.Positional[str]
    """Theta file, or the name of packaged weights such as celo2."""
    out: Path | None = None
    """Picture to write; default: NAME.png in the current folder."""

    def run(self) -> None:
        """Writes the picture."""
        from rlopt import theta, theta_plot

        path = self.out or Path(f"{Path(self.source).name.removesuffix('.theta')}.png")
        theta_plot.plot(theta.load(self.source), path)
        print(f"plot: {path}")


@dataclass(frozen=True)
class Theta:
    """Look into the weights of a learned rule."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[ThetaInfo, tyro.conf.subcommand("info")] | Annotated[ThetaPlot, tyro.conf.subcommand("plot")]
    ]

    def run(self) -> None:
        """Runs the chosen command."""
        self.command.run()


@dataclass(frozen=True)
class ListOptimizers:
    """List the optimizers that a run can name, with their default learning rates for PPO on classic control."""

    def run(self) -> None:
        """Prints one line per optimizer."""
        for name, info in OPTIMIZERS.items():
            rate = "none" if info.learning_rate is None else f"{info.learning_rate:g}"
            print(f"{name:12} {rate:8} {info.summary}")


@dataclass(frozen=True)
class ListPresets:
    """List the environments that an agent has settings for, with budget and Adam's learning rate."""

    def run(self) -> None:
        """Prints one line per agent and environment."""
        for agent, env_id in presets.PRESETS:
            steps = presets.config(agent, env_id).total_steps
            rate = presets.learning_rate(agent, env_id, "adam")
            print(f"{agent:5} {env_id:26} {steps:>12,} steps   adam {rate:g}")
        for name, by_agent in presets.ATARI.items():
            for agent in by_agent:
                steps = presets.config(agent, presets.ATARI_IDS, name).total_steps
                rate = presets.learning_rate(agent, presets.ATARI_IDS, "adam", name)
                shown = f"any Atari game, {name}"
                print(f"{agent:5} {shown:26} {steps:>12,} steps   adam {rate:g}")


@dataclass(frozen=True)
class ListEnvs:
    """List the environments that a run can name."""

    def run(self) -> None:
        """Prints one id per line."""
        import envs

        print("\n".join(envs.ids()))


def _named(args: list[str]) -> tuple[str, str, str]:
    """Agent, environment and preset, found before parsing: they decide which settings there are, and their defaults."""
    after = itertools.pairwise(args)  # a word after a flag is the flag's value
    agent = next((word for before, word in after if word in presets.AGENTS and before[:1] != "-"), TrainConfig.agent)
    return agent, _flag(args, "--env") or TrainConfig.env, _flag(args, "--preset") or TrainConfig.preset


def _flag(args: list[str], flag: str) -> str | None:
    """The last value given for a flag."""
    found = None
    for i, word in enumerate(args):
        if word == flag and i + 1 < len(args):
            found = args[i + 1]
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found


def _parse(args: list[str]) -> Any:
    agent, env_id, preset = _named(args)
    preset = preset if preset in presets.NAMES else TrainConfig.preset  # what is misspelt is refused below
    found = presets.find(agent, env_id, preset)
    hyper = presets.config(agent, env_id, preset)
    kind = presets.CONFIGS[agent]
    subcommand = tyro.conf.subcommand
    train = Train(TrainConfig(agent=agent, atari=found.atari, hyper=hyper))
    commands = (
        Annotated[Train[kind], subcommand("train", default=train)]  # type: ignore[valid-type]
        | Annotated[Compare[kind], subcommand("compare", default=Compare(agent, atari=found.atari, hyper=hyper))]  # type: ignore[valid-type]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Watch, subcommand("watch")]
        | Annotated[MetaTrain, subcommand("metatrain", default=MetaTrain())]
        | Annotated[MetaTest, subcommand("metatest", default=MetaTest())]
        | Annotated[Theta, subcommand("theta")]
        | Annotated[ListOptimizers, subcommand("optimizers")]
        | Annotated[ListPresets, subcommand("presets")]
        | Annotated[ListEnvs, subcommand("envs")]
    )
    return tyro.cli(commands, prog="rlopt", args=args, description=__doc__)


def _seeds(command: Any) -> int | None:
    """The number of seeds that a command trains side by side; None: it trains none."""
    if isinstance(command, Train):
        return command.config.seeds
    if isinstance(command, Resume):
        try:
            return int(json.loads((command.folder / "config.json").read_text(encoding="utf-8"))["seeds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the command itself says what is wrong
    return getattr(command, "seeds", None)


def main(args: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 2 refused input, 130 stopped on request, 1 broke off by a fault."""
    try:
        command = _parse(sys.argv[1:] if args is None else args)
        seeds = _seeds(command)
        num_devices = runtime.devices_for(seeds) if seeds else None
        runtime.configure(num_devices=num_devices, concurrent=isinstance(command, MetaTrain))
        command.run()
    except (ValueError, OSError) as error:
        print(f"rlopt: {error}", file=sys.stderr)
        return 2
    except Unfinished as error:
        print(f"rlopt: {error}", file=sys.stderr)
        return 1 if isinstance(error, BrokeOff) else 130
    except KeyboardInterrupt:
        print("rlopt: interrupted", file=sys.stderr)
        return 130
    return 0


def entry() -> None:
    """The console script."""
    sys.path.insert(0, os.getcwd())  # as `python -m rlopt` has it: `--env module:Class` is looked for there
    sys.exit(main())
