"""Films to the trackers, into the runs that a run folder has there."""

import dataclasses
from pathlib import Path

from rlopt.play.film import Film
from rlopt.runs import results
from rlopt.tracking import session, subjects, trackers


def send(film: Film, folder: Path, tracking: session.Tracking) -> None:
    """Sends a film to what is tracked: as `film/seed-0`, after the rows of training.

    In Weights & Biases it comes into the run that the training was; where each seed was one, into those of the seeds
    that play; where the training was not tracked, into a new one.

    Args:
      film: with a GIF first.
      folder: of the run.
      tracking: where to, and how.

    Warns:
      UserWarning: naming a tracker that fails.

    Raises:
      ValueError: for a damaged note of the folder's runs in Weights & Biases.
    """
    if tracking.wandb in ("off", "disabled") and not tracking.tensorboard:
        return
    config = results.read_config(folder)
    subject = subjects.population(folder, folder, config)
    playing = [f"seed-{episode.member}" for episode in film.episodes]
    known = trackers.known_runs(folder)
    by_seed = "" not in known and set(playing) <= set(known)
    if by_seed:
        subject = dataclasses.replace(subject, members={name: subject.members[name] for name in playing})
    runs = {"wandb_runs": "seed" if by_seed else "population"}
    kind = session.PopulationTracking(**dataclasses.asdict(tracking) | runs)
    returns = {name: episode.total for name, episode in zip(playing, film.episodes, strict=True)}
    row = {
        subject.step: _step(folder),
        f"film/{'+'.join(playing)}": film.files[0].resolve(),
        "film_return": list(returns.values()) if by_seed else returns,
    }
    with kind.open() as opened, session.follow(opened, [subject]) as report:
        report([row])


def _step(folder: Path) -> int:
    """A step after those of training and of earlier films: each tracker leaves something behind for each of them."""
    run = results.read_run(folder)
    left = sum(1 for place in (trackers.WANDB, trackers.TENSORBOARD) for _ in (folder / place).glob("*"))
    return int(run.steps[-1]) + 1 + left
