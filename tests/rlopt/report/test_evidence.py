"""What reports make of good and of bad evidence."""

import json
import shutil

import numpy as np
import pytest

from rlopt.benchmark import protocol
from rlopt.report import reading, scores
from rlopt.runs import results


def test_whatever_is_missing_is_said_beside_what_there_is(bench, write_run, kit):
    final = {name: protocol.place(bench, protocol.FINAL, kit.ENVS[0], name) for name in ("sgd", "celo_adam")}
    shutil.rmtree(final["sgd"])
    (final["celo_adam"] / results.SUMMARY).unlink()
    page = kit.report(bench)
    assert "The run of sgd on CartPole-v1 at rate 0.1 is missing." in page
    assert "The run of celo_adam on CartPole-v1 is not finished, and not counted." in page
    assert "sgd (tuned setting) is not among the scores: it has no result on CartPole-v1." in page
    assert [row["optimizer"] for row in kit.read_csv(bench, "leaderboard_tuned")] == ["adam"]
    assert float(kit.read_csv(bench, "returns_tuned")[1]["Catch-bsuite"]) == 20.0
    shutil.rmtree(bench / protocol.TUNING)
    page = kit.report(bench)
    assert "sgd: no learning rate could be chosen, since tuning runs (or Adam&#x27;s) are missing." in page
    assert "The tuning run of adam on CartPole-v1 at rate 0.00025 is missing." in page


def test_a_seed_that_broke_is_listed_and_counts_as_its_worst(bench, write_run, kit):
    args = (bench, kit.PLAN, write_run, protocol.FINAL, "sgd", kit.ENVS[0], (0.1,))
    kit.write_cells(*args, [20.0, 30.0, 2.0, 10.0], stopped=[-1, -1, 400, -1])
    page = kit.report(bench)
    assert "Seeds that broke" in page
    (row,) = kit.read_csv(bench, "failures")
    assert row == {
        "optimizer": "sgd",
        "environment": kit.ENVS[0],
        "rate": "0.1",
        "runs": "reported",
        "seed": "2",
        "step": "400",
    }
    sgd = kit.read_csv(bench, "leaderboard_tuned")[-1]
    assert sgd["not finite"] == "1"
    assert float(sgd["mean"]) == pytest.approx(((20 + 30 + 2 + 10 + 80) / 8 - 10) / 40)


def test_a_run_that_ended_early_since_all_seeds_broke_keeps_its_worst_to_the_end(tmp_path, made_up):
    made_up(tmp_path / "adam", [10.0, 20.0])
    broken = made_up(tmp_path / "sgd", [5.0, 5.0], optimizer="sgd", stopped=[600, 600])
    arrays = dict(np.load(broken / results.RETURNS))
    cut = {name: arrays[name][..., :3] for name in ("steps", "returns", "lengths")}
    np.savez(broken / results.RETURNS, **(arrays | cut))
    found = reading.read([tmp_path])
    steps, returns = scores.curve(found.cell("CartPole-v1", "sgd", 0.01), 1000)
    assert steps.tolist() == [200, 400, 600, 1000]
    np.testing.assert_allclose(returns[0], [1, 2, 3, 1])
    assert not any("length" in problem for problem in found.problems)


def test_unequal_seeds_other_versions_and_foreign_folders_are_said(tmp_path, made_up, kit):
    made_up(tmp_path / "adam", [10.0, 20.0, 30.0])
    made_up(tmp_path / "sgd", [5.0, 15.0, 25.0, 35.0], optimizer="sgd", seed=1)
    document = json.loads((tmp_path / "sgd" / results.CONFIG).read_text())
    document["packages"]["jax"] = "0.0.1"
    (tmp_path / "sgd" / results.CONFIG).write_text(json.dumps(document))
    summary = (tmp_path / "sgd" / results.SUMMARY).read_text()
    (tmp_path / "sgd" / results.SUMMARY).write_text(summary.replace("1 x cpu", "2 x NVIDIA H200"))
    made_up(tmp_path / "old", [1.0], optimizer="lion")
    (tmp_path / "old" / results.CONFIG).write_text('{"agent": "ppo", "hyper": {"epoch": 3}}')
    made_up(tmp_path / "silent", [np.nan, np.nan], optimizer="yogi")
    page = kit.report(tmp_path)
    assert "On CartPole-v1, optimizers have unequal seeds (adam: 3 from 0; sgd: 4 from 1; yogi: 2 from 0)" in page
    assert "several versions of jax: 0.0.1," in page
    assert "several kinds of device: NVIDIA H200, cpu." in page
    assert f"The run in {tmp_path / 'old'} cannot be read, and is not counted: " in page
    assert "not of a run that this version understands" in page
    assert f"The run in {tmp_path / 'silent'} has no returns: no episode ended in any of its seeds." in page
    assert "yogi (tuned setting) is not among the scores" in page
    # Seeds 1 and 2 are common to both: 15 - 20 and 25... of the others: 5 at seed 1, 15 at seed 2.
    assert kit.read_csv(tmp_path, "leaderboard")[1]["difference to Adam"] == "-15.0"
