"""The command that films trained agents."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from rlopt.tracking.session import Tracking


@dataclass(frozen=True)
class Watch:
    """Film a trained agent playing: a GIF, and an MP4 where ffmpeg is installed.

    For what has a picture: Atari and MinAtar games, classic control, mazes and other grids.
    """

    folder: tyro.conf.Positional[Path]
    """Run folder, as `rlopt train` leaves it."""
    member: tuple[int, ...] = ()
    """Which of the run's seeds play, side by side; default: the one with the best final return."""
    max_steps: int = 3000
    """Steps after which the film ends, if the episode does not before."""
    sampled: bool = False
    """Act as at the end of training, randomly in part, and not greedily."""
    seed: int = 0
    """Seed of the episode."""
    params: str = "final"
    """Which parameters play: final, best, or those after a number of steps, as far as training has kept them."""
    out: Path | None = None
    """GIF to write; default: RUN_FOLDER/films/seed_0.gif, and so on, and the MP4 beside it."""
    trust: bool = False
    """Import the code that the folder names as `module:Class`: only for run folders of your own."""
    tracking: Annotated[Tracking, tyro.conf.arg(name="")] = field(default_factory=Tracking)

    def run(self) -> None:
        """Writes the film, prints what it shows."""
        from rlopt.play import film, reel, sent

        made = film.watch(
            self.folder,
            members=self.member,
            max_steps=self.max_steps,
            greedy=not self.sampled,
            seed=self.seed,
            params=self.params,
            out=self.out,
            trust=self.trust,
        )
        for episode in made.episodes:
            end = "" if episode.over else " so far (the episode was not over)"
            total = f"{episode.total:,.{reel.decimals([episode.total])}f}"
            print(f"seed {episode.member}: return {total} in {episode.steps:,} steps{end}")
        for path in made.files:
            print(f"film: {path}")
        sent.send(made, self.folder, self.tracking)
