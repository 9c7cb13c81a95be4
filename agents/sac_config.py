"""Settings of SAC. Nothing here imports jax."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from agents import checks
from agents.config import ReplaySizes
from agents.hyperparameters import traced

NETWORKS = ("mlp",)


@dataclass(frozen=True)
class SACConfig(ReplaySizes):
    """SAC with the settings that are usual for continuous control (256-256 ReLU networks)."""

    # What has an optimizer of its own, in the order of updates.
    parts: ClassVar[tuple[str, ...]] = ("critic", "actor", "temperature")

    total_steps: int = 500_000
    """Environment steps per seed, over all environments; rounded down to whole iterations."""
    num_envs: int = 1
    """Environments stepped together."""
    steps_per_iteration: int = 1
    """Steps per environment between learning."""
    updates_per_iteration: int = 1
    """Gradient steps after each of these, of critics, actor and temperature each."""
    batch_size: int = 256
    """Transitions per gradient step."""
    replay_capacity: int = 100_000
    """Transitions kept."""
    learning_starts: int = 1_000
    """Environment steps before the first update; their actions are uniformly random."""
    gamma: float = traced(0.99)
    """Discount factor."""
    target_rate: float = traced(0.005)
    """Share of the critics that goes into their target copies at every gradient step."""
    entropy_per_action: float = traced(-1.0)
    """The temperature is learned so that the policy's entropy becomes this times the dimension of the actions, which
    are measured from -1 to 1."""
    initial_temperature: float = traced(1.0)
    """Weight of the entropy at first."""
    actor_rate: float = traced(1.0)
    """The actor's learning rate as a multiple of the critics'."""
    temperature_rate: float = traced(1.0)
    """The temperature's learning rate as a multiple of the critics'."""
    max_grad_norm: float | None = traced(None)
    """Clip the global norm of each part's gradient to this; None: no clipping."""
    anneal: bool = False
    """Reduce the learning rate linearly to 0."""
    network: str = "mlp"
    """mlp: dense layers, on the flattened observation. Or `module:name` of your own, see docs/networks.md."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the dense layers of actor and critics."""
    activation: Literal["tanh", "relu"] = "relu"
    """Activation between the layers."""

    @property
    def updates_per_target(self) -> int:
        """Optimizer updates on the same objective: the targets move with every one."""
        return 1

    def inert(self) -> dict[str, str]:
        """Settings that other settings switch off, and why: none."""
        return {}

    def check(self) -> None:
        """Refuses impossible settings before anything is compiled.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        checks.at_least_one(
            self,
            *("total_steps", "num_envs", "steps_per_iteration", "updates_per_iteration", "batch_size"),
            "replay_capacity",
        )
        checks.shares(self, "gamma")
        if not 0 < self.target_rate <= 1:
            raise ValueError(f"target_rate must lie in (0, 1], got {self.target_rate}")
        if not math.isfinite(self.entropy_per_action):
            raise ValueError(f"entropy_per_action must be finite, got {self.entropy_per_action}")
        for name in ("initial_temperature", "actor_rate", "temperature_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if self.replay_capacity < max(self.batch_size, self.env_steps_per_iteration):
            raise ValueError(
                f"replay_capacity ({self.replay_capacity}) must hold a batch of batch_size ({self.batch_size}) "
                f"and the {self.env_steps_per_iteration} steps of an iteration"
            )
        if self.learning_starts < self.batch_size:
            raise ValueError(
                f"learning_starts ({self.learning_starts}) must be at least batch_size ({self.batch_size}): there must "
                "be something to learn from"
            )
        if self.num_updates < 1:
            raise ValueError(
                f"total_steps ({self.total_steps}) must go beyond learning_starts ({self.learning_starts})"
            )
        checks.positive_or_none(self, "max_grad_norm")
        checks.network(self, NETWORKS)
        checks.widths(self)
