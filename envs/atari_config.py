"""Settings of Atari games. Nothing here imports jax or envpool."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from envs import pool_ids


@dataclass(frozen=True)
class AtariConfig:
    """How a game is shown and played; the defaults are those usual for training (Mnih et al., Nature 2015).

    For evaluation change them by `FULL_GAMES`.
    """

    image_size: int = 84
    """Height and width of a frame, in pixels."""
    stack: int = 4
    """Frames in an observation."""
    frame_skip: int = 4
    """Frames for which an action is held."""
    noop_max: int = 30
    """Up to this many idle frames begin a game."""
    sticky_actions: float = 0.0
    """Probability that the last action is repeated instead (0.25 in Machado et al., arXiv 1709.06009)."""
    full_action_space: bool = False
    """All 18 actions in every game, in place of those that do something."""
    episodic_life: bool = True
    """The loss of a life ends what the agent takes for an episode; reported returns are of full games all the same."""
    clip_rewards: bool = True
    """The agent learns from the signs of rewards; reported returns are raw all the same."""
    max_steps: int = 27_000
    """Agent steps after which a game is cut off (27,000 are 30 minutes with a frame skip of 4)."""
    stagger: int = 0
    """At the start, games are moved on by random actions so that they stand this many steps apart from the first to
    the last, and games of one length do not all end at once (2048: Freeway's length). These steps are no part of
    training, and a game that they began counts in no return. 0: all games begin at their beginning."""
    num_threads: int = 0
    """Threads of a pool of games; 0: one per core, no more than games."""

    def check(self) -> None:
        """Refuses impossible settings.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        for name, least in (("image_size", 8), ("stack", 1), ("frame_skip", 1), ("noop_max", 1), ("max_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.sticky_actions < 1:
            raise ValueError(f"sticky_actions must lie in [0, 1), got {self.sticky_actions}")
        for name in ("stagger", "num_threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


# Changes of an `AtariConfig` for playing games from beginning to end, with their own rewards.
FULL_GAMES: Mapping[str, Any] = MappingProxyType({"episodic_life": False, "clip_rewards": False, "stagger": 0})
# How the ids of Atari games end; of others, only MuJoCo's do.
IDS_END = "-v5"


def is_atari(env_id: str) -> bool:
    """Whether an id is that of an Atari game, whose settings are an `AtariConfig`; told by its ending."""
    return ":" not in env_id and env_id.endswith(IDS_END) and env_id not in pool_ids.ALL
