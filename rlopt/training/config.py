"""Settings of a training run. Nothing here imports jax."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import tyro

from envs import names
from envs.atari_config import AtariConfig, is_atari
from rlopt.optimizers import arms, catalog, heads
from rlopt.training import presets, trials
from rlopt.training.monitor_config import MonitorConfig

Hyper = TypeVar("Hyper", bound=presets.Config)


@dataclass(frozen=True)
class TrainConfig(Generic[Hyper]):
    """One population: an agent, an environment, an optimizer, several seeds.

    What is not given is what the command line takes for that agent, environment and preset. `dataclasses.replace` keeps
    what another environment's preset gave; for other settings, make a new one.

    Examples:
      >>> from rlopt import TrainConfig
      >>> config = TrainConfig(env="Breakout-MinAtar", optimizer="adam")
      >>> config.hyper.total_steps, config.resolved_learning_rate
      (10000000, 0.005)
    """

    agent: tyro.conf.Positional[str] = "ppo"
    """Agent to train: ppo, dqn, pqn, rppo, sac."""
    env: str = "CartPole-v1"
    """Environment id; `rlopt envs` lists them. The defaults below are for this environment."""
    optimizer: str = "celo2"
    """Optimizer by name (`rlopt optimizers` lists them), or a function like optax's as `module:function`; in Python,
    that function itself."""
    learning_rate: float | None = None
    """Learning rate; default: the optimizer's own for this agent and environment. Celo, Celo-Adam and the
    learned baselines take none."""
    rates: Annotated[tuple[float, ...], tyro.conf.Suppress] = ()
    """Learning rates trained side by side in one program, each with all seeds (`rlopt sweep`); (): one rate only."""
    trials: Annotated[tuple[dict[str, float], ...], tyro.conf.Suppress] = ()
    """Settings trained side by side in one program, each with all seeds (`rlopt sweep --grid`, `training.trials`):
    all give the same names. (): one setting, or the rates above."""
    theta: Path | None = None
    """Weight file for a learned optimizer, in place of the packaged weights."""
    options: dict[str, float | str] = field(default_factory=dict)
    """What the optimizer is told besides, such as `--options weight_decay 0.1`; `rlopt optimizers` lists the names.
    Default of `share` (what takes no learning rate): the agent's."""
    optimizer_of: dict[str, str] = field(default_factory=dict)
    """Other optimizers for parts of the agent, such as `--optimizer-of critic celo2`; sac has critic, actor and
    temperature. Written as in a comparison (`adam:b2=0.99`), each at its own default learning rate."""
    seeds: int = 8
    """Number of independent runs, trained together in one program."""
    seed: int = 0
    """Seed of the first run; the others follow on."""
    preset: Literal["default", "fast"] = "default"
    """What all other settings start from. fast: Atari games with few cores (a quarter of the pixels)."""
    atari: AtariConfig = None  # type: ignore[assignment]  # until __post_init__
    """How Atari games are shown and played; default: the preset's."""
    hyper: Annotated[Hyper, tyro.conf.arg(name="")] = None  # type: ignore[assignment]  # until __post_init__
    """Settings of the agent; default: the preset's (`rlopt.training.presets`)."""
    monitor: Annotated[MonitorConfig, tyro.conf.arg(name="")] = field(default_factory=MonitorConfig)
    """What is done beside training: evaluations, and which parameters are kept."""
    arm: Annotated[str | None, tyro.conf.Suppress] = None
    """What tables, folders and reports call the optimizer with its options (`optimizers.arms`); None: its own name."""

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, str):
            object.__setattr__(self, "optimizer", catalog.path_of(self.optimizer))
        if self.atari is None or self.hyper is None:
            if self.agent not in presets.CONFIGS:
                raise ValueError(f"unknown agent {self.agent!r}; there are {', '.join(presets.AGENTS)}")
            found = presets.find(self.agent, self.env, self.preset)
            if self.atari is None:
                object.__setattr__(self, "atari", found.atari)
            if self.hyper is None:
                object.__setattr__(self, "hyper", presets.CONFIGS[self.agent](**found.changes))
        info = catalog.find(self.optimizer)
        if self.optimizer in catalog.OPTIMIZERS:
            object.__setattr__(self, "options", heads.settled(self.options))
        if isinstance(self.optimizer_of, dict):  # else it is of a file, and refused later
            object.__setattr__(self, "optimizer_of", {part: arms.settled(x) for part, x in self.optimizer_of.items()})
        if info is not None and info.scheduled and self.agent in presets.CONFIGS:
            share = {catalog.SHARE: presets.share(self.agent, self.optimizer)}
            object.__setattr__(self, "options", share | self.options)

    @property
    def title(self) -> str:
        """What tables, folders and reports call the optimizer."""
        return self.optimizer if self.arm is None else self.arm

    @property
    def label(self) -> str:
        """What messages call the population: its optimizer, and the environment."""
        return f"{self.title} on {self.env}"

    @property
    def code(self) -> tuple[str, ...]:
        """What it names that is code to be imported: `module:name` of an environment, an optimizer, a network."""
        of_parts = (arms.parse(text).optimizer for text in self.optimizer_of.values())
        others = tuple(name for name in (self.optimizer, *of_parts, self.hyper.network) if ":" in name)
        return (self.env, *others) if names.is_own_code(self.env) else others

    @property
    def resolved_learning_rate(self) -> float | None:
        """The learning rate in use; None for an optimizer that takes none."""
        if self.learning_rate is not None:
            return self.learning_rate
        return presets.learning_rate(self.agent, self.env, self.optimizer, self.preset)

    @property
    def handed_rate(self) -> float:
        """What the agent hands its optimizer: the learning rate, or where it takes none, its option `share`."""
        rate = self.resolved_learning_rate
        return float(self.options[catalog.SHARE]) if rate is None else rate

    @property
    def size(self) -> int:
        """Runs in this population: seeds times learning rates, or trials."""
        return self.seeds * max(1, len(self.rates), len(self.trials))

    @property
    def has_cells(self) -> bool:
        """Whether it is of several settings, each in a folder of its own, and not of one."""
        return bool(self.rates or self.trials)

    @property
    def cells(self) -> tuple["TrainConfig[Hyper]", ...]:
        """One population per learning rate or trial; member i of cell k is member k * seeds + i of this one."""
        if self.trials:
            return tuple(trials.applied(self, trial) for trial in self.trials)
        if not self.rates:
            return (self,)
        return tuple(replace(self, learning_rate=rate, rates=()) for rate in self.rates)

    def some(self, numbers: Sequence[int]) -> "TrainConfig[Hyper]":
        """The population of some of the cells, by their numbers; of one without cells, itself."""
        rates = tuple(self.rates[k] for k in numbers) if self.rates else ()
        return replace(self, rates=rates, trials=tuple(self.trials[k] for k in numbers) if self.trials else ())

    def member(self, index: int) -> str:
        """What a member of the population is called in messages."""
        if self.trials:
            return f"seed {self.seed + index % self.seeds} at {trials.described(self.trials[index // self.seeds])}"
        rate = f" at learning rate {self.rates[index // self.seeds]:g}" if self.rates else ""
        return f"seed {self.seed + index % self.seeds}{rate}"

    def check(self) -> None:
        """Refuses impossible numbers; names are checked by `rlopt.training.loop.make_agent`, where they are looked up.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        if not 0 <= self.seed <= 2**32 - self.seeds:
            raise ValueError(f"seed must lie in [0, 2**32 - seeds], got {self.seed}")
        arms.check_options(self.options)
        names = [f"{rate:g}" for rate in self.rates]  # as their run folders are called
        if len(set(names)) != len(names):
            raise ValueError(f"each learning rate may be given once, got {', '.join(names)}")
        if self.trials:
            trials.check(self)
        if self.has_cells:
            for cell in self.cells:
                cell.check()
            return
        rate = self.resolved_learning_rate
        info = catalog.find(self.optimizer)
        if info is not None and info.scheduled:
            if self.learning_rate is not None:
                raise ValueError(f"{self.optimizer} takes no learning rate, got {self.learning_rate}")
            share = info.read(catalog.SHARE, self.options.get(catalog.SHARE))
            if share <= 0:
                raise ValueError(f"option {catalog.SHARE} must be positive, got {share}")
        elif info is not None and rate is None:
            raise ValueError(f"{self.optimizer} has no default learning rate; give one")
        elif rate is None or not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rate must be positive and finite, got {rate}")
        if self.agent in presets.CONFIGS and not isinstance(self.hyper, presets.CONFIGS[self.agent]):
            raise ValueError(
                f"agent {self.agent!r} takes a {presets.CONFIGS[self.agent].__name__}, got {type(self.hyper).__name__}"
            )
        falls = self.optimizer in catalog.OPTIMIZERS and self.options.get("schedule", "constant") != "constant"
        if falls and getattr(self.hyper, "anneal", False):
            chosen = self.options["schedule"]
            raise ValueError(
                f"{self.agent} anneals the rate already: give --no-anneal with the option schedule {chosen}"
            )
        if not is_atari(self.env) and self.atari != AtariConfig():
            raise ValueError(f"{self.env} is not an Atari game; the settings of atari are for those, got {self.atari}")
        parts = getattr(self.hyper, "parts", ())
        for part, text in self.optimizer_of.items():
            if part not in parts:
                known = f"there are {', '.join(parts)}" if parts else "one optimizer trains all of it"
                raise ValueError(f"optimizer_of: {self.agent} has no part {part!r}; {known}")
            arms.parse(text)
        self.atari.check()
        self.hyper.check()
        self.monitor.check(self.hyper)
        if self.monitor.stops and is_atari(self.env):
            raise ValueError(f"{self.env}: stop_below and halve_at are not for games, whose emulators cannot be parted")
