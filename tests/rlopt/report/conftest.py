"""A benchmark made up in a moment, and what reads its report."""

import csv
import dataclasses
import io
import json
import types

import pytest

import helpers
from rlopt.benchmark import protocol
from rlopt.benchmark.plan import TUNING_SEEDS_FROM, Plan
from rlopt.report import pictures, write
from rlopt.runs import results

ENVS = ("CartPole-v1", "Catch-bsuite")
PLAN = Plan(envs=ENVS, optimizers=("sgd", "celo_adam"), seeds=8, tuning_seeds=2, factors=(0.1, 1.0, 10.0), steps=1000)
# Reported final returns: sgd is below Adam everywhere, Celo-Adam above.
FINAL = {
    "adam": [40.0, 50.0, 50.0, 60.0] * 2,
    "sgd": [20.0, 30.0, 20.0, 10.0] * 2,
    "celo_adam": [70.0, 80.0, 90.0, 70.0] * 2,
}


def write_cells(folder, plan, write_run, stage, optimizer, env, rates, final, **rest):
    config = plan.config(optimizer, env)
    if stage == protocol.TUNING:
        config = dataclasses.replace(config, seed=TUNING_SEEDS_FROM)
    for rate in rates or (None,):
        place = protocol.place(folder, stage, env, optimizer)
        place = place / results.rate_name(rate) if rates else place
        write_run(place, dataclasses.replace(config, learning_rate=rate), final, **rest)


def write_benchmark(folder, plan, write_run, final, best=1):
    """A finished benchmark; final: reported returns per optimizer; best: number of the rate that is best everywhere."""
    protocol.write_plan(folder, plan)
    (folder / protocol.RANDOM).write_text(json.dumps({env: [0.0, 20.0] for env in plan.environments}))
    for optimizer in plan.all_optimizers:
        for env in plan.environments:
            rates = plan.candidates(optimizer)
            for i, rate in enumerate(rates):
                tried = [50.0 - 20 * abs(i - best)] * plan.tuning_seeds
                write_cells(folder, plan, write_run, protocol.TUNING, optimizer, env, (rate,), tried)
            chosen = rates[best : best + 1]
            write_cells(folder, plan, write_run, protocol.FINAL, optimizer, env, chosen, final[optimizer])
    return folder


def report(folder, *others, drawn=False, **rest):
    """The page; figures take most of the time of one. drawn: True for all of them, or the names of some."""
    every = pictures.all_of
    with pytest.MonkeyPatch.context() as patch:
        if drawn is not True:
            names = drawn or ()
            patch.setattr(
                pictures, "all_of", lambda *seen: [x for x in every(*seen) if x.name in names] if names else []
            )
        return write.write([folder, *others], **{"timing": False, **rest}).read_text()


def read_csv(folder, name):
    return list(csv.DictReader(io.StringIO((folder / "report" / "tables" / f"{name}.csv").read_text())))


def write_large_benchmark(folder, write_run):
    """Ten optimizers on four games, with long names and large numbers: as wide as tables become."""
    envs = ("Breakout-MinAtar", "Asterix-MinAtar", "Freeway-MinAtar", "SpaceInvaders-MinAtar")
    names = ("celo2", "celo2_base", "celo_adam", "muon", "muon_routed", "adam_routed", "adamw", "adam_rel")
    plan = Plan(envs=envs, optimizers=(*names, "published=celo2_published"), seeds=5, tuning_seeds=2, steps=1000)
    levels = {name: 1000.0 + 123.4 * i for i, name in enumerate(plan.all_optimizers)}
    final = {name: [level + 17.3 * i for i in range(5)] for name, level in levels.items()}
    return write_benchmark(folder, plan, write_run, final, best=4)


@pytest.fixture
def kit():
    """The functions above, and what the benchmark of `bench` is."""
    return types.SimpleNamespace(
        ENVS=ENVS,
        PLAN=PLAN,
        FINAL=FINAL,
        write_cells=write_cells,
        write_benchmark=write_benchmark,
        write_large_benchmark=write_large_benchmark,
        report=report,
        read_csv=read_csv,
    )


@pytest.fixture
def bench(tmp_path, write_run):
    """A finished benchmark, made up."""
    return write_benchmark(tmp_path, PLAN, write_run, FINAL)


@pytest.fixture(scope="session")
def drawn_bench(tmp_path_factory):
    """The same with its report, figures and all; to look at only."""
    folder = write_benchmark(tmp_path_factory.mktemp("drawn"), PLAN, helpers.write_run, FINAL)
    report(folder, drawn=True)
    return folder
