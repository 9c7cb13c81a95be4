"""Settings of the agents. Nothing here imports jax, so that a command line can read it at once."""

import math
from dataclasses import dataclass
from typing import Literal

from agents import checks
from agents.hyperparameters import traced

NETWORKS = ("mlp", "shared_mlp", "minatar", "nature", "small")


class RolloutSizes:
    """Sizes of an agent that learns from each rollout for some epochs; they follow from its settings."""

    total_steps: int
    num_envs: int
    rollout_length: int
    epochs: int
    minibatches: int

    @property
    def env_steps_per_iteration(self) -> int:
        """Environment steps per iteration, over all environments."""
        return self.num_envs * self.rollout_length

    @property
    def minibatch_size(self) -> int:
        """Transitions per gradient step."""
        return self.env_steps_per_iteration // self.minibatches

    @property
    def num_iterations(self) -> int:
        """Iterations of rollout and learning."""
        return self.total_steps // self.env_steps_per_iteration

    @property
    def updates_per_target(self) -> int:
        """Optimizer updates on the same objective: those of one rollout."""
        return self.epochs * self.minibatches

    @property
    def epochs_per_target(self) -> int:
        """Passes over the data of one objective."""
        return self.epochs

    @property
    def num_updates(self) -> int:
        """Optimizer updates over the whole training."""
        return self.num_iterations * self.epochs * self.minibatches


class ReplaySizes:
    """Sizes of an agent that learns from a replay; they follow from its settings."""

    total_steps: int
    num_envs: int
    steps_per_iteration: int
    updates_per_iteration: int
    batch_size: int
    learning_starts: int

    @property
    def env_steps_per_iteration(self) -> int:
        """Environment steps per iteration, over all environments."""
        return self.num_envs * self.steps_per_iteration

    @property
    def minibatch_size(self) -> int:
        """Transitions per gradient step, by the name that other agents have for it."""
        return self.batch_size

    @property
    def num_iterations(self) -> int:
        """Iterations of acting and learning."""
        return self.total_steps // self.env_steps_per_iteration

    @property
    def epochs_per_target(self) -> int:
        """Passes over the data of one objective, by the name that other agents have for it: batches are drawn anew."""
        return 1

    @property
    def warmup_iterations(self) -> int:
        """Iterations without learning."""
        return -(-self.learning_starts // self.env_steps_per_iteration)

    @property
    def num_updates(self) -> int:
        """Optimizer updates over the whole training, of each part that has its own."""
        return max(0, self.num_iterations - self.warmup_iterations) * self.updates_per_iteration


@dataclass(frozen=True)
class PPOSettings(RolloutSizes):
    """What PPO with and without a memory have in common."""

    total_steps: int = 500_000
    """Environment steps per seed, over all environments; rounded down to whole iterations."""
    num_envs: int = 4
    """Environments stepped together."""
    rollout_length: int = 128
    """Steps per environment and iteration."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Parts into which each pass is split."""
    gamma: float = traced(0.99)
    """Discount factor."""
    gae_lambda: float = traced(0.95)
    """Decay of the advantage estimate (generalised advantage estimation)."""
    clip_epsilon: float = traced(0.2)
    """The probability ratio is clipped to 1 +- this."""
    clip_value: bool = False
    """Clip the value loss around the old values as well (by clip_epsilon)."""
    entropy_coef: float = traced(0.01)
    """Weight of the entropy bonus."""
    value_coef: float = traced(0.5)
    """Weight of the value loss."""
    max_grad_norm: float | None = traced(0.5)
    """Clip the gradient's global norm to this; None: no clipping. (Rules that normalise their own update ignore it
    in the main; Adam does not.)"""
    normalize_advantages: bool = True
    """Standardise the advantages within each minibatch."""
    anneal: bool = True
    """Reduce the learning rate linearly to 0, once per iteration."""
    bootstrap_on_truncation: bool = True
    """Value the state after a time limit; False treats it as an end, as older code and results do."""
    target_kl: float | None = traced(None)
    """End an iteration's updates once the policy has moved this far (approximate KL divergence); None: never."""
    normalize_observations: bool = False
    """Standardise observations by their running mean and deviation; usual for continuous control."""
    normalize_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return; usual for continuous control."""
    squash: Literal["clip", "tanh"] = "clip"
    """How a Gaussian's samples are brought into the bounds of a continuous action space."""
    optimizer_loss: Literal["total", "value"] = "total"
    """Which loss rules that look at the loss are told. Total: what is minimised; value: the critic's part."""
    network: str = "mlp"
    """mlp: separate actor and critic of dense layers; shared_mlp: one torso with two heads; minatar: one 3x3
    convolution and a dense layer, shared; nature: the three convolutions of DQN's Nature paper; small: two, for
    frames of 42 x 42; both shared likewise. Or `module:name` of your own, see docs/networks.md."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the dense layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation between the layers."""

    def inert(self) -> dict[str, str]:
        """Settings that other settings switch off, and why."""
        return {} if self.target_kl is not None else {"target_kl": "the configuration has target_kl None"}

    def check(self) -> None:
        """Refuses impossible settings before anything is compiled.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        checks.at_least_one(self, "total_steps", "num_envs", "rollout_length", "epochs", "minibatches")
        checks.rollout(self)
        if self.normalize_advantages and self.minibatch_size < 2:
            raise ValueError(
                f"{self.minibatches} minibatches leave one sample each, whose standardised advantage is always 0; use "
                "fewer, or normalize_advantages=False"
            )
        checks.shares(self, "gamma", "gae_lambda")
        checks.positive_or_none(self, "clip_epsilon", "max_grad_norm", "target_kl")
        for name in ("entropy_coef", "value_coef"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and >= 0, got {value}")
        checks.one_of(self, squash=("clip", "tanh"), optimizer_loss=("total", "value"))
        checks.network(self, NETWORKS)
        checks.widths(self)
        checks.without_effect(self)


@dataclass(frozen=True)
class PPOConfig(PPOSettings):
    """PPO with the settings that are usual for classic control (separate 64-64 tanh networks)."""
