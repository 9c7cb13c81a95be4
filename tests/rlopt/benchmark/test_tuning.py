"""Which learning rates are tried with how many seeds, which are chosen, and what is tried beyond the edge."""

import dataclasses
import io
import json

import numpy as np
import pytest

from helpers import set_up_already
from rlopt import cli, statistics
from rlopt.benchmark import protocol, random_policy, runner, tuning
from rlopt.benchmark.plan import TUNING_SEEDS_FROM, Plan
from rlopt.benchmark.protocol import Choice, Scale
from rlopt.runs import folders, results
from rlopt.training.shown import Shown

ENVS = ("CartPole-v1", "Catch-bsuite")
PLAN = Plan(envs=ENVS, optimizers=("sgd", "celo_adam"), seeds=3, factors=(0.01, 0.1, 1.0, 10.0, 100.0))


@pytest.fixture
def trained(monkeypatch, write_run):
    """A function that stands in for training, given mean returns of a rate; it lists what was asked for."""

    def start(mean):
        asked = []

        def train(folder, config, *_, **__):
            missing = [rate for rate in config.rates if not results.is_finished(folder / results.rate_name(rate))]
            if (config.rates and not missing) or results.is_finished(folder):
                return
            seeds = np.arange(config.seed, config.seed + config.seeds)
            asked.append((folder.parts[-3], config.optimizer, config.env, tuple(missing), seeds.tolist()))
            for rate in missing or [None]:
                final = mean(config.optimizer, config.env, rate, seeds)
                cell = dataclasses.replace(config, rates=(), learning_rate=rate)
                write_run(folder / results.rate_name(rate) if rate else folder, cell, final)

        monkeypatch.setattr(folders, "train", train)
        monkeypatch.setattr(random_policy, "play", lambda config: np.asarray([1.0, 3.0]))
        return asked

    return start


def peak_at(best):
    """Returns that fall by 10 with each decade from the best rate of an environment."""

    def mean(optimizer, env, rate, seeds):
        own = {"adam": 2.5e-3, "sgd": 0.1}.get(optimizer)
        return (100 - 10 * abs(np.log10(rate / own / best[env])) if rate else 50.0) + seeds % 2

    return mean


def test_rates_get_their_seeds_in_portions():
    def totals(**settings):
        return [(rung.stage, rung.first, rung.seeds) for rung in tuning.rungs(Plan(**settings))]

    assert totals() == [("tuning", 0, 2), ("tuning-2", 2, 2)]
    assert totals(tuning_seeds=7) == [("tuning", 0, 2), ("tuning-2", 2, 2), ("tuning-3", 4, 3)]
    assert totals(tuning_seeds=1) == [("tuning", 0, 1)]
    assert totals(tuning_seeds=4, halving=False) == [("tuning", 0, 4)]
    assert Plan().tuning_seeds >= 4


def test_the_better_half_goes_on_on_each_environment_and_on_all_together(tmp_path, trained):
    asked = trained(peak_at({"CartPole-v1": 1.0, "Catch-bsuite": 100.0}))
    runner.run(PLAN, tmp_path, progress=False)
    sgd = [call for call in asked if call[1] == "sgd"]
    first, more = [TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + 1], [TUNING_SEEDS_FROM + 2, TUNING_SEEDS_FROM + 3]
    every = (0.001, 0.01, 0.1, 1.0, 10.0)
    assert sgd[:4] == [
        ("tuning", "sgd", "CartPole-v1", every, first),
        ("tuning", "sgd", "Catch-bsuite", every, first),
        # The best half there, and the best half in the mean of both.
        ("tuning-2", "sgd", "CartPole-v1", (0.01, 0.1, 1.0, 10.0), more),
        ("tuning-2", "sgd", "Catch-bsuite", (0.1, 1.0, 10.0), more),
    ]
    assert sgd[4:] == [
        ("final", "sgd", "CartPole-v1", (0.1,), [0, 1, 2]),
        ("final", "sgd", "CartPole-v1", (1.0,), [0, 1, 2]),
        ("final", "sgd", "Catch-bsuite", (10.0,), [0, 1, 2]),
        ("final", "sgd", "Catch-bsuite", (1.0,), [0, 1, 2]),
    ]
    assert tuning.choice(tmp_path, PLAN, "sgd") == Choice({"CartPole-v1": 0.1, "Catch-bsuite": 10.0}, 1.0)
    assert tuning.choice(tmp_path, PLAN, "celo_adam") == Choice(dict.fromkeys(ENVS), None)


def test_a_rate_that_two_seeds_flattered_is_found_out_by_the_others(tmp_path, trained):
    def mean(optimizer, env, rate, seeds):
        lucky = rate == PLAN.candidates(optimizer)[1] if rate else False
        steady = rate == PLAN.candidates(optimizer)[2] if rate else False
        first = seeds < TUNING_SEEDS_FROM + 2
        return np.where(first & lucky, 90.0, np.where(lucky, 20.0, 80.0 if steady else 10.0))

    trained(mean)
    two = dataclasses.replace(PLAN, tuning_seeds=2)
    runner.run(two, tmp_path / "two", progress=False)
    runner.run(PLAN, tmp_path / "four", progress=False)
    assert tuning.choice(tmp_path / "two", two, "sgd").shared == 0.01
    assert tuning.choice(tmp_path / "four", PLAN, "sgd").shared == 0.1


def test_the_best_at_the_edge_is_followed_until_it_is_inside_for_every_optimizer(tmp_path, trained):
    asked = trained(peak_at({"CartPole-v1": 1e4, "Catch-bsuite": 1.0}))
    runner.run(PLAN, tmp_path, progress=False)
    assert tuning.choice(tmp_path, PLAN, "sgd").tuned["CartPole-v1"] == 10.0
    asked.clear()
    # Also of a finished benchmark; what is there stays.
    runner.run(PLAN, tmp_path, progress=False, extend=True)
    beyond = {
        name: [call[3] for call in asked if call[:3] == ("tuning", name, "CartPole-v1")] for name in ("adam", "sgd")
    }
    assert beyond == {"adam": [(2.5,), (25.0,), (250.0,)], "sgd": [(100.0,), (1000.0,), (10000.0,)]}
    # On the other environment, too: a shared rate is chosen from those that all have.
    assert [call[3] for call in asked if call[:3] == ("tuning", "sgd", "Catch-bsuite")] == beyond["sgd"]
    assert tuning.choice(tmp_path, PLAN, "sgd").tuned["CartPole-v1"] == 1000.0
    assert ("final", "sgd", "CartPole-v1", (1000.0,), [0, 1, 2]) in asked
    asked.clear()
    runner.run(PLAN, tmp_path, progress=False)
    runner.run(PLAN, tmp_path, progress=False, extend=True)
    assert asked == []


def test_the_folder_is_said_first_and_what_was_chosen_as_soon_as_it_is(tmp_path, trained):
    trained(peak_at({"CartPole-v1": 1.0, "Catch-bsuite": 0.1}))
    screen = io.StringIO()
    runner.run(dataclasses.replace(PLAN, optimizers=("adam", "celo_adam")), tmp_path, progress=Shown(stream=screen))
    lines = [line.strip() for line in screen.getvalue().replace("\r", "\n").splitlines()]
    said = [line for line in lines if line.startswith(("run folder", "adam:", "celo_adam:"))]
    assert said[0] == f"run folder: {tmp_path}"
    assert said[1].startswith("adam: chosen is 0.0025 on CartPole-v1, 0.00025 on Catch-bsuite; for all together 0.0")
    assert said[2] == "celo_adam: takes no learning rate"


def test_what_has_no_best_is_not_followed_for_ever(tmp_path, trained):
    asked = trained(lambda optimizer, env, rate, seeds: (rate or 0.0) + 0.0 * seeds)
    plan = dataclasses.replace(PLAN, envs=ENVS[:1], optimizers=("adam",))
    runner.run(plan, tmp_path, progress=False, extend=True)
    tried = tuning.tried(tmp_path, plan, "adam")
    assert len(tried) == 5 + tuning.MOST_EXTENSIONS
    assert tried[-1] == 2.5e3
    assert asked[-1][:4] == ("final", "adam", "CartPole-v1", (2500.0,))


def test_jobs_come_in_rungs_too_and_leave_nothing_to_train(tmp_path, trained):
    asked = trained(peak_at({"CartPole-v1": 100.0, "Catch-bsuite": 1.0}))
    batches = []

    def launch(root, populations):
        batches.append({place.relative_to(root).parts[0] for place in populations})
        for place, config in populations.items():
            folders.train(place, config)

    runner.run(PLAN, tmp_path / "jobs", progress=False, launch=launch, extend=True)
    assert batches == [{"tuning"}, {"tuning-2"}] * 2 + [{"final"}]
    submitted = sorted(call for call in asked)
    assert len(submitted) == len({json.dumps(call) for call in submitted})
    asked.clear()
    runner.run(PLAN, tmp_path / "here", progress=False, extend=True)
    assert sorted(call[:3] for call in asked if call[0] != "final") == sorted(
        call[:3] for call in submitted if call[0] != "final"
    )
    for optimizer in PLAN.all_optimizers:
        assert tuning.choice(tmp_path / "jobs", PLAN, optimizer) == tuning.choice(tmp_path / "here", PLAN, optimizer)


def test_grids_go_on_as_they_are():
    grid = (0.1, 0.3, 1.0, 3.0, 10.0)
    assert (tuning.beyond(grid, "lowest"), tuning.beyond(grid, "highest")) == (0.03, 30.0)
    assert (tuning.beyond((1e-3, 1e-2), "lowest"), tuning.beyond((1e-3, 1e-2), "highest")) == (1e-4, 0.1)
    assert (tuning.beyond((0.5,), "lowest"), tuning.beyond((0.5,), "highest")) == (0.166667, 1.5)


def test_an_older_benchmark_is_one_without_halving(tmp_path):
    """It had all tuning seeds for every rate, two of them by default."""
    protocol.write_plan(tmp_path, Plan(tuning_seeds=4))
    path = tmp_path / protocol.PLAN
    found = json.loads(path.read_text())
    del found["halving"]
    path.write_text(json.dumps(found))
    assert [rung.seeds for rung in tuning.rungs(protocol.read_plan(tmp_path))] == [4]
    with pytest.raises(ValueError, match="halving: False there, True here"):
        protocol.write_plan(tmp_path, Plan(tuning_seeds=4))
    protocol.write_plan(tmp_path, Plan(tuning_seeds=4, halving=False))
    # With two seeds, which were the default, there is nothing to halve, and the same command goes on.
    found["tuning_seeds"] = 2
    path.write_text(json.dumps(found))
    protocol.write_plan(tmp_path, Plan(tuning_seeds=2))


def test_a_choice_is_the_best_mean_and_its_middle_among_equals():
    rates = (1e-3, 1e-2, 1e-1)
    scores = {
        "a": dict(zip(rates, np.asarray([[0.0, 4.0], [3.0, 3.0], [1.0, 1.0]]), strict=True)),
        "b": dict(zip(rates, np.asarray([[9.0, 9.0], [5.0, 5.0], [0.0, 0.0]]), strict=True)),
    }
    scales = {"a": Scale(0.0, 10.0), "b": Scale(0.0, 100.0)}
    assert tuning.choose(scores, rates, scales) == Choice({"a": 1e-2, "b": 1e-3}, 1e-2)
    # Where Adam is no better than a random policy, scores would mean nothing.
    assert tuning.choose(scores, rates, scales | {"a": Scale(1.0, 1.0)}).shared == 1e-3
    assert statistics.best(np.asarray([1.0, 5.0, 5.0, 5.0, np.nan])) == 2
    assert statistics.best(np.asarray([np.nan, np.nan, np.nan])) == 1
    assert tuning.choose({"a": {}}, (), scales) == Choice({"a": None}, None)
    assert Choice({"a": 0.1, "b": 0.2}, 0.1).rates("a") == (0.1,)
    assert Choice({"a": 0.1, "b": 0.2}, 0.1).rates("b") == (0.2, 0.1)


def test_the_command_can_extend(monkeypatch, tmp_path):
    told = {}
    monkeypatch.setattr(runner, "run", lambda plan, out, **rest: told.update(rest, plan=plan) or out)
    monkeypatch.setattr("rlopt.report.write.write", lambda *args, **rest: "page")
    assert (
        cli.main(["benchmark", "ppo", "--extend", "--no-halving", "--out", str(tmp_path)], configure=set_up_already)
        == 0
    )
    assert told["extend"] is True
    assert told["plan"].halving is False
