"""Commands for learned rules: meta-training, meta-testing, a look at the weights."""

import functools
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from metatrain import recipes
from metatrain.config import MetaTrainConfig
from rlopt.metareturns.config import SearchConfig
from rlopt.metatest.config import SuiteConfig
from rlopt.metatest.returns_config import ReturnsConfig
from rlopt.tracking.session import Tracking

if TYPE_CHECKING:
    from rlopt.metatraining.trainer import Result
    from rlopt.tracking.session import Session


@dataclass(frozen=True)
class MetaTrainArguments(MetaTrainConfig):
    """The settings as a command line takes them: the rule without a flag."""

    rule: tyro.conf.Positional[str] = MetaTrainConfig.rule
    """Rule to train: celo2 (with Newton-Schulz), celo2_base, celo_phase1 (Celo's update rule), celo (its schedule,
    on top of the update rule of --init-theta), celo_adam (the same schedule over Adam), or a rule to compare
    with: nnadam, adafac_mlp, rnn_mlp, velo (of VeLO-S's size)."""


@dataclass(frozen=True)
class MetaTrain:
    """Meta-train a learned optimizer with PES on 8x8 image tasks; the same command continues a stopped run."""

    config: Annotated[MetaTrainArguments, tyro.conf.arg(name="")] = field(default_factory=MetaTrainArguments)
    recipe: Literal["default", "published"] = "default"
    """What all settings start from, before flags: the recipe of the packaged weights, or that of the papers, which has
    data sets to download (--data-dir); see docs/metatrain.md."""
    out: Path | None = None
    """Run folder; default: runs/metatrain-RULE."""
    checkpoint_every: int = 500
    """Outer iterations between checkpoints."""
    validate_every: int = 1000
    """Outer iterations between meta-validations on tasks that are not trained on; 0: none."""
    outer_learning_rates: tuple[float, ...] = ()
    """Several in place of --outer-learning-rate, each with all --seeds: a run folder each, and the weights that did
    best in meta-validation beside them."""
    seeds: tuple[int, ...] = ()
    """Several in place of --seed, likewise."""
    tracking: Annotated[Tracking, tyro.conf.arg(name="")] = field(default_factory=Tracking)
    distributed: bool = False
    """Join the processes of a SLURM or MPI job, or of the three settings below, into one run."""
    coordinator: str | None = None
    """Where process 0 listens, HOST:PORT; found by itself under SLURM."""
    num_processes: int | None = None
    """Number of processes; found by itself under SLURM."""
    process_id: int | None = None
    """Number of this process, from 0; found by itself under SLURM."""

    @classmethod
    def of_recipe(cls, name: str, rule: str) -> "MetaTrain":
        """The command with the settings of a recipe as its defaults.

        Raises:
          ValueError: for an unknown recipe or rule.
        """
        found = recipes.find(name, rule)
        config = MetaTrainArguments(**{field.name: getattr(found, field.name) for field in fields(found)})
        return cls(config, name)  # type: ignore[arg-type]  # checked by `find`

    def run(self) -> None:
        """Trains or continues, writes theta, card, metrics and plot; of several runs, says which did best."""
        manual = (self.coordinator, self.num_processes, self.process_id)
        if any(value is not None for value in manual) and (not self.distributed or None in manual):
            raise ValueError("coordinator, num_processes and process_id go together, and with --distributed")
        self.config.check()
        self._check_grid()
        self.tracking.check()
        import jax

        if self.distributed:
            from jax.experimental import multihost_utils

            jax.distributed.initialize(*manual)
            # Connects the processes while they are still in step: compiling may take one much longer than another, and
            # waiting for a first connection has a time limit.
            multihost_utils.sync_global_devices("rlopt")
        from rlopt.metatraining import card, grid

        folder = self.out or Path("runs") / f"metatrain-{self.config.rule}"
        lead = jax.process_index() == 0
        with (self.tracking if lead else Tracking()).open() as opened:
            if not (self.outer_learning_rates or self.seeds):
                self._train(opened, "", lead, self.config, folder, validate_every=self.validate_every)
                return
            outcomes = grid.train(
                self.config,
                self.outer_learning_rates or (self.config.outer_learning_rate,),
                self.seeds or (self.config.seed,),
                folder,
                validate_every=self.validate_every,
                run=functools.partial(self._train, opened, folder.resolve().name, lead),
            )
        if lead:
            print("\n".join(grid.table(outcomes)))
            if grid.best(outcomes):
                print(f"best in meta-validation: {card.theta_path(folder, self.config, best=True)}")
            if outcomes[-1].stopped:
                print("stopped; the same command continues it")

    def _train(
        self,
        tracked: "Session | None",
        group: str,
        lead: bool,
        config: MetaTrainConfig,
        folder: Path,
        **options: Any,
    ) -> "Result":
        """One run; group: what it is tracked as a part of. lead: whether this process writes and says what came of it.

        options: of `trainer.train`.
        """
        from rlopt import typed
        from rlopt.metatraining import card, metrics, plots, trainer
        from rlopt.runs import results
        from rlopt.tracking import session, subjects

        weights = [card.theta_path(Path(), config, best) for best in (False, True)]
        name = folder.resolve().name
        subject = subjects.Subject(
            folder,
            f"{group}-{name}" if group else name,
            group,
            typed.plain(config),
            "iteration",
            model=tuple(path.with_suffix(end).name for path in weights for end in (".theta", ".json")),
        )
        with session.follow(tracked, [subject]) as report:
            result = trainer.train(
                config, folder, checkpoint_every=self.checkpoint_every, report=lambda row: report([row]), **options
            )
        if not lead:
            return result
        # A folder that was given nothing but its last checkpoint has none.
        rows = metrics.read(folder) if (folder / metrics.METRICS).exists() else []
        if rows:
            plot = folder / results.PLOTS / "meta_loss.png"
            plots.meta_loss(rows, f"Meta-training of {config.rule}", plot)
            print(f"plot: {plot}")
        state = "stopped; the same command continues it" if result.stopped else "done"
        print(f"{result.iteration} outer iterations, {state}\ntheta: {result.theta_path}")
        if result.best_path:
            print(f"best in meta-validation: {result.best_path}")
        return result

    def _check_grid(self) -> None:
        """Refuses what several runs are to have several of, and one for all beside it."""
        usual = recipes.find(self.recipe, self.config.rule)
        for one, several in (("outer_learning_rate", "outer_learning_rates"), ("seed", "seeds")):
            if getattr(self, several) and getattr(self.config, one) != getattr(usual, one):
                raise ValueError(f"{one} and {several} exclude each other: the latter are in place of the former")


@dataclass(frozen=True)
class MetaTrainReturns:
    """Search for the weights of a head over an optimizer's steps on the returns of whole trainings, with CMA-ES."""

    config: Annotated[SearchConfig, tyro.conf.arg(name="")] = field(default_factory=SearchConfig)
    out: Path | None = None
    """Folder; default: runs/returns-OPTIMIZER. The same command resumes a search that was stopped."""

    def run(self) -> None:
        """Searches or resumes, prints what the mean of the search earned."""
        self.config.check()
        from rlopt.metareturns import search

        folder = self.out or Path("runs") / f"returns-{self.config.optimizer}"
        found = search.run(self.config, folder)
        for env, earned in found["earned"].items():
            print(f"{env}: {earned['mean']:.4g} with the head, {earned['start']:.4g} without")
        print(f"head: {folder / search.HEAD}")


@dataclass(frozen=True)
class MetaTest:
    """Judge learned rules on tasks that they were not trained on; the same command continues a stopped run."""

    config: Annotated[SuiteConfig, tyro.conf.arg(name="")] = field(default_factory=SuiteConfig)
    out: Path | None = None
    """Run folder; default: runs/metatest-SUITE, that of the small one runs/metatest-supervised."""

    def run(self) -> None:
        """Trains what is missing, prints the tables, draws the curves."""
        from rich.console import Console

        from rlopt.metatest import optimizers, report, suite
        from rlopt.runs import results

        config = self.config
        # The small suite had this name once: folders of then are resumed.
        suite_name = "supervised" if config.suite == "small" else config.suite
        folder = self.out or Path("runs") / f"metatest-{suite_name}"
        cells, tasks = suite.train(config, folder)
        entries = optimizers.contestants(config)
        tuned = {name: len(entry.rates) > 1 for name, entry in entries.items()}
        pages = [report.task_table(cells), report.test_table(cells)]
        if config.suite == "celo17" or config.fraction < 1:
            share = f", a share of {config.fraction:g} of {config.steps:,}" if config.fraction < 1 else ""
            pages.insert(0, report.data_table(tasks, f"{config.length:,} steps{share}"))
        pages.append(report.summary_table(cells, tuned))
        console = Console()
        for page in (*pages, report.cost_table(cells)):
            for table in page.rich(console.width):
                console.print(table)
        trials = {name: entry.trials for name, entry in entries.items() if entry.trials}
        report.write(cells, folder, pages, trials, tasks)
        plots = folder / results.PLOTS
        print(f"run folder: {folder}\nplots: {plots}")


@dataclass(frozen=True)
class MetaTestReturns:
    """Judge a learned rule by the returns of short trainings of agents; the same command continues a stopped run."""

    config: Annotated[ReturnsConfig, tyro.conf.arg(name="")]
    out: Path | None = None
    """Run folder; default: runs/returns-NAME."""

    @property
    def populations(self) -> tuple[int, ...]:
        """Runs that are trained side by side."""
        return (self.config.seeds,)

    def run(self) -> None:
        """Trains what is missing, prints the table, writes it beside the weights."""
        from rich.console import Console

        from rlopt.metatest import returns

        folder = self.out or Path("runs") / f"returns-{Path(self.config.source).name.removesuffix('.theta')}"
        judged = returns.run(self.config, folder)
        page = returns.table(judged)
        card = returns.write(judged, self.config, folder, page)
        console = Console()
        for table in page.rich(console.width):
            console.print(table)
        print(f"run folder: {folder}\n" + (f"card: {card}" if card else f"for a card: {folder / returns.RETURNS}"))


@dataclass(frozen=True)
class ThetaInfo:
    """Say what is in a theta file: rule, sizes, hash, card."""

    source: tyro.conf.Positional[str]
    """Theta file, or the name of packaged weights such as celo2."""

    def run(self) -> None:
        """Prints the description."""
        from rlopt.optimizers import theta, theta_probe

        loaded = theta.load(self.source)
        print(theta.info(loaded, theta_probe.describe(loaded)))


@dataclass(frozen=True)
class ThetaPlot:
    """Draw what a learned rule does: the update over gradient and momentum, and Celo's schedule."""

    source: tyro.conf.Positional[str]
    """Theta file, or the name of packaged weights such as celo2."""
    out: Path | None = None
    """Picture to write; default: NAME.png in the current folder."""

    def run(self) -> None:
        """Writes the picture."""
        from rlopt.optimizers import theta, theta_plot

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
