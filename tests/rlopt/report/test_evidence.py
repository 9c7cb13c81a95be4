"""What reports make of good and of bad evidence."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from rlopt import typed
from rlopt.benchmark import protocol, tuning
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


def test_where_nothing_is_finished_only_some_of_it_is_named(tmp_path, made_up):
    for i in range(6):
        (made_up(tmp_path / str(i), [1.0]) / results.SUMMARY).unlink()
    with pytest.raises(ValueError, match=r"no finished run in .*; and so for 2 more") as refused:
        reading.read([tmp_path])
    assert str(refused.value).count("is not finished") == 4


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
    assert float(sgd["mean"]) == pytest.approx(((20 + 30 + 0.4 + 10 + 80) / 8 - 10) / 40)


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


def test_a_seed_that_is_still_alive_counts_as_its_last_known_return(tmp_path, made_up, kit):
    """In a game where surviving is good, the seed that survives longest has no episode at the end."""
    made_up(tmp_path / "adam", [100.0, 110.0, 120.0, 130.0])
    folder = made_up(tmp_path / "celo2", [100.0, 110.0, 120.0, 500.0], optimizer="celo2")
    arrays = dict(np.load(folder / results.RETURNS))
    arrays["returns"][3, -1] = arrays["final"][3] = np.nan
    np.savez(folder / results.RETURNS, **arrays)
    kit.report(tmp_path)
    returns = {row["optimizer"]: row for row in kit.read_csv(tmp_path, "leaderboard")}
    assert float(returns["celo2"]["mean"]) == (100 + 110 + 120 + 400) / 4
    found = reading.read([tmp_path])
    cell = found.cell("CartPole-v1", "celo2", 0.01)
    assert cell.final[3] == scores.curve(cell, 1000)[1][3, -1] == 400


def test_one_seed_in_which_no_episode_ended_does_not_stop_a_report(tmp_path, made_up, kit):
    """It is the lowest of its run, all along; a run without any episode has empty cells."""
    folder = made_up(tmp_path / "adam", [2.0, 5.0, 4.0, 6.0])
    arrays = dict(np.load(folder / results.RETURNS))
    arrays["returns"][1] = arrays["final"][1] = np.nan
    np.savez(folder / results.RETURNS, **arrays)
    made_up(tmp_path / "sgd", [1.0, 2.0, 3.0, 4.0], optimizer="sgd")
    made_up(tmp_path / "lion", [np.nan] * 4, optimizer="lion")
    page = kit.report(tmp_path, drawn=True)
    assert f"The run in {folder} has 1 of 4 seeds in which no episode ever ended; they count as its lowest" in page
    rows = {row["optimizer"]: row for row in kit.read_csv(tmp_path, "leaderboard")}
    assert set(rows) == {"adam", "sgd"}
    assert float(rows["adam"]["mean"]) == pytest.approx((2.0 + 0.4 + 4 + 6) / 4)
    returns = {row["optimizer"]: row["CartPole-v1"] for row in kit.read_csv(tmp_path, "returns")}
    assert returns["lion"] == ""
    assert "The run in" in page
    assert "has no returns: no episode ended in any of its seeds." in page


def test_a_benchmark_with_such_seeds_is_reported_too(bench, write_run, kit):
    args = (bench, kit.PLAN, write_run, protocol.FINAL, "sgd", kit.ENVS[0], (0.1,))
    kit.write_cells(*args, [20.0, np.nan, 20.0, 10.0])
    page = kit.report(bench)
    assert "The run of sgd on CartPole-v1 at rate 0.1 has 1 of 4 seeds in which no episode ever ended" in page
    assert [row["optimizer"] for row in kit.read_csv(bench, "leaderboard_tuned")] == ["celo_adam", "adam", "sgd"]


def changed(folder, **settings):
    path = folder / results.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_run_that_cannot_be_made_here_leaves_a_sentence_and_an_empty_cell(tmp_path, made_up, kit):
    """An optimizer or an environment of another version, weights that were moved, a name with a dollar."""
    for env in ("CartPole-v1", "Acrobot-v1"):
        for name in ("adam", "sgd", "celo2", "adamw"):
            made_up(tmp_path / env / name, [100.0, 200.0, 300.0], optimizer=name, env=env)
        changed(tmp_path / env / "sgd", optimizer="sgd_of_tomorrow")
        changed(tmp_path / env / "celo2", theta="/nowhere/mine.theta")
        changed(tmp_path / env / "adamw", arm="a$b$_{x", optimizer="adamw", preset="fast")
    for place in (tmp_path / "Acrobot-v1").iterdir():
        changed(place, env="Acrobot-v9")
    page = kit.report(tmp_path, drawn=("curves",), timing=True)
    assert "sgd_of_tomorrow could not be timed, since it cannot be made here: unknown optimizer" in page
    assert "celo2 could not be timed, since it cannot be made here: " in page
    assert "No random policy can be played on Acrobot-v9 here, so that it has no scores: unknown environment" in page
    assert "adamw: there is no fast preset of ppo for CartPole-v1" in page
    rows = {row["optimizer"]: row for row in kit.read_csv(tmp_path, "cost")}
    assert rows["sgd_of_tomorrow"]["update, µs"] == ""
    assert rows["celo2"]["update, µs"] == ""
    assert float(rows["a$b$_{x"]["update, µs"]) > 0
    assert rows["celo2"]["training, s per seed"] != ""
    returns = {row["optimizer"]: row for row in kit.read_csv(tmp_path, "returns")}
    assert returns["sgd_of_tomorrow"]["Acrobot-v9"] == "200.0"
    # Scores are of the environment that can be played.
    assert {row["optimizer"] for row in kit.read_csv(tmp_path, "leaderboard")} == set(rows)
    figures = (tmp_path / "report" / "figures" / "curves.svg").read_text()
    assert "a$b$_{x" in figures


def test_a_benchmark_of_an_optimizer_that_is_unknown_by_now_shows_its_runs(bench, kit):
    """Its candidates are not known any more, but what was tried lies there."""
    for path in [*bench.glob("*/*/sgd")]:
        path.rename(path.with_name("sgd_of_tomorrow"))
    for path in bench.glob("*/*/sgd_of_tomorrow/*"):
        changed(path, optimizer="sgd_of_tomorrow")
    plan = bench / protocol.PLAN
    plan.write_text(plan.read_text().replace('"sgd"', '"sgd_of_tomorrow"'))
    page = kit.report(bench)
    assert "is missing" not in page
    rows = {row["optimizer"]: row for row in kit.read_csv(bench, "returns_tuned")}
    assert (rows["sgd_of_tomorrow"]["CartPole-v1"], rows["sgd_of_tomorrow"]["rate, CartPole-v1"]) == ("20.0", "0.1")
    # One whose suite is unknown is refused with a sentence.
    plan.write_text(plan.read_text().replace('"quick"', '"of_tomorrow"'))
    with pytest.raises(ValueError, match="unknown suite 'of_tomorrow'"):
        reading.read([bench])


def test_the_best_rate_at_the_edge_is_marked_and_said(tmp_path, write_run, kit):
    folder = kit.write_benchmark(tmp_path / "low", kit.PLAN, write_run, kit.FINAL, best=0)
    page = kit.report(folder)
    assert (
        "sgd: the best learning rate is at the edge of those tried: 0.01 on CartPole-v1 (lowest), 0.01 on Catch-bsuite "
        "(lowest); a better one may lie beyond (marked *; `rlopt benchmark --extend` tries more)."
    ) in page
    assert "@ 0.01*" in page
    rows = {row["optimizer"]: row for row in kit.read_csv(folder, "returns_tuned")}
    assert (rows["sgd"]["edge, CartPole-v1"], rows["celo_adam"]["edge, CartPole-v1"]) == ("lowest", "")
    assert kit.read_csv(folder, "sensitivity")[0]["edge"] == "lowest"


def test_a_best_rate_inside_is_not_marked_and_untuned_rates_are_said(bench, tmp_path, made_up, kit):
    page = kit.report(bench)
    assert "at the edge of those tried" not in page
    assert "@ 0.1</span>" in page
    made_up(tmp_path / "runs" / "adam", [1.0, 2.0])
    made_up(tmp_path / "runs" / "celo", [1.0, 2.0], optimizer="celo", rate=None)
    assert "Learning rates were not tuned, one was tried each: adam." in kit.report(tmp_path / "runs")


def test_rungs_of_tuning_are_read_together(tmp_path, write_run, kit):
    plan = dataclasses.replace(kit.PLAN, tuning_seeds=4, optimizers=("adam",))
    folder = kit.write_benchmark(tmp_path, dataclasses.replace(plan, tuning_seeds=2), write_run, kit.FINAL)
    (folder / protocol.PLAN).unlink()
    shutil.rmtree(folder / "report", ignore_errors=True)
    (folder / protocol.PLAN).write_text(json.dumps(json.loads(json.dumps(typed.plain(plan)))))
    for env in plan.environments:
        for rate in plan.candidates("adam")[:2]:
            config = tuning.config(plan, "adam", env, tuning.rungs(plan)[1], (rate,)).cells[0]
            write_run(folder / "tuning-2" / env / "adam" / results.rate_name(rate), config, [60.0, 60.0])
    found = reading.read([folder])
    assert [(cell.rate, cell.seeds) for cell in found.tuning if cell.environment == "CartPole-v1"] == [
        (0.00025, (10000, 10001, 10002, 10003)),
        (0.0025, (10000, 10001, 10002, 10003)),
        (0.025, (10000, 10001)),
    ]
    assert found.choices["adam"].tuned["CartPole-v1"] == 0.0025
    page = kit.report(folder)
    assert "3 candidates per optimizer with 4 other seeds each (2 for those that were not among the better half" in page
