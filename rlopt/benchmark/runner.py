"""Runs a benchmark: trains what is missing of it, in an order that finishes one optimizer after the other."""

import dataclasses
from pathlib import Path

from rlopt.benchmark import protocol, random_policy
from rlopt.benchmark.protocol import FINAL, TUNING, Plan
from rlopt.runs import folders, results
from rlopt.storage import run_lock
from rlopt.tracking import session
from rlopt.training import loop


def run(
    plan: Plan,
    folder: Path | None = None,
    progress: bool = True,
    tracker: session.Session | None = None,
    launch: folders.Launch | None = None,
) -> Path:
    """Trains everything that a plan asks for and that the folder does not hold.

    launch: trains populations elsewhere; then those of all optimizers that rates are chosen from come first, and then
      all reported ones. None: here.

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
    if launch is not None:
        _launch(launch, plan, folder)
    for optimizer in plan.all_optimizers:
        for env_id in plan.environments:
            config = plan.tuning_config(optimizer, env_id)
            if config.rates:
                place = protocol.place(folder, TUNING, env_id, optimizer)
                folders.train(place, config, progress, draw=False, tracker=tracker, root=folder)
        choice = protocol.choice(folder, plan, optimizer)
        for env_id in plan.environments:
            place = protocol.place(folder, FINAL, env_id, optimizer)
            # One rate after the other: each is the same program as that of every other environment and rate.
            one_by_one = [(rate,) for rate in choice.rates(env_id)]
            for rates in one_by_one or ((),):
                config = plan.config(optimizer, env_id, rates=rates)
                folders.train(place, config, progress, draw=False, tracker=tracker, root=folder)
    return folder


def _launch(launch: folders.Launch, plan: Plan, folder: Path) -> None:
    """Trains everything in two batches, since the second one's learning rates are chosen from the first."""
    cells = [(optimizer, env_id) for optimizer in plan.all_optimizers for env_id in plan.environments]
    tuning = {
        protocol.place(folder, TUNING, env_id, optimizer): plan.tuning_config(optimizer, env_id)
        for optimizer, env_id in cells
    }
    launch(folder, {place: config for place, config in tuning.items() if config.rates})
    choices = {optimizer: protocol.choice(folder, plan, optimizer) for optimizer in plan.all_optimizers}
    final = {
        protocol.place(folder, FINAL, env_id, optimizer): plan.config(
            optimizer, env_id, rates=choices[optimizer].rates(env_id)
        )
        for optimizer, env_id in cells
    }
    launch(folder, final)
