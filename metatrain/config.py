"""Settings of a meta-training run. Nothing here imports jax, so that a command line can read it at once."""

import math
from dataclasses import dataclass
from typing import Literal

import tyro

RULES = ("celo2", "celo2_base")
# Published outer learning rates (Celo2: 5e-5, Celo2-base: 1e-4).
OUTER_LEARNING_RATES = {"celo2": 5e-5, "celo2_base": 1e-4}


@dataclass(frozen=True)
class MetaTrainConfig:
    """4 data sets x 8 tasks x 2 signs x 50 steps = 3,200 inner steps per outer iteration, as published.

    Two things differ from the published recipe: the data sets (these need no network), and that batches are drawn
    with replacement instead of from a permutation per epoch.
    """

    rule: tyro.conf.Positional[str] = "celo2"
    """Rule to train: celo2 (with Newton-Schulz) or celo2_base."""
    iterations: int = 100_000
    """Outer iterations, in total: a resumed run continues up to this number."""
    outer_learning_rate: float | None = None
    """AdamW's learning rate for theta. Default: the published one of the rule."""
    outer_weight_decay: float = 1e-4
    """AdamW's decoupled weight decay on theta."""
    datasets: tuple[str, ...] = ("digits", "mnist", "fashion", "fashion_binary")
    """Image sets, one task family each."""
    tasks_per_dataset: int = 8
    """Inner problems per family; each is run twice, with theta + e and theta - e."""
    hidden: int = 32
    """Hidden units of the inner networks."""
    batch_size: int = 64
    """Images per inner step."""
    truncation: int = 50
    """Inner steps per outer iteration."""
    min_unroll: int = 100
    """Shortest inner training run; lengths are log-uniform."""
    max_unroll: int = 2000
    """Longest inner training run."""
    std: float = 0.01
    """Standard deviation of the perturbations of theta."""
    augmentation: Literal["none", "global"] = "global"
    """Random re-parametrisation of the inner networks."""
    scale_range: tuple[float, float] = (1e-3, 1e3)
    """Range of its log-uniform scale."""
    seed: int = 0
    """Seed of everything random."""

    @property
    def num_tasks(self) -> int:
        """Inner problems over all families (each is a pair of trajectories)."""
        return len(self.datasets) * self.tasks_per_dataset

    @property
    def inner_steps_per_iteration(self) -> int:
        """Inner steps per outer iteration, both signs counted."""
        return 2 * self.num_tasks * self.truncation

    @property
    def resolved_learning_rate(self) -> float:
        """The outer learning rate in use."""
        if self.outer_learning_rate is not None:
            return self.outer_learning_rate
        return OUTER_LEARNING_RATES.get(self.rule, 1e-4)

    def check(self) -> None:
        """Refuses impossible settings before anything is compiled.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        for name in ("iterations", "tasks_per_dataset", "hidden", "batch_size", "truncation", "min_unroll"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.datasets:
            raise ValueError("datasets must name at least one image set")
        if self.min_unroll < self.truncation:
            raise ValueError(
                f"min_unroll ({self.min_unroll}) must not be shorter than truncation ({self.truncation}): "
                "at most one unroll may end within a truncation"
            )
        if self.max_unroll < self.min_unroll:
            raise ValueError(f"max_unroll ({self.max_unroll}) must be at least min_unroll ({self.min_unroll})")
        for name in ("std", "resolved_learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not (math.isfinite(self.outer_weight_decay) and self.outer_weight_decay >= 0):
            raise ValueError(f"outer_weight_decay must be >= 0, got {self.outer_weight_decay}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in [0, 2**32), got {self.seed}")
