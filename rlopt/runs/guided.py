"""Searches that Optuna guides: batches of trials, each one program, with what came of one deciding on the next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rlopt.runs import experiment, folders, results, study
from rlopt.storage import run_lock
from rlopt.storage.stopping import Unfinished
from rlopt.tracking import session
from rlopt.training import shown
from rlopt.training.config import TrainConfig
from rlopt.training.search import Part

# Trains populations by the names of their folders: their runs, likewise.
_Train = Callable[[Mapping[str, TrainConfig], shown.Shown], dict[str, list[results.Run]]]
SCORE = "final_return_iqm"


class Plan(NamedTuple):
    """One optimizer: its population, but for the trials, and what they are taken from."""

    config: TrainConfig
    part: Part

    @property
    def corners(self) -> TrainConfig:
        """The population of the bounds of the space, for what is checked before anything is trained."""
        return replace(self.config, trials=self.part.corners())

    def population(self, some: Sequence[study.Proposed]) -> TrainConfig:
        """The population of some trials."""
        return replace(self.config, trials=tuple(dict(one.trial) for one in some))


def sweep(
    plans: Sequence[Plan],
    folder: Path | None = None,
    progress: bool = True,
    tracker: session.Session | None = None,
    launch: folders.Launch | None = None,
) -> tuple[list[results.Run], Path]:
    """Trains what Optuna proposes for every optimizer, batch by batch, and draws final returns over what differs.

    An optimizer that takes no setting of the space is trained once. What a folder given holds of the same search is
    not done again; more trials may be asked for. launch: as `experiment.compare`.

    Returns:
      The runs of the first so many trials, and where the plot lies.

    Raises:
      ValueError: as `experiment.compare`, for every optimizer before the first is trained; for a study of another
        space; for a folder in use.
      Unfinished: as `loop.train`.
    """
    names, folder = experiment.begin([plan.corners for plan in plans], folder, "sweep")
    with run_lock.held(folder), study.opened(folder) as storage, shown.of(progress).plan() as on_screen:
        on_screen.say(f"run folder: {folder}")

        def train(populations: Mapping[str, TrainConfig], bar: shown.Shown) -> dict[str, list[results.Run]]:
            if launch is not None:
                launch(folder, {folder / name: config for name, config in populations.items()})
            return {
                name: folders.train(folder / name, config, bar, tracker=tracker, root=folder)
                for name, config in populations.items()
            }

        try:
            runs = _rounds(dict(zip(names, plans, strict=True)), storage, on_screen, train)
        except Unfinished as stopped:
            if launch is None and type(stopped) is Unfinished:
                raise Unfinished(f"{stopped}, and the same command with --out {folder} with the study") from stopped
            raise
    return runs, experiment.draw_sweep(folder, runs, True, guided=True)


def _rounds(plans: Mapping[str, Plan], storage: object, on_screen: shown.Shown, train: _Train) -> list[results.Run]:
    """Rounds of a batch of each optimizer, until all have their trials; plans: by the names of their folders."""
    once = {name: plan.config for name, plan in plans.items() if not plan.part.takes}
    studies = {name: study.Study(storage, name, plan.part) for name, plan in plans.items() if plan.part.takes}
    for config in once.values():
        on_screen.expect(config)
    for name, mine in studies.items():
        for size in mine.sizes():
            on_screen.expect(replace(plans[name].config, trials=({},) * size))
    found = train(once, on_screen)
    while batches := {name: batch for name, mine in studies.items() if (batch := mine.batch())}:
        runs = train({name: plans[name].population(batch) for name, batch in batches.items()}, on_screen)
        for name, batch in batches.items():
            for one, run in zip(batch, runs[name], strict=True):
                studies[name].tell(one, run.summary[SCORE])
            on_screen.say(_said(plans[name], studies[name], runs[name]))
    # All are there, unless somebody has removed some since.
    found |= train({name: plans[name].population(mine.trials) for name, mine in studies.items()}, shown.of(False))
    return [run for name in plans for run in found[name]]


def _said(plan: Plan, mine: study.Study, runs: Sequence[results.Run]) -> str:
    known = [run.summary[SCORE] for run in runs if run.summary[SCORE] is not None]
    best = f", the best of the last {len(runs)} with {max(known):.1f}" if known else ""
    return f"{plan.config.title}: {sum(x.told for x in mine.trials)} of {plan.part.search.number} trials{best}"
