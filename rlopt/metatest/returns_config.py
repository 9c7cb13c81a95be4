"""Settings of the suite of returns. Nothing here imports jax, so that a command line can read it at once."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from rlopt.optimizers import arms, catalog
from rlopt.training.config import TrainConfig

# Two small tasks of classic control and two games whose noise differs tenfold.
ENVS = ("CartPole-v1", "Acrobot-v1", "Freeway-MinAtar", "SpaceInvaders-MinAtar")
# What a rule is measured by, at fixed settings: the first one's interquartile mean is a score of 1.
REFERENCES = ("adam", "muon_routed")


@dataclass(frozen=True)
class ReturnsConfig:
    """A learned rule on a few short trainings of agents, beside Adam and routed Muon, each at its default rate."""

    source: tyro.conf.Positional[str]
    """Theta file, or the name of packaged weights such as celo2. The card beside a file gets the results."""
    optimizer: str | None = None
    """What uses the weights, [NAME=]OPTIMIZER[:OPTION=VALUE,...]; default: the rule that their card names."""
    agent: str = "ppo"
    """Which agent learns."""
    envs: tuple[str, ...] = ENVS
    """Environments to learn in; all count alike."""
    steps: int = 200_000
    """Environment steps of every training."""
    seeds: int = 16
    """Trainings per environment and optimizer."""
    seed: int = 0
    """Seed of the first training; the others follow on."""

    def arm(self, rule: str) -> arms.Arm:
        """What is judged: the optimizer that was named, or that of the weights' rule."""
        return arms.parse(self.optimizer or catalog_name(self.source, rule))

    def runs(self, rule: str) -> dict[str, dict[str, TrainConfig]]:
        """Settings of the trainings by environment and name; the rule comes last.

        rule: of the weights, as their card or their tree says.

        Raises:
          ValueError: for what no training can be made of, naming the setting, its value and what is allowed.
        """
        arm = self.arm(rule)
        info = catalog.find(arm.optimizer)
        if info is None or not info.learned:
            raise ValueError(f"{arm.optimizer} takes no weights; learned rules are {', '.join(learned())}")
        if arm.name in REFERENCES:
            raise ValueError(f"{arm.name} is what the rule is measured by: give it another name")
        for name, least in (("steps", 1), ("seeds", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.envs or len(set(self.envs)) < len(self.envs):
            raise ValueError(f"envs must be one or more, each once, got {self.envs}")
        packaged = self.source == info.weights
        mine: dict[str, Any] = {
            "optimizer": arm.optimizer,
            "arm": None if arm.name == arm.optimizer else arm.name,
            "options": dict(arm.options),
            "theta": None if packaged else Path(self.source),
        }
        found: dict[str, dict[str, TrainConfig]] = {}
        for env in self.envs:
            compared: dict[str, dict[str, Any]] = {x: {"optimizer": x} for x in REFERENCES} | {arm.name: mine}
            for name, own in compared.items():
                config: TrainConfig = TrainConfig(agent=self.agent, env=env, seeds=self.seeds, seed=self.seed, **own)
                config = replace(config, hyper=replace(config.hyper, total_steps=self.steps))
                config.check()
                found.setdefault(env, {})[name] = config
        return found


def learned() -> list[str]:
    """Optimizers of the catalog that have weights."""
    return [name for name, info in catalog.OPTIMIZERS.items() if info.learned]


def catalog_name(source: str, rule: str) -> str:
    """The optimizer of the catalog that uses weights: by the name of packaged ones, or else by their rule.

    Raises:
      ValueError: if there is none.
    """
    for name in (source, rule):
        if name in catalog.OPTIMIZERS and catalog.OPTIMIZERS[name].learned:
            return name
    raise ValueError(f"no optimizer is called {source} or {rule}: name one, --optimizer {' or '.join(learned())}")
