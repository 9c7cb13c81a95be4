"""How optimizers are judged on a suite: what is trained, and how learning rates are chosen."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from helpers import set_up_already
from rlopt import cli
from rlopt.benchmark import protocol, random_policy, runner
from rlopt.benchmark.plan import TUNING_SEEDS_FROM, Plan
from rlopt.benchmark.suites import SUITES, candidate_rates
from rlopt.report import pictures
from rlopt.runs import folders, results
from rlopt.training.loop import make_agent
from rlopt.training.monitor_config import MonitorConfig

PLAN = Plan(
    envs=("CartPole-v1", "Catch-bsuite"),
    optimizers=("sgd", "celo_adam"),
    seeds=3,
    tuning_seeds=2,
    factors=(0.1, 1.0, 10.0),
)
# Final returns by optimizer, environment, rate and seed: sgd is best at 0.1 on one environment and at 1 on the other.
BEST = {"CartPole-v1": {"adam": 2.5e-3, "sgd": 1e-1}, "Catch-bsuite": {"adam": 2.5e-3, "sgd": 1.0}}


@pytest.fixture
def trained(monkeypatch, write_run):
    """Stands in for training; the list of what was asked for: (optimizer, environment, rates, seeds)."""
    asked = []

    def train(folder, config, *_, **__):
        missing = [rate for rate in config.rates if not results.is_finished(folder / results.rate_name(rate))]
        if (config.rates and not missing) or results.is_finished(folder):
            return
        seeds = np.arange(config.seed, config.seed + config.seeds)
        asked.append((config.optimizer, config.env, tuple(missing), seeds.tolist()))
        for rate in missing or [None]:
            far = 0.0 if rate is None else abs(np.log10(rate / BEST[config.env][config.optimizer]))
            # The reported seeds would have chosen otherwise.
            final = (100 - 10 * far if seeds[0] >= TUNING_SEEDS_FROM else 50 + 10 * far) + seeds % 10
            cell = dataclasses.replace(config, rates=(), learning_rate=rate)
            write_run(folder / results.rate_name(rate) if rate else folder, cell, final)

    monkeypatch.setattr(folders, "train", train)
    monkeypatch.setattr(random_policy, "play", lambda config: np.asarray([1.0, 3.0]))
    return asked


def test_rates_are_chosen_on_the_tuning_seeds_and_the_others_reported(tmp_path, trained):
    runner.run(PLAN, tmp_path, progress=False)
    tuning = [TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + 1]
    adam, sgd = (2.5e-4, 2.5e-3, 2.5e-2), (1e-2, 1e-1, 1.0)
    assert trained == [
        ("adam", "CartPole-v1", adam, tuning),
        ("adam", "Catch-bsuite", adam, tuning),
        ("adam", "CartPole-v1", (2.5e-3,), [0, 1, 2]),
        ("adam", "Catch-bsuite", (2.5e-3,), [0, 1, 2]),
        ("sgd", "CartPole-v1", sgd, tuning),
        ("sgd", "Catch-bsuite", sgd, tuning),
        # Rates 0.1 and 1 are equally good for both together: the one in the middle of equals, which is the larger.
        ("sgd", "CartPole-v1", (1e-1,), [0, 1, 2]),
        ("sgd", "CartPole-v1", (1.0,), [0, 1, 2]),
        ("sgd", "Catch-bsuite", (1.0,), [0, 1, 2]),
        ("celo_adam", "CartPole-v1", (), [0, 1, 2]),
        ("celo_adam", "Catch-bsuite", (), [0, 1, 2]),
    ]
    trained.clear()
    more = dataclasses.replace(PLAN, optimizers=("celo_adam", "sgd", "celo"))
    runner.run(more, tmp_path, progress=False)
    assert [asked[0] for asked in trained] == ["celo", "celo"]
    assert protocol.read_plan(tmp_path).optimizers == ("sgd", "celo_adam", "celo")
    with pytest.raises(ValueError, match=r"the benchmark in .* belongs to other settings \(seeds: 3 there, 4 here\)"):
        runner.run(dataclasses.replace(PLAN, seeds=4), tmp_path)


def test_own_weights_and_options_go_to_their_optimizers_and_come_back_from_the_folder(tmp_path):
    mine = dataclasses.replace(
        PLAN, optimizers=("sgd", "celo2"), options={"momentum": 0.5}, theta={"celo2": Path("mine.theta")}
    )
    assert mine.config("celo2", "CartPole-v1").theta == Path("mine.theta")
    assert mine.config("adam", "CartPole-v1").theta is None
    assert mine.config("sgd", "CartPole-v1").options == {"momentum": 0.5}
    assert mine.tuning_config("adam", "CartPole-v1").options == {}
    protocol.write_plan(tmp_path, mine)
    assert protocol.read_plan(tmp_path) == mine
    # Weights of an optimizer that is added; one without that optimizer changes nothing.
    more = dataclasses.replace(mine, optimizers=("celo",), theta={"celo": Path("c.theta")})
    protocol.write_plan(tmp_path, more)
    protocol.write_plan(tmp_path, dataclasses.replace(more, optimizers=("sgd",), theta={}))
    assert protocol.read_plan(tmp_path).theta == mine.theta | more.theta
    with pytest.raises(ValueError, match=r"belongs to other settings \(theta"):
        protocol.write_plan(tmp_path, dataclasses.replace(mine, theta={}))


def test_random_policies_reach_what_random_policies_reach():
    returns = random_policy.play(PLAN.config("adam", "CartPole-v1"))
    assert returns.shape == (200,)
    assert 15 < returns.mean() < 30
    assert random_policy.play(Plan(suite="classic").config("adam", "Pendulum-v1"), episodes=20).max() < -300


def test_random_policies_play_whole_games_however_training_begins():
    config = dataclasses.replace(Plan(suite="atari-fast").config("adam", "Pong-v5"), env="Pong-v5")
    short = dataclasses.replace(config.atari, max_steps=20, num_threads=1)
    assert config.atari.stagger > 0
    # A game that begins staggered would not end within the time of one.
    assert random_policy.play(dataclasses.replace(config, atari=short), episodes=4).shape == (4,)


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_can_be_built(suite):
    plan = Plan(suite=suite, optimizers=("adam",))
    plan.check()
    for env_id in plan.environments:
        make_agent(plan.config("adam", env_id))


def test_a_suite_says_what_a_plan_does_not():
    plan = Plan(suite="atari-fast")
    assert plan.optimizers == ("adam", "muon_routed", "celo2")
    assert (plan.seeds, plan.tunes, plan.candidates("adam"), plan.candidates("celo2")) == (2, False, (8e-4,), (8e-4,))
    config = plan.config("celo2", "Freeway-v5")
    assert (config.preset, config.hyper.total_steps, config.atari.stagger) == ("fast", 1_000_000, 2048)
    assert (Plan().seeds, Plan().tuning_seeds, Plan().optimizers) == (10, 4, ("adam", "celo2"))
    parsed = cli._parse(["benchmark", "ppo", "--suite", "atari-fast", "--steps", "8192", "--tuning-seeds", "2"]).plan
    assert parsed == dataclasses.replace(plan, steps=8192, tuning_seeds=2)


def test_reported_runs_are_evaluated_and_kept_as_asked_and_those_that_rates_are_chosen_from_are_not(tmp_path):
    words = "--eval-every 20k --eval-episodes 4 --keep-best --keep-every 30k --keep-last 2"
    plan = cli._parse(["benchmark", "ppo", *words.split()]).plan
    told = MonitorConfig(20_000, 4, keep_best=True, keep_every=30_000, keep_last=2)
    assert plan.config("adam", "CartPole-v1").monitor == told
    assert plan.tuning_config("adam", "CartPole-v1").monitor == MonitorConfig()
    protocol.write_plan(tmp_path / "asked", plan)
    assert protocol.read_plan(tmp_path / "asked") == plan
    protocol.write_plan(tmp_path / "plain", Plan())
    assert "monitor" not in json.loads((tmp_path / "plain" / "benchmark.json").read_text())
    with pytest.raises(ValueError, match=r"belongs to other settings \(.*monitor\.eval_every: 0 there, 20000 here"):
        protocol.write_plan(tmp_path / "plain", plan)


def test_a_plan_on_disk_says_everything(tmp_path):
    protocol.write_plan(tmp_path, Plan(suite="atari-fast"))
    path = tmp_path / "benchmark.json"
    found = json.loads(path.read_text())
    assert (found["seeds"], found["tuning_seeds"], found["factors"]) == (2, 0, [1.0])
    path.write_text(json.dumps(found | {"seeds": None, "factors": None}))
    with pytest.raises(ValueError, match="seeds, factors must not be null"):
        protocol.read_plan(tmp_path)


def test_without_tuning_every_optimizer_is_reported_at_its_one_rate(tmp_path, trained):
    plan = dataclasses.replace(PLAN, tuning_seeds=0, factors=(1.0,))
    runner.run(plan, tmp_path, progress=False)
    assert trained == [
        (optimizer, env_id, rates, [0, 1, 2])
        for optimizer, rates in (("adam", (2.5e-3,)), ("sgd", (1e-1,)), ("celo_adam", ()))
        for env_id in PLAN.environments
    ]
    assert not (tmp_path / "tuning").exists()
    with pytest.raises(ValueError, match="with tuning_seeds 0 none are tried"):
        runner.run(plan, tmp_path, progress=False, extend=True)
    with pytest.raises(ValueError, match="adam has 3 learning rates to choose from; give one factor"):
        dataclasses.replace(PLAN, tuning_seeds=0).check()


def test_rates_to_try_are_the_same_on_every_environment_of_a_suite():
    assert Plan(suite="minatar").candidates("adam") == (5e-4, 1.5e-3, 5e-3, 1.5e-2, 5e-2)
    # Of environments in place of the suite's, the first of them counts.
    games = ("Asterix-MinAtar", "CartPole-v1")
    assert Plan(envs=games, factors=(1.0,)).candidates("adam") == (3e-3,)
    assert Plan(envs=games[::-1], factors=(1.0,)).candidates("adam") == (2.5e-3,)
    assert candidate_rates("ppo", "CartPole-v1", "celo") == ()
    assert candidate_rates("ppo", "CartPole-v1", "optax:adam", rates=(1.0,)) == (1.0,)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--suite atari", "unknown suite 'atari'; there are minatar, atari-fast,"),
        ("--optimizers adam adam", "each optimizer may be named once"),
        ("--envs CartPole-v1 CartPole-v1", "each environment may be named once"),
        ("--tuning-seeds -1", "tuning_seeds must be at least 0, got -1"),
        ("--tuning-seeds 0", "tuning_seeds 0 chooses nothing, but adam has 5 learning rates to choose from"),
        ("--seeds 0", "seeds must lie in [1, 10000]"),
        ("--factors", "give at least one learning rate, or factor"),
        ("--optimizers optax:adam", "optax:adam has no default learning rate; give --learning-rates"),
        ("--optimizers adamm", "unknown optimizer 'adamm'; there are adam,"),
        ("--options momentum 0.5", "none of adam, celo2 has an option 'momentum'; there are b1,"),
        ("--theta celo x.theta", "theta was given for 'celo', which is not compared; there are adam, celo2"),
        ("--theta celo2 nowhere.theta", "nowhere.theta"),
        ("--eval-every 5", "CartPole-v1: eval_every must be at least a logging interval"),
        ("--keep-last 2", "CartPole-v1: keep_last is of what keep_every keeps"),
        ("--steps 0", "CartPole-v1: total_steps must be"),
        ("--stop-below 5 --stop-at 20k", "`rlopt benchmark` has no flag --stop-below"),
        ("--envs Cartpole", "unknown environment 'Cartpole'; the nearest are CartPole-v1,"),
    ],
)
def test_impossible_benchmarks_are_refused(flags, message, capsys, tmp_path):
    assert cli.main(["benchmark", "ppo", "--out", str(tmp_path / "x"), *flags.split()], configure=set_up_already) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("shared_programs")
def test_the_command_trains_and_reports(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "all_of", lambda *_: [])  # tests/rlopt/report draws them
    flags = "--envs Probe-ObservationReward --optimizers sgd --factors 1 --seeds 2 --steps 4096"
    words = ["benchmark", "ppo", "--out", str(tmp_path), *flags.split(), "--eval-every", "2048"]
    assert cli.main(words, configure=set_up_already) == 0
    assert "report.html" in capsys.readouterr().out
    page = (tmp_path / "report" / "report.html").read_text()
    assert "rlopt benchmark ppo --suite quick --envs Probe-ObservationReward --optimizers sgd" in page
    found = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob(results.SUMMARY))
    where = "Probe-ObservationReward"
    assert found == [
        f"{stage}/{where}/{x}"
        for stage in ("final", "tuning-2", "tuning")
        for x in ("adam/rate-0.0025", "sgd/rate-0.1")
    ]
    assert json.loads((tmp_path / "benchmark.json").read_text())["steps"] == 4096
    evaluated = {path.parent.parents[2].name for path in tmp_path.rglob("evaluations.npz")}
    assert evaluated == {"final"}
    assert "--steps 4096 --eval-every 2048 --out" in page
