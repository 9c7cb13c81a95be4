"""Suites: environments whose scores are taken together to judge an optimizer. Imports no jax."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from rlopt.training import presets

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)


class Suite(NamedTuple):
    """Environments with settings.

    summary: one line for listings.
    envs: environment ids. The first one's preset gives the learning rates that are tried on all.
    preset: which preset the agents' settings come from.
    steps: environment steps per seed; None: those of each environment's preset.
    optimizers, seeds, tuning_seeds, factors: what a plan takes if nothing else is said, see `plan.Plan`.
    atari: what differs from the preset in how Atari games are played.
    """

    summary: str
    envs: tuple[str, ...]
    preset: Literal["default", "fast"] = "default"
    steps: int | None = None
    optimizers: tuple[str, ...] = ("adam", "celo2")
    seeds: int = 10
    tuning_seeds: int = 4
    factors: tuple[float, ...] = FACTORS
    atari: Mapping[str, Any] = MappingProxyType({})


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
        # Two of the games have one length for all, so that without staggering they end together.
        "atari-fast": Suite(
            "five Atari games with the fast preset, each optimizer at its own rate; most of a day on two cores",
            ("Breakout-v5", "Freeway-v5", "Asterix-v5", "SpaceInvaders-v5", "Boxing-v5"),
            preset="fast",
            steps=1_000_000,
            optimizers=("adam", "muon_routed", "celo2"),
            seeds=2,
            tuning_seeds=0,
            factors=(1.0,),
            atari=MappingProxyType({"stagger": 2048}),
        ),
    }
)


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
