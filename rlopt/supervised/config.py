"""Settings of the supervised suite. Nothing here imports jax, so that a command line can read it at once."""

import math
from dataclasses import dataclass

from rlopt.catalog import OPTIMIZERS

DEFAULT_TASKS = (
    *("wide", "deep", "small_set", "layer_norm", "residual"),
    *("convolution", "autoencoder", "teacher", "transformer", "lstm"),
)
DEFAULT_OPTIMIZERS = (
    *("adam", "adamw", "nadam", "radam", "adabelief", "rmsprop"),
    *("adagrad", "sgd", "nesterov", "lion", "lamb", "muon"),
)


@dataclass(frozen=True)
class SuiteConfig:
    """Learned rules, each at one setting for all tasks, against hand-designed optimizers tuned on each task."""

    rules: tuple[str, ...] = ("celo2", "celo2_base", "celo", "celo_adam")
    """Learned rules, NAME or NAME:FILE with weights of your own."""
    optimizers: tuple[str, ...] = DEFAULT_OPTIMIZERS
    """Hand-designed optimizers; adam, by which all are measured, always takes part."""
    tasks: tuple[str, ...] = DEFAULT_TASKS
    """Held-out tasks."""
    steps: int = 2000
    """Length of every training run, at a constant rate (rules with a schedule of their own follow it)."""
    seeds: int = 3
    """Runs per task and optimizer."""
    rates: tuple[float, ...] = ()
    """Learning rate of each rule, in the order of the rules (0 for those without); default: the one that
    meta-validation found best for its weights."""
    tune_rules: bool = False
    """Tune the learned rules on each task as well, as the hand-designed optimizers are."""

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
        if not (self.rules or self.optimizers) or not self.tasks:
            raise ValueError("at least one rule or optimizer and one task are needed")
        if len(set(self.rules)) < len(self.rules):
            raise ValueError(f"each rule may be named once, got {', '.join(self.rules)}")
        if self.rates and len(self.rates) != len(self.rules):
            raise ValueError(f"{len(self.rates)} rates were given for {len(self.rules)} rules; give one each, or none")
        for spec, rate in zip(self.rules, self.rates, strict=bool(self.rates)):
            info = OPTIMIZERS.get(spec.partition(":")[0])
            if info and info.learning_rate is None and rate:
                raise ValueError(f"{spec} takes no learning rate, got {rate} (0 stands for none)")
            if not (math.isfinite(rate) and rate >= 0) or (info and info.learning_rate is not None and not rate):
                raise ValueError(f"rates must be finite and positive, got {rate} for {spec}")
