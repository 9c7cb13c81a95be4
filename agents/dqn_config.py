"""Settings of the agents that learn action values. Nothing here imports jax."""

from dataclasses import dataclass
from typing import Literal

from agents import checks
from agents.config import ReplaySizes, RolloutSizes
from agents.hyperparameters import traced

NETWORKS = ("mlp", "minatar", "nature", "small")


@dataclass(frozen=True)
class DQNConfig(ReplaySizes):
    """Double DQN with the settings that are usual for classic control (a 120-84 ReLU network)."""

    total_steps: int = 500_000
    """Environment steps per seed, over all environments; rounded down to whole iterations."""
    num_envs: int = 10
    """Environments stepped together."""
    steps_per_iteration: int = 1
    """Steps per environment between learning."""
    updates_per_iteration: int = 1
    """Gradient steps after each of these."""
    batch_size: int = 128
    """Transitions per gradient step."""
    replay_capacity: int = 10_000
    """Transitions kept."""
    learning_starts: int = 10_000
    """Environment steps before the first update."""
    prioritized: bool = False
    """Sample transitions in proportion to their last error, with importance weights."""
    priority_exponent: float = traced(0.6)
    """How much errors count in sampling: 0 not at all, 1 fully."""
    importance_exponent: float = traced(0.4)
    """Where the exponent of the importance weights begins; it rises linearly to 1."""
    n_step: int = 1
    """Rewards summed before bootstrapping."""
    double: bool = True
    """Let the online network choose the action that the target network values (double Q-learning)."""
    target_interval: int = 500
    """Environment steps between updates of the target network, copies or soft ones; rounded down to iterations."""
    target_rate: float = traced(1.0)
    """Share of the online network that goes into the target network each time; below 1 for soft
    updates, for which target_interval should be as short as an iteration."""
    loss: Literal["squared", "huber"] = "squared"
    """Loss of the temporal-difference error. Huber's is linear beyond 1: for rewards cut at 1. On CartPole it diverges,
    since the rare large errors at the ends of episodes weigh no more than the many small ones before."""
    gamma: float = traced(0.99)
    """Discount factor."""
    epsilon_start: float = traced(1.0)
    """Share of random actions at first."""
    epsilon_end: float = traced(0.05)
    """Share of random actions after exploration_fraction of training."""
    exploration_fraction: float = traced(0.5)
    """Share of training over which epsilon falls, linearly."""
    max_grad_norm: float | None = traced(None)
    """Clip the gradient's global norm to this; None: no clipping."""
    anneal: bool = False
    """Reduce the learning rate linearly to 0."""
    network: str = "mlp"
    """mlp: dense layers; minatar: one 3x3 convolution before them; nature: the three of DQN's Nature paper;
    small: two, for frames of 42 x 42. Or `module:name` of your own, see docs/networks.md."""
    hidden: tuple[int, ...] = (120, 84)
    """Widths of the dense layers."""
    activation: Literal["tanh", "relu"] = "relu"
    """Activation between the layers."""

    @property
    def iterations_per_target(self) -> int:
        """Iterations between updates of the target network."""
        return max(1, self.target_interval // self.env_steps_per_iteration)

    @property
    def updates_per_target(self) -> int:
        """Optimizer updates on the same objective: those between updates of the target network."""
        return self.iterations_per_target * self.updates_per_iteration

    def inert(self) -> dict[str, str]:
        """Settings that other settings switch off, and why."""
        unused = () if self.prioritized else ("priority_exponent", "importance_exponent")
        return dict.fromkeys(unused, "the configuration has prioritized False")

    def check(self) -> None:
        """Refuses impossible settings before anything is compiled.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        checks.at_least_one(
            self,
            *("total_steps", "num_envs", "steps_per_iteration", "updates_per_iteration", "batch_size"),
            *("replay_capacity", "n_step", "target_interval"),
        )
        checks.shares(self, "gamma", "epsilon_start", "epsilon_end", "exploration_fraction", "priority_exponent")
        checks.shares(self, "importance_exponent")
        if not 0 < self.target_rate <= 1:
            raise ValueError(f"target_rate must lie in (0, 1], got {self.target_rate}")
        if self.replay_capacity < max(self.batch_size, self.env_steps_per_iteration):
            raise ValueError(
                f"replay_capacity ({self.replay_capacity}) must hold a batch of batch_size ({self.batch_size}) "
                f"and the {self.env_steps_per_iteration} steps of an iteration"
            )
        if self.learning_starts < max(self.batch_size, self.n_step * self.num_envs):
            raise ValueError(
                f"learning_starts ({self.learning_starts}) must be at least batch_size ({self.batch_size}) and "
                f"n_step x num_envs ({self.n_step * self.num_envs}): there must be something to learn from"
            )
        if self.num_updates < 1:
            raise ValueError(
                f"total_steps ({self.total_steps}) must go beyond learning_starts ({self.learning_starts})"
            )
        checks.positive_or_none(self, "max_grad_norm")
        checks.one_of(self, loss=("squared", "huber"))
        checks.network(self, NETWORKS)
        checks.widths(self)
        checks.without_effect(self)


@dataclass(frozen=True)
class PQNConfig(RolloutSizes):
    """PQN, Q-learning without replay and target network, with the settings that are usual for classic control."""

    total_steps: int = 500_000
    """Environment steps per seed, over all environments; rounded down to whole iterations."""
    num_envs: int = 32
    """Environments stepped together."""
    rollout_length: int = 64
    """Steps per environment and iteration."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 16
    """Parts into which each pass is split."""
    gamma: float = traced(0.99)
    """Discount factor."""
    q_lambda: float = traced(0.95)
    """Decay of the lambda-returns: 0 bootstraps after one step, 1 at the end of the rollout."""
    epsilon_start: float = traced(1.0)
    """Share of random actions at first."""
    epsilon_end: float = traced(0.05)
    """Share of random actions after exploration_fraction of training."""
    exploration_fraction: float = traced(0.2)
    """Share of training over which epsilon falls, linearly."""
    max_grad_norm: float | None = traced(10.0)
    """Clip the gradient's global norm to this; None: no clipping."""
    anneal: bool = True
    """Reduce the learning rate linearly to 0, once per iteration."""
    network: str = "mlp"
    """mlp: dense layers; minatar: one 3x3 convolution before them; nature: the three of DQN's Nature paper;
    small: two, for frames of 42 x 42. Or `module:name` of your own, see docs/networks.md."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the dense layers; layer norm before every activation."""
    activation: Literal["tanh", "relu"] = "relu"
    """Activation between the layers."""

    def inert(self) -> dict[str, str]:
        """Settings that other settings switch off, and why: none."""
        return {}

    def check(self) -> None:
        """Refuses impossible settings before anything is compiled.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        checks.at_least_one(self, "total_steps", "num_envs", "rollout_length", "epochs", "minibatches")
        checks.shares(self, "gamma", "q_lambda", "epsilon_start", "epsilon_end", "exploration_fraction")
        checks.rollout(self)
        checks.positive_or_none(self, "max_grad_norm")
        checks.network(self, NETWORKS)
        checks.widths(self)
