"""Runs a benchmark: trains what is missing of it, in an order that finishes one optimizer after the other."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from rlopt.benchmark import protocol, random_policy, tuning
from rlopt.benchmark.protocol import FINAL, Choice, Plan
from rlopt.runs import folders, results
from rlopt.storage import run_lock
from rlopt.tracking import session
from rlopt.training import loop
from rlopt.training.config import TrainConfig


def run(
    plan: Plan,
    folder: Path | None = None,
    progress: bool = True,
    tracker: session.Session | None = None,
    launch: folders.Launch | None = None,
    extend: bool = False,
) -> Path:
    """Trains everything that a plan asks for and that the folder does not hold.

    launch: trains populations elsewhere; then those of all optimizers that rates are chosen from come first, and then
      all reported ones. None: here.
    extend: as long as a chosen learning rate is the lowest or highest that was tried, another one beyond it is tried,
      for every optimizer by the same rule, `tuning.MOST_EXTENSIONS` times on each side.

    Returns:
      The folder.

    Raises:
      ValueError: for what cannot be run, before anything is trained; for a folder with something else.
      Unfinished: as `loop.train`.
    """
    plan.check()
    for optimizer in plan.all_optimizers:
        for env_id in plan.environments:
            loop.build(plan.tuning_config(optimizer, env_id))
            loop.build(dataclasses.replace(plan.tuning_config(optimizer, env_id), seeds=plan.seeds))
    folder = folder or results.new_folder(f"benchmark-{plan.agent}-{plan.suite}")
    run_lock.check_links(folder)
    protocol.write_plan(folder, plan)
    protocol.play_randomly(folder, plan, random_policy.play)

    def train(place: Path, config: TrainConfig) -> None:
        folders.train(place, config, progress, draw=False, tracker=tracker, root=folder)

    if launch is not None:
        choices = _tune(plan, folder, plan.all_optimizers, extend, lambda batch: launch(folder, batch))
        cells = [(optimizer, env_id) for optimizer in choices for env_id in plan.environments]
        rates = {(optimizer, env_id): choices[optimizer].rates(env_id) for optimizer, env_id in cells}
        launch(folder, {protocol.place(folder, FINAL, e, o): plan.config(o, e, rates=rates[o, e]) for o, e in cells})

    def train_all(batch: dict[Path, TrainConfig]) -> None:
        for place, config in batch.items():
            train(place, config)

    for optimizer in plan.all_optimizers:
        chosen = _tune(plan, folder, (optimizer,), extend, train_all)[optimizer]
        for env_id in plan.environments:
            place = protocol.place(folder, FINAL, env_id, optimizer)
            # One rate after the other: each is the same program as that of every other environment and rate.
            one_by_one = [(rate,) for rate in chosen.rates(env_id)]
            for only in one_by_one or ((),):
                train(place, plan.config(optimizer, env_id, rates=only))
    return folder


def _tune(
    plan: Plan,
    folder: Path,
    optimizers: Sequence[str],
    extend: bool,
    train: Callable[[dict[Path, TrainConfig]], None],
) -> dict[str, Choice]:
    """Trains what rates are chosen from, one rung of all the optimizers after the other, until nothing is missing."""
    rates = {optimizer: tuning.tried(folder, plan, optimizer) for optimizer in optimizers}
    while True:
        for number, rung in enumerate(tuning.rungs(plan)):
            batch = {}
            for optimizer in optimizers:
                here, _ = tuning.rates_of(folder, plan, optimizer, rates[optimizer], number)
                for env_id, mine in here.items():
                    if mine:
                        place = protocol.place(folder, rung.stage, env_id, optimizer)
                        batch[place] = tuning.config(plan, optimizer, env_id, rung, mine)
            train(batch)
        choices = {optimizer: tuning.choice(folder, plan, optimizer, rates[optimizer]) for optimizer in optimizers}
        more = {o: tuning.extension(plan, o, rates[o], choices[o]) if extend else () for o in optimizers}
        if not any(more.values()):
            return choices
        rates = {optimizer: tuple(sorted((*rates[optimizer], *more[optimizer]))) for optimizer in optimizers}
