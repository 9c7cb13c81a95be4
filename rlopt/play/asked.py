"""What of a film can be refused before jax is imported: nothing here imports it, nor numpy."""

from collections.abc import Sequence
from pathlib import Path

from rlopt.training.config import TrainConfig

# Environments of which there is a drawing, see `scenes`.
DRAWN = (
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"),
    *("Reacher-misc", "Swimmer-misc", "PointRobot-misc", "FourRooms-misc", "MetaMaze-misc", "FrozenLake-misc"),
)
# Beside MinAtar's, those that show a grid.
GRIDS = ("Catch-bsuite", "DeepSea-bsuite", "Pong-misc")
# Nothing of them is to be seen. What is in none of these lists is told by its observations.
BLANK = (
    *("MemoryChain-bsuite", "UmbrellaChain-bsuite", "DiscountingChain-bsuite", "SimpleBandit-bsuite"),
    *("BernoulliBandit-misc", "GaussianBandit-misc"),
)
# More are too wide for any screen.
MAX_MEMBERS = 8


def no_picture(env_id: str) -> str:
    """What is said of an environment without a picture."""
    known = ", ".join(DRAWN + GRIDS)
    return (
        f"there is no picture of {env_id}; to be watched there are Atari and MinAtar games, {known}, "
        "and whatever shows a grid, [height, width] or [height, width, channels]"
    )


def check(config: TrainConfig, members: Sequence[int], max_steps: int, out: Path | None) -> None:
    """Refuses a film that cannot be made.

    Args:
      config: of the run.
      members, max_steps, out: as `film.watch`.

    Raises:
      ValueError: naming what was asked for and what is allowed.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    if out is not None and out.suffix.lower() != ".gif":
        raise ValueError(f"a film is written as NAME.gif, got {out}")
    for member in members:
        if not config.seed <= member < config.seed + config.seeds:
            raise ValueError(f"the run has the seeds {config.seed} to {config.seed + config.seeds - 1}, got {member}")
    if len(members) > MAX_MEMBERS or len(set(members)) < len(members):
        raise ValueError(f"up to {MAX_MEMBERS} seeds play side by side, each once, got {', '.join(map(str, members))}")
    if config.env in BLANK:
        raise ValueError(no_picture(config.env))
