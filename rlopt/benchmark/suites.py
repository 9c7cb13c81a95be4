"""Suites: environments whose scores are taken together to judge an optimizer. Imports no jax."""

from types import MappingProxyType
from typing import Literal, NamedTuple

from rlopt.training import presets


class Suite(NamedTuple):
    """Environments with settings.

    summary: one line for listings.
    envs: environment ids. The first one's preset gives the learning rates that are tried on all.
    preset: which preset the agents' settings come from.
    steps: environment steps per seed; None: those of each environment's preset.
    """

    summary: str
    envs: tuple[str, ...]
    preset: Literal["default", "fast"] = "default"
    steps: int | None = None


SUITES = MappingProxyType(
    {
        "quick": Suite(
            "three small tasks, a minute per optimizer", ("CartPole-v1", "Acrobot-v1", "Catch-bsuite"), steps=100_000
        ),
        "classic": Suite(
            "classic control; two tasks have continuous actions, which only PPO takes",
            ("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCarContinuous-v0"),
        ),
        "minatar": Suite(
            "the MinAtar games that gymnax learns from without memory; 5 or 10 million steps",
            ("Breakout-MinAtar", "Asterix-MinAtar", "Freeway-MinAtar", "SpaceInvaders-MinAtar"),
        ),
        "bsuite": Suite(
            "bsuite's tasks that need no memory: control, exploration, noise",
            ("Catch-bsuite", "DeepSea-bsuite", "UmbrellaChain-bsuite", "DiscountingChain-bsuite"),
            steps=200_000,
        ),
        "atari-small": Suite(
            "four Atari games with the fast preset; a day on a few cores",
            ("Pong-v5", "Breakout-v5", "Qbert-v5", "SpaceInvaders-v5"),
            preset="fast",
        ),
    }
)
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)


def candidate_rates(
    agent: str,
    env_id: str,
    optimizer: str,
    preset: str = "default",
    rates: tuple[float, ...] = (),
    factors: tuple[float, ...] = FACTORS,
) -> tuple[float, ...]:
    """The learning rates to try of an optimizer; () for one that takes none, or that is unknown.

    Args:
      agent, env_id, preset: decide the optimizer's own rate.
      optimizer: its name.
      rates: to try, if there are any; otherwise factors times its own.

    Raises:
      ValueError: if there is nothing to try, or no rate to multiply.
    """
    if agent not in presets.AGENTS:
        raise ValueError(f"unknown agent {agent!r}; there are {', '.join(presets.AGENTS)}")
    info = presets.catalog.find(optimizer)
    if info is None or info.scheduled:
        return ()
    if rates:
        return rates
    if not factors:
        raise ValueError("give at least one learning rate, or factor")
    own = presets.learning_rate(agent, env_id, optimizer, preset)
    if own is None:
        raise ValueError(f"{optimizer} has no default learning rate; give --learning-rates")
    # Rounded, so that 0.3 times 0.001 is 0.0003.
    return tuple(float(f"{factor * own:.6g}") for factor in factors)
