"""Settings of a search on returns. Nothing here imports jax."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from rlopt.training import presets
from rlopt.training.config import TrainConfig

# Parts of a training that its score is made of; each needs an iteration, at least.
PARTS = 20
# Cheap, and unlike each other: dense and sparse rewards, episodes of 10 to 2,500 steps.
ENVS = ("CartPole-v1", "Catch-bsuite", "Freeway-MinAtar", "SpaceInvaders-MinAtar")


@dataclass(frozen=True)
class SearchConfig:
    """CMA-ES over the weights of `celo2.scale_by_step_head`: members are whole trainings, judged by their returns."""

    optimizer: str = "celo2"
    """Whose steps the head scales, at its rate for the environment: `rlopt optimizers`."""
    options: dict[str, float | str] = field(default_factory=dict)
    """What the optimizer is told besides, such as `--options size adam`."""
    theta: Path | None = None
    """Weights in place of the packaged ones (learned rules only)."""
    learning_rate: float | None = None
    """On classic control; every other preset has a factor. Default: the optimizer's own."""
    agent: str = "ppo"
    """Which agent learns."""
    envs: tuple[str, ...] = ENVS
    """Environments to learn from; all count alike."""
    steps: tuple[int, ...] = (100_000, 200_000)
    """Environment steps of a training; one of them is drawn for every generation."""
    members: int = 16
    """Heads per generation."""
    seeds: int = 2
    """Trainings per head and environment, with the same keys for all heads of a generation."""
    sigma: float = 0.3
    """Standard deviation of the first generation, in units of the weights: e^0.3 is a third more."""
    generations: int = 60
    """Generations, in total: a resumed search runs up to this number."""
    seed: int = 0
    """Seed of everything random."""

    def run(self, env: str, steps: int) -> TrainConfig:
        """The settings of one training without a head."""
        found: TrainConfig = TrainConfig(
            agent=self.agent, env=env, optimizer=self.optimizer, theta=self.theta, options=self.options
        )
        rate = self.learning_rate
        return replace(
            found,
            learning_rate=None if rate is None else rate * presets.find(self.agent, env).rate,
            hyper=replace(found.hyper, total_steps=steps),
        )

    def check(self) -> None:
        """Refuses impossible settings.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        for name, least in (("members", 4), ("seeds", 1), ("generations", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")
        for name in ("envs", "steps"):
            found = getattr(self, name)
            if not found or len(set(found)) < len(found):
                raise ValueError(f"{name} must be one or more, each once, got {found}")
        for env in self.envs:
            for steps in self.steps:
                config = self.run(env, steps)
                config.check()
                if config.hyper.num_iterations < PARTS:
                    least = PARTS * config.hyper.env_steps_per_iteration
                    raise ValueError(
                        f"steps must be at least {least:,} on {env}, {PARTS} parts to score, got {steps:,}"
                    )
