"""Runs a benchmark: trains what is missing of it, in an order that finishes one optimizer after the other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rlopt.benchmark import protocol, random_policy, tuning
from rlopt.benchmark.protocol import FINAL, Choice, Plan
from rlopt.runs import folders, results
from rlopt.storage import run_lock
from rlopt.tracking import session
from rlopt.training import loop, shown
from rlopt.training.config import TrainConfig


def run(
    plan: Plan,
    folder: Path | None = None,
    progress: bool | shown.Shown = True,
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
    if extend and not plan.tunes:
        raise ValueError("--extend tries more learning rates, but with tuning_seeds 0 none are tried")
    for optimizer in plan.all_optimizers:
        for env_id in plan.environments:
            if plan.tunes:
                loop.check(plan.tuning_config(optimizer, env_id))
            loop.check(plan.config(optimizer, env_id, rates=plan.candidates(optimizer)))
    folder = folder or results.new_folder(f"benchmark-{plan.agent}-{plan.suite}")
    run_lock.check_links(folder)
    protocol.write_plan(folder, plan)
    with run_lock.held(folder):  # not for longer: several processes may train optimizers of their own
        protocol.play_randomly(folder, plan, random_policy.play)

    if launch is not None:
        choices = _tune(plan, folder, plan.all_optimizers, extend, lambda batch: launch(folder, batch))
        cells = [(optimizer, env_id) for optimizer in choices for env_id in plan.environments]
        rates = {(optimizer, env_id): choices[optimizer].rates(env_id) for optimizer, env_id in cells}
        launch(folder, {protocol.place(folder, FINAL, e, o): plan.config(o, e, rates=rates[o, e]) for o, e in cells})

    with shown.of(progress).plan() as on_screen:
        on_screen.say(f"run folder: {folder}")
        _train_all(plan, folder, extend, on_screen, tracker)
    return folder


def _train_all(plan: Plan, folder: Path, extend: bool, on_screen: shown.Shown, tracker: session.Session | None) -> None:
    """Trains what is missing here, one optimizer after the other."""

    def train_all(batch: dict[Path, TrainConfig]) -> None:
        for place, config in batch.items():
            folders.train(place, config, on_screen, draw=False, tracker=tracker, root=folder)

    def tune(batch: dict[Path, TrainConfig]) -> None:
        on_screen.phase = "tuning,"
        for place, config in batch.items():
            if place in foreseen:
                on_screen.expect(foreseen.pop(place), -1)
            on_screen.expect(config)
        train_all(batch)

    # How many rates come how far is known as it comes; until then the plan is what the grid alone would be.
    foreseen = {
        protocol.place(folder, rung.stage, env_id, optimizer): tuning.config(
            plan, optimizer, env_id, rung, tuning.kept(plan.candidates(optimizer), number)
        )
        for optimizer in plan.all_optimizers
        for number, rung in enumerate(tuning.rungs(plan))
        for env_id in plan.environments
        if plan.candidates(optimizer)
    }
    reported = {
        (optimizer, env_id): plan.config(optimizer, env_id, rates=tuple(plan.candidates(optimizer))[:1])
        for optimizer in plan.all_optimizers
        for env_id in plan.environments
    }
    for config in (*foreseen.values(), *reported.values()):
        on_screen.expect(config)
    for optimizer in plan.all_optimizers:
        chosen = _tune(plan, folder, (optimizer,), extend, tune)[optimizer]
        on_screen.phase = "reporting,"
        if chosen.tuned:
            on_screen.say(f"{optimizer}: {_said(chosen, plan.tunes)}")
        for env_id in plan.environments:
            place = protocol.place(folder, FINAL, env_id, optimizer)
            # One rate after the other: each is the same program as that of every other environment and rate.
            one_by_one = [(rate,) for rate in chosen.rates(env_id)]
            for _ in one_by_one[1:]:
                on_screen.expect(reported[optimizer, env_id])
            for only in one_by_one or ((),):
                train_all({place: plan.config(optimizer, env_id, rates=only)})


def _said(chosen: Choice, tuned: bool) -> str:
    """The rates in words."""
    rates = ", ".join(f"{rate:g} on {env_id}" for env_id, rate in chosen.tuned.items() if rate is not None)
    if not rates:
        return "takes no learning rate"
    if not tuned:
        return f"learning rate {chosen.shared:g}, not tuned"
    return f"chosen is {rates}" + (f"; for all together {chosen.shared:g}" if chosen.shared is not None else "")


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
