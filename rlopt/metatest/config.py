"""Settings of the supervised suite. Nothing here imports jax, so that a command line can read it at once."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from rlopt.metatest.trials import draws
from rlopt.optimizers import arms, catalog

DEFAULT_TASKS = (
    *("wide", "deep", "small_set", "layer_norm", "residual"),
    *("convolution", "autoencoder", "teacher", "transformer", "lstm"),
)
# Everything is measured by Adam as optax has it (the catalog's epsilon is PPO's).
REFERENCE = "adam:eps=1e-8"
# The rules on all matrices, as they were trained, not on hidden ones only, as in RL: many of these networks have none.
LEARNED = (
    *("celo2:routing=matrices", "celo2_base:routing=all"),
    *("celo2_published", "celo2_base_published", "celo", "celo_adam"),
)
HAND_DESIGNED = (
    *(REFERENCE, "adamw:eps=1e-8", "nadamw:eps=1e-8", "radam:eps=1e-8", "adabelief", "rmsprop", "adagrad"),
    *("sgd", "nesterov", "lion", "lamb", "muon:routing=matrices"),
)


@dataclass(frozen=True)
class SuiteConfig:
    """Learned rules, each at one setting for all tasks, against hand-designed optimizers tuned on each task."""

    optimizers: tuple[str, ...] = LEARNED + HAND_DESIGNED
    """What is compared, [NAME=]OPTIMIZER[:OPTION=VALUE,...]; `rlopt optimizers` lists them. Adam, by which all are
    measured, always takes part."""
    tasks: tuple[str, ...] = DEFAULT_TASKS
    """Held-out tasks."""
    steps: int = 2000
    """Length of every training run, at a constant rate (rules with a schedule of their own follow it)."""
    seeds: int = 3
    """Runs per task and optimizer."""
    options: dict[str, float | str] = field(default_factory=dict)
    """What optimizers are told besides, such as `--options weight_decay 0.1`: those that have an option of the name."""
    theta: dict[str, Path] = field(default_factory=dict)
    """Weight files for learned optimizers, in place of the packaged ones: `--theta celo2 mine.theta`."""
    rates: dict[str, float] = field(default_factory=dict)
    """Learning rates of optimizers that are not to be tuned, by optimizer or by name: `--rates celo2 1e-3`. By default
    learned rules have the one that meta-validation found best for their weights."""
    trials: dict[str, int] = field(default_factory=dict)
    """Random draws of rate, betas, epsilon and weight decay, in place of fifteen rates, for hand-designed optimizers on
    each task, by optimizer or by name: `--trials nadamw 1000` (as many as in the paper)."""
    tune_learned: bool = False
    """Tune the learned rules on each task as well, as the hand-designed optimizers are."""

    @property
    def arms(self) -> dict[str, arms.Arm]:
        """What is compared, by name: learned rules, then the others, each in the order given.

        Raises:
          ValueError: for what is no arm, or is named twice.
        """
        missing = () if REFERENCE in self.optimizers else (REFERENCE,)
        found = arms.parse_all((*missing, *self.optimizers))
        learned = {name: arm for name, arm in found.items() if is_learned(arm)}
        return learned | found

    def check(self) -> None:
        """Refuses impossible numbers.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        for name, least in (("steps", 20), ("seeds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.steps % 10:
            raise ValueError(f"steps must be a multiple of 10, got {self.steps}")
        if not self.optimizers or not self.tasks:
            raise ValueError("at least one optimizer and one task are needed")
        compared = self.arms
        for name, arm in compared.items():
            info = catalog.find(arm.optimizer)
            if info and info.told:
                raise ValueError(
                    f"{name} reads what only agents tell (who acts, epochs, dormancy): it fits no supervised task; "
                    "try it with `rlopt train` or `rlopt compare`"
                )
        by_optimizer = {arm.optimizer: arm for arm in compared.values()}
        self._check_trials()
        for name, rate in self.rates.items():
            if name not in compared and name not in by_optimizer:
                raise ValueError(
                    f"a rate was given for {name!r}, which is not compared; there are {', '.join(compared)}"
                )
            info = catalog.find(compared[name].optimizer if name in compared else name)
            if info and info.scheduled:
                raise ValueError(f"{name} takes no learning rate, got {rate}")
            if not (math.isfinite(rate) and rate > 0):
                raise ValueError(f"rates must be finite and positive, got {rate} for {name}")

    def _check_trials(self) -> None:
        compared = self.arms
        for name, number in self.trials.items():
            meant = [own for own, arm in compared.items() if name in (own, arm.optimizer)]
            if not meant:
                among = ", ".join(compared)
                raise ValueError(f"trials were given for {name!r}, which is not compared; there are {among}")
            if REFERENCE in meant:
                raise ValueError(f"{REFERENCE}, by which all are measured, has the same rates always: none of {name}")
            if self.rates.keys() & {name, *meant}:
                raise ValueError(f"{name} has trials and a rate: give one of them")
            for own in meant:
                draws(compared[own].optimizer, (), number)


def is_learned(arm: arms.Arm) -> bool:
    """Whether an arm's optimizer has weights; not, if there is none of its name."""
    info = catalog.find(arm.optimizer)
    return info is not None and info.learned
