"""Settings of recurrent PPO. Nothing here imports jax."""

from dataclasses import dataclass

from agents import checks
from agents.config import PPOSettings

NETWORKS = ("mlp", "minatar", "nature", "small")


@dataclass(frozen=True)
class RPPOConfig(PPOSettings):
    """PPO with a memory: a gated recurrent unit between a dense layer and the heads of actor and critic."""

    num_envs: int = 16
    """Environments stepped together."""
    network: str = "mlp"
    """Layers before the memory. mlp: dense; minatar: one 3x3 convolution before them; nature: the three of DQN's Nature
    paper; small: two, for frames of 42 x 42. Or `module:name` of your own with a memory, see docs/networks.md."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the dense layers before the memory."""
    memory_size: int = 64
    """Units of the memory."""
    sequence_length: int | None = None
    """Steps that gradients flow back through: rollouts are learned from in sequences of this length, which begin with
    the memory that there was; None: a whole rollout."""

    @property
    def steps_per_sequence(self) -> int:
        """Steps of one environment that are learned from as a sequence."""
        return self.rollout_length if self.sequence_length is None else self.sequence_length

    def check(self) -> None:
        """Refuses impossible settings before anything is compiled.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        checks.at_least_one(self, "total_steps", "num_envs", "rollout_length", "memory_size", "minibatches")
        if self.sequence_length is not None:
            checks.at_least_one(self, "sequence_length")
        if self.rollout_length % self.steps_per_sequence:
            raise ValueError(
                f"a rollout of {self.rollout_length} steps does not divide into sequences of sequence_length "
                f"{self.sequence_length}"
            )
        sequences = self.env_steps_per_iteration // self.steps_per_sequence
        if sequences % self.minibatches:
            raise ValueError(
                f"{sequences} sequences of {self.steps_per_sequence} steps (num_envs {self.num_envs} x rollout_length "
                f"{self.rollout_length}) do not divide into {self.minibatches} minibatches"
            )
        super().check()
        checks.network(self, NETWORKS)
