"""Runs of any folders together: what differs in anything is apart, what differs in nothing is one."""

import dataclasses
import shutil

import numpy as np
import pytest

from agents import PPOConfig, SACConfig
from rlopt.report import reading, scores, tables, verdicts
from rlopt.runs import results
from rlopt.training.config import TrainConfig

HYPER = PPOConfig(total_steps=1000)
CONFIG = TrainConfig("ppo", "CartPole-v1", "adam", 0.01, hyper=HYPER)


def finals(found):
    """Final returns by optimizer, rate and environment."""
    return {(cell.optimizer, cell.rate, cell.environment): cell.final.tolist() for cell in found.reported}


def said(found, *words):
    return [text for text in found.problems if all(word in text for word in words)]


def test_other_returns_of_the_same_seeds_are_repeats_named_by_their_folders(tmp_path, made_up):
    made_up(tmp_path / "cmpA" / "adam", [10.0, 11.0, 12.0])
    made_up(tmp_path / "cmpB" / "adam", [90.0, 91.0, 92.0])
    made_up(tmp_path / "cmpB" / "celo2", [50.0, 51.0, 52.0], optimizer="celo2")
    found = reading.read([tmp_path / "cmpA", tmp_path / "cmpB"])
    assert finals(found) == {
        ("adam (cmpA)", 0.01, "CartPole-v1"): [10, 11, 12],
        ("adam (cmpB)", 0.01, "CartPole-v1"): [90, 91, 92],
        ("celo2", 0.01, "CartPole-v1"): [50, 51, 52],
    }
    assert said(found, "share seeds", "cmpA, cmpB")
    # With two of them nobody knows which Adam the others are to be compared with.
    assert found.yardstick is None
    assert said(found, "Adam is there 2 times (adam (cmpA), adam (cmpB)), so nothing is compared with it")
    assert not said(found, "learning rates was chosen")
    rows = scores.leaderboard(found, scores.matrices(found, "tuned"))
    assert [(row.optimizer, row.iqm.estimate) for row in rows] == [
        ("adam (cmpB)", 91),
        ("celo2", 51),
        ("adam (cmpA)", 11),
    ]


def test_the_same_run_in_two_folders_is_counted_once(tmp_path, made_up):
    made_up(tmp_path / "cmpA" / "adam", [10.0, 11.0, np.nan])
    shutil.copytree(tmp_path / "cmpA", tmp_path / "cmpB")
    made_up(tmp_path / "cmpB" / "sgd", [1.0, 2.0, 3.0], optimizer="sgd")
    found = reading.read([tmp_path / "cmpA", tmp_path / "cmpB"])
    assert list(finals(found)) == [("adam", 0.01, "CartPole-v1"), ("sgd", 0.01, "CartPole-v1")]
    assert found.yardstick == "adam"
    assert said(found, "repeats", "to the last bit, and is counted once")


def test_sweeps_of_the_same_rates_stay_two_optimizers_with_all_their_rates(tmp_path, made_up):
    for name, shift in (("one", 0.0), ("two", 40.0)):
        for rate in (0.001, 0.01):
            final = [10 + shift, 11 + shift + 1000 * rate]
            made_up(tmp_path / name / "adam" / results.rate_name(rate), final, rate=rate)
    found = reading.read([tmp_path])
    assert finals(found) == {
        (f"adam ({name})", rate, "CartPole-v1"): [10 + shift, 11 + shift + 1000 * rate]
        for name, shift in (("one", 0.0), ("two", 40.0))
        for rate in (0.001, 0.01)
    }
    assert found.choices["adam (two)"].tuned == {"CartPole-v1": 0.01}


def test_more_seeds_of_the_same_settings_are_pooled(tmp_path, made_up):
    made_up(tmp_path / "a" / "adam", [10.0, 20.0])
    made_up(tmp_path / "b" / "adam", [30.0, 40.0, 50.0], seed=2, stopped=[-1, 400, -1])
    found = reading.read([tmp_path / "a", tmp_path / "b"])
    (cell,) = found.reported
    assert cell.seeds == (0, 1, 2, 3, 4)
    # What broke counts as the lowest of all, which is the other folder's first interval.
    assert cell.final.tolist() == [10, 20, 30, 2, 50]
    assert cell.failed == {3: 400}
    assert cell.returns.shape == (5, 5)
    assert said(found, "pooled (seeds 0 to 1 from", "seeds 2 to 4 from")
    assert found.optimizers == ("adam",)


def test_a_run_that_ended_early_since_all_its_seeds_broke_is_pooled_too(tmp_path, made_up):
    made_up(tmp_path / "a", [10.0, 20.0])
    broken = made_up(tmp_path / "b", [5.0], seed=7, stopped=[600])
    arrays = dict(np.load(broken / results.RETURNS))
    np.savez(broken / results.RETURNS, **(arrays | {n: arrays[n][..., :3] for n in ("steps", "returns", "lengths")}))
    (cell,) = reading.read([tmp_path]).reported
    assert cell.final.tolist() == [10, 20, 1]
    assert cell.steps[-1] == 1000


def test_runs_that_log_at_other_steps_cannot_be_pooled_and_are_named(tmp_path, made_up):
    made_up(tmp_path / "a", [10.0, 20.0])
    made_up(tmp_path / "b", [30.0, 40.0], seed=2, intervals=4)
    found = reading.read([tmp_path])
    assert found.optimizers == ("adam (a)", "adam (b)")


OTHERS = {
    "options": {"options": {"b2": 0.99}},
    "hyper": {"hyper": dataclasses.replace(HYPER, epochs=2)},
    "length": {"hyper": dataclasses.replace(HYPER, total_steps=2000)},
    "theta": {"optimizer": "celo2", "theta": "celo2_v1"},
    "arm": {"optimizer": "adamw", "arm": "adam"},
    "part": {"optimizer_of": {"critic": "celo2"}},
}
NAMES = {
    "options": ("adam (b2 0.999)", "adam (b2 0.99)"),
    "hyper": ("adam (epochs 4)", "adam (epochs 2)"),
    "length": ("adam (total_steps 1000)", "adam (total_steps 2000)"),
    "theta": ("celo2 (theta packaged)", "celo2 (theta celo2_v1)"),
    "arm": ("adam (adam", "adam (adamw"),
    "part": ("adam", "adam (critic's optimizer celo2)"),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("seed", [0, 3])
def test_whatever_differs_makes_another_optimizer(tmp_path, write_run, what, seed):
    base = dataclasses.replace(CONFIG, optimizer=OTHERS[what].get("optimizer", "adam") if what == "theta" else "adam")
    if what == "part":
        base = dataclasses.replace(base, agent="sac", env="Pendulum-v1", hyper=SACConfig(total_steps=2000))
    write_run(tmp_path / "a", base, [10.0, 11.0])
    write_run(tmp_path / "b", dataclasses.replace(base, seed=seed, **OTHERS[what]), [90.0, 91.0])
    found = reading.read([tmp_path])
    first, second = found.optimizers
    assert first.startswith(NAMES[what][0])
    assert second.startswith(NAMES[what][1])
    assert sorted(finals(found).values()) == [[10, 11], [90, 91]]


def test_adam_as_it_comes_is_the_yardstick_beside_another_one(tmp_path, write_run):
    write_run(tmp_path / "a", CONFIG, [10.0, 11.0])
    write_run(tmp_path / "b", dataclasses.replace(CONFIG, options={"b2": 0.99}), [90.0, 91.0])
    write_run(tmp_path / "c", dataclasses.replace(CONFIG, optimizer="celo2"), [50.0, 51.0])
    found = reading.read([tmp_path])
    assert found.yardstick == "adam (b2 0.999)"
    assert said(found, "all are compared with adam (b2 0.999), not with adam (b2 0.99)")
    rows = {row.optimizer: row for row in scores.leaderboard(found, scores.matrices(found, "tuned"))}
    assert rows["celo2"].better.estimate == 1
    assert rows["adam (b2 0.999)"].better is None
    table = tables.leaderboard(found, list(rows.values()), "", {}, {})
    assert "better than adam (b2 0.999)" in table.columns


def test_runs_without_adam_say_that_nothing_is_compared(tmp_path, made_up):
    made_up(tmp_path / "a", [10.0, 11.0], optimizer="sgd")
    made_up(tmp_path / "b", [10.0, 11.0], optimizer="lion")
    found = reading.read([tmp_path])
    assert said(found, "Adam is not among the runs, so nothing is compared with it.")
    rows = scores.leaderboard(found, scores.matrices(found, "tuned"))
    assert not any("better" in name for name in tables.leaderboard(found, rows, "", {}, {}).columns)


def test_settings_that_differ_are_said_and_there_is_no_verdict_across_them(tmp_path, write_run):
    other = dataclasses.replace(HYPER, gamma=0.999, num_envs=8)
    write_run(tmp_path / "adam", CONFIG, np.arange(8.0))
    write_run(tmp_path / "sgd", dataclasses.replace(CONFIG, optimizer="sgd"), np.arange(8.0) + 100)
    write_run(tmp_path / "lion", dataclasses.replace(CONFIG, optimizer="lion", hyper=other), np.arange(8.0) + 100)
    found = reading.read([tmp_path])
    assert found.problems[0].startswith("On CartPole-v1, num_envs is not the same for all optimizers (")
    assert said(found, "On CartPole-v1, gamma is not the same", "0.99 for adam, sgd", "0.999 for lion", "no verdict")
    matrices = scores.matrices(found, "tuned")
    told = verdicts.verdicts(found, matrices)
    assert told["lion"] == verdicts.Verdict(None, "other settings")
    assert told["sgd"].word == "better"
    rows = {row.optimizer: row for row in scores.leaderboard(found, matrices)}
    assert rows["lion"].better is None
    assert rows["lion"].paired is None
    table = tables.settings(found)
    assert table.note == "Not the same for every optimizer: num_envs, gamma."
    assert {row[0]: row[1] for row in table.rows}["gamma"] == "0.99 or 0.999"
    assert [row[0] for row in table.rows[:2]] == ["num_envs", "gamma"]


def test_optimizers_keep_their_names_over_environments(tmp_path, made_up):
    made_up(tmp_path / "a", [10.0, 11.0])
    made_up(tmp_path / "b", [10.0, 11.0], env="Acrobot-v1")
    found = reading.read([tmp_path])
    assert found.optimizers == ("adam",)
    assert found.choices["adam"].tuned == {"CartPole-v1": 0.01, "Acrobot-v1": 0.01}
    assert found.choices["adam"].shared == 0.01


def test_without_one_rate_for_all_there_is_no_shared_rate(tmp_path, made_up):
    made_up(tmp_path / "a", [10.0, 11.0], rate=0.01)
    made_up(tmp_path / "b", [10.0, 11.0], rate=0.1, env="Acrobot-v1")
    assert reading.read([tmp_path]).choices["adam"].shared is None


def test_a_benchmark_below_a_folder_is_left_to_a_report_of_its_own(tmp_path, bench, made_up):
    (tmp_path / "all").mkdir()
    made_up(tmp_path / "all" / "y", [1.0])
    shutil.copytree(bench / "final", tmp_path / "all" / "bench" / "final")
    shutil.copy(bench / results.BENCHMARK, tmp_path / "all" / "bench")
    found = reading.read([tmp_path / "all"])
    assert len(found.reported) == 1
    assert said(found, "holds a benchmark, which gets a report of its own: its runs are not here")
