"""What a report's page says, and the commands that make it."""

import dataclasses
import json
import re
import struct
import time
from pathlib import Path

import pytest

from helpers import by_default, set_up_already
from rlopt import cli
from rlopt.benchmark import protocol
from rlopt.benchmark.plan import Plan
from rlopt.report import pictures, reproduce
from rlopt.runs import results
from rlopt.training import machine
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import LookConfig


def test_the_page_holds_everything_and_says_how_to_make_it_again(drawn_bench, kit):
    page = (drawn_bench / "report" / "report.html").read_text()
    for title in ("Scores (tuned)", "Scores (shared)", "Better than Adam", "Learning curves", "Sample efficiency"):
        assert title in page
    assert "corrected for 2 optimizers compared: better: celo_adam; worse: sgd." in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert f"rlopt benchmark ppo --suite quick --envs {' '.join(kit.ENVS)} --optimizers sgd celo_adam --seeds 8" in page
    assert f"rlopt report {drawn_bench}" in page
    names = {path.name for path in (drawn_bench / "report" / "figures").iterdir()}
    figures = ("scores", "improvement", "curves", "curves_time", "efficiency", "profiles", "sensitivity")
    assert names == {f"{name}.{kind}" for name in figures for kind in ("png", "svg")}
    for path in (drawn_bench / "report" / "figures").glob("*.png"):
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert (width, height > 150) == (1200, True)


@pytest.mark.parametrize("drawn", by_default([False, True], False))
def test_a_report_made_again_is_the_same(bench, kit, drawn):
    assert kit.report(bench, drawn=drawn) == kit.report(bench, drawn=drawn)


def test_nothing_at_all_is_said_too(tmp_path, kit):
    protocol.write_plan(tmp_path / "bench", kit.PLAN)
    assert "There is nothing to show yet." in kit.report(tmp_path / "bench")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no finished run in .*empty$"):
        kit.report(tmp_path / "empty")
    assert not (tmp_path / "empty" / "report").exists()


def test_runs_of_other_commands_need_no_benchmark(tmp_path, made_up, kit):
    for rate, final in ((0.01, [10.0, 20.0]), (0.1, [30.0, 40.0])):
        made_up(tmp_path / "s" / "adam" / f"rate-{rate}", final, rate=rate)
    (tmp_path / "s" / "adam" / results.CONFIG).write_text(json.dumps({"rates": [0.01, 0.1]}))
    made_up(tmp_path / "one" / "adam", [50.0, 60.0], rate=0.1)
    made_up(tmp_path / "one" / "other", [0.0, 1.0], optimizer="sgd")
    page = kit.report(tmp_path / "s")
    assert "PPO on CartPole-v1" in page
    assert "the best of 2 learning rates was chosen on the same seeds that are reported" in page
    (row,) = kit.read_csv(tmp_path / "s", "leaderboard")
    assert row["IQM"] == "35.0"
    assert "rlopt train ppo --env CartPole-v1 --optimizer adam --learning-rate 0.1 --seeds 2 --total-steps 1000" in page
    page = kit.report(tmp_path / "s", tmp_path / "one", out=tmp_path / "both" / "report")
    rows = kit.read_csv(tmp_path / "both", "leaderboard")
    assert {row["optimizer"] for row in rows} == {"adam (s)", "adam (one)", "sgd"}
    assert f"rlopt report {tmp_path / 's'} {tmp_path / 'one'}" in page


def test_a_benchmark_is_not_mixed_with_anything_and_folders_must_exist(bench, tmp_path, monkeypatch, capsys):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").touch()
    assert cli.main(["report", str(bench), str(tmp_path / "x")], configure=set_up_already) == 2
    assert "holds a benchmark, which gets a report of its own" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "nowhere")], configure=set_up_already) == 2
    assert "nowhere holds no run (there is no such folder)" in capsys.readouterr().err
    monkeypatch.setattr(pictures, "all_of", lambda *_: [])
    assert (
        cli.main(["report", str(bench), "--no-timing", "--out", str(tmp_path / "out")], configure=set_up_already) == 0
    )
    assert (tmp_path / "out" / "report.html").is_file()
    (bench / protocol.PLAN).write_text('{"suites": 3}')
    assert cli.main(["report", str(bench)], configure=set_up_already) == 2
    assert "not of a benchmark that this version understands" in capsys.readouterr().err


def test_the_cost_of_an_update_is_measured_on_the_runs_networks(bench, kit):
    page = kit.report(bench, timing=True)
    assert "on the network for CartPole-v1 (9,155 parameters)" in page
    rows = {row["optimizer"]: row for row in kit.read_csv(bench, "cost")}
    for row in rows.values():
        ratio = float(row["update, µs"]) / float(rows["adam"]["update, µs"])
        assert float(row["times Adam's"]) == pytest.approx(ratio)
    assert "timed when this report was made, on " in page
    assert float(rows["adam"]["state, floats per parameter"]) == pytest.approx(2.0, abs=0.01)
    assert float(rows["sgd"]["state, floats per parameter"]) == pytest.approx(1.0, abs=0.01)
    assert rows["adam"]["training, s per seed"] == "0.25"


def test_the_page_says_when_with_what_and_on_what_it_was_made(bench, kit):
    page = kit.report(bench)
    assert f"This page was made on {time.strftime('%Y-%m-%d')} with rlopt {machine.own_version()}." in page
    assert "Runs made with rlopt " in page
    assert f"Trained on 1 x cpu ({machine.processor()}). Total compute, tuning included: " in page
    # 12 tuning and 6 reported runs of 3 seconds each, and as many of processor time.
    assert "0.9 minutes of wall-clock time, and 0.9 minutes of processor time." in page
    assert "Learning rates were tuned with 2 seeds per rate" in page


def test_one_of_anything_is_singular_and_one_seed_has_a_dash_for_an_interval(tmp_path, made_up, write_run, kit):
    made_up(tmp_path / "runs" / "adam", [10.0])
    made_up(tmp_path / "runs" / "celo2", [20.0], optimizer="celo2")
    page = kit.report(tmp_path / "runs", drawn=True)
    assert "2 optimizers, 1 environment, 1 seed each, 1,000 environment steps per seed." in page
    assert '20.0 <span class="rate">@ 0.01</span> <span class="range">-</span>' in page
    assert "nan" not in re.sub(r"data:[^\"]*", "", page)
    assert "better:" not in page
    assert "With 1 seed per environment there is no verdict on celo2: it takes at least 5." in page
    rows = {row["optimizer"]: row for row in kit.read_csv(tmp_path / "runs", "leaderboard")}
    assert (rows["celo2"]["IQM"], rows["celo2"]["IQM low"], rows["celo2"]["verdict"]) == ("20.0", "", "too few seeds")
    plan = dataclasses.replace(kit.PLAN, envs=("CartPole-v1",), optimizers=("adam",), tuning_seeds=1, factors=(1.0,))
    page = kit.report(kit.write_benchmark(tmp_path / "bench", plan, write_run, kit.FINAL, best=0))
    assert "1 optimizer, 1 environment, 8 seeds each" in page
    assert "from 1 candidate per optimizer with 1 other seed, once per environment" in page


def test_commands_name_what_differs_from_the_preset():
    plan = Plan("dqn", "classic", optimizers=("adam", "a:b"), learning_rates=(0.1, 0.01), seed=3, steps=None)
    looked_at = dataclasses.replace(plan, monitor=LookConfig(20_000, keep_best=True, keep_every=30_000, keep_last=2))
    said = "--eval-every 20000 --keep-best --keep-every 30000 --keep-last 2 --out"
    assert said in reproduce.benchmark(looked_at, Path("runs"))
    assert reproduce.benchmark(plan, Path("runs/x y")) == (
        "rlopt benchmark dqn --suite classic --optimizers adam a:b --seed 3 --learning-rates 0.1 0.01 --out 'runs/x y'"
    )
    config = TrainConfig(env="Acrobot-v1", optimizer="adamw", options={"weight_decay": 0.1}, seeds=3)
    config = dataclasses.replace(config, hyper=dataclasses.replace(config.hyper, anneal=False, hidden=(8, 8)))
    command = reproduce.train(config, Path("r"))
    assert command == (
        "rlopt train ppo --env Acrobot-v1 --optimizer adamw --options weight_decay 0.1 --seeds 3 --no-anneal --hidden 8 8 --out r"
    )
    command = cli._parse(command.split()[1:])
    assert command.config == config
