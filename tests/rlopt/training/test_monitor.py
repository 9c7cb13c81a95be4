"""Evaluations during training, and the parameters that are kept on the way."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import agents
import envs
import rlopt
from agents import DQNConfig, PPOConfig, PQNConfig, RPPOConfig, SACConfig
from helpers import ask_to_stop
from rlopt import cli
from rlopt.play import evaluation
from rlopt.report import reproduce
from rlopt.runs import experiment, kept, results
from rlopt.storage import sealed
from rlopt.storage.run_lock import Gone
from rlopt.storage.stopping import Unfinished
from rlopt.training import checkpoint, evaluations, intervals, loop, monitor
from rlopt.training.best import better
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import MonitorConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("shared_programs"),
]

HYPER = PPOConfig(total_steps=64 * 20, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
PLAIN = TrainConfig(optimizer="adam", learning_rate=1e-2, seeds=2, seed=3, hyper=HYPER)
MONITOR = MonitorConfig(eval_every=256, eval_episodes=3, keep_best=True, keep_every=300, keep_last=2)
CONFIG = dataclasses.replace(PLAIN, monitor=MONITOR)
ENTRIES = (monitor.RETURN, monitor.LENGTH, monitor.EPISODES)


def rows(folder):
    return [json.loads(line) for line in (folder / results.METRICS).read_text().splitlines()]


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / kept.FOLDER).iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture
def trained(folder):
    """One run for all tests, and its folder."""
    return experiment.run(CONFIG, folder, progress=False)


def test_evaluating_and_keeping_change_nothing_of_what_is_learned(tmp_path, trained):
    plain = experiment.run(PLAIN, tmp_path / "plain", progress=False)
    for name in (results.PARAMS, results.RETURNS):
        assert (plain.folder / name).read_bytes() == (trained.folder / name).read_bytes()
    without = [{n: x for n, x in row.items() if n not in ENTRIES} for row in rows(trained.folder)]
    assert without == rows(plain.folder)
    assert "monitor" not in json.loads((plain.folder / results.CONFIG).read_text())
    assert not (plain.folder / kept.FOLDER).exists()
    assert {"evaluation", "best"} & set(plain.summary) == set()


def test_an_evaluation_is_of_full_greedy_episodes_of_its_own(trained):
    found = kept.read_evaluations(trained.folder, 2)
    assert found.steps.tolist() == [256, 512, 768, 1024, 1280]
    assert np.all(found.episodes == 3)
    assert [row["step"] for row in rows(trained.folder) if row["eval_return"][0] is not None] == found.steps.tolist()
    agent, policies = evaluation.load_policies(trained.folder, CONFIG)
    env = envs.make("CartPole-v1", 3)
    keys = []
    for i, seed in enumerate((3, 4)):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), evaluations._STREAM), 19)
        policy = jax.tree.map(lambda x, i=i: x[i], policies)
        played = agents.evaluate(agent, env, policy, key, max_steps=500)
        np.testing.assert_allclose(found.returns[i, -1], played.returns.mean(), rtol=1e-6)
        np.testing.assert_allclose(found.lengths[i, -1], played.lengths.mean(), rtol=1e-6)
        keys.append(jax.random.key_data(key).tolist())
    assert keys[0] != keys[1]
    told = trained.summary["evaluation"]
    assert (told["every"], told["episodes"], told["last_step"]) == (256, 3, 1280)
    np.testing.assert_allclose(told["last_returns"], found.returns[:, -1])


def test_each_seeds_best_parameters_are_kept(trained):
    found = kept.read_evaluations(trained.folder, 2)
    best = trained.summary["best"]
    np.testing.assert_allclose(best["returns"], found.returns.max(axis=1))
    assert best["steps"] == found.steps[found.returns.argmax(axis=1)].tolist()
    assert best["judged_by"] == "evaluation"
    # Evaluated anew with the same episodes, they come to the same.
    agent, policies = evaluation.load_policies(trained.folder, CONFIG, "best")
    for i, seed in enumerate((3, 4)):
        number = best["steps"][i] // 64 - 1
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), evaluations._STREAM), number)
        policy = jax.tree.map(lambda x, i=i: x[i], policies)
        played = agents.evaluate(agent, envs.make("CartPole-v1", 3), policy, key, max_steps=500)
        np.testing.assert_allclose(best["returns"][i], played.returns.mean(), rtol=1e-6)


def test_evaluate_takes_the_parameters_that_were_kept(trained, command):
    assert sorted(files(trained.folder)) == ["best.msgpack", "step-1216.msgpack", "step-960.msgpack"]
    for which in ("best", "960"):
        done = command("evaluate", trained.folder, "--episodes", "2", "--params", which)
        assert done.status == 0, done.err
        assert f"parameters {which}" in " ".join(done.out.split())
    written = json.loads((trained.folder / "evaluation.json").read_text())["evaluations"]
    assert [one["params"] for one in written] == ["best", "960"]
    refused = command("evaluate", trained.folder, "--params", "64")
    assert (refused.status, "it has final, best, 960, 1216" in refused.err) == (2, True)
    assert command("evaluate", trained.folder, "--params", "../params").status == 2


@pytest.mark.usefixtures("saves_at_every_interval")
def test_killed_and_stopped_runs_keep_and_evaluate_as_if_nothing_had_happened(tmp_path, trained, at_line):
    def die():
        raise SystemExit

    cut = tmp_path / "cut"
    with pytest.raises(SystemExit):
        experiment.run(CONFIG, cut, progress=False, tracker=at_line(9, die))
    with pytest.raises(Unfinished):
        experiment.resume(cut, progress=False, tracker=at_line(14, ask_to_stop))
    (cut / kept.FOLDER / "step-1200.msgpack").write_bytes(b"of a time that has not come")
    finished = experiment.resume(cut, progress=False)[0]
    assert files(cut) == files(trained.folder)
    assert rows(cut) == rows(trained.folder)
    for name in (results.PARAMS, results.RETURNS, kept.EVALUATIONS):
        assert (cut / name).read_bytes() == (trained.folder / name).read_bytes()
    assert finished.summary["best"] == trained.summary["best"]


def test_a_folder_that_is_moved_keeps_everything(tmp_path, at_line):
    config = dataclasses.replace(CONFIG, monitor=dataclasses.replace(MONITOR, keep_last=0))
    folder, moved = tmp_path / "run", tmp_path / "moved"
    with pytest.raises(Gone, match="was moved to"):  # and at the tenth line parameters are to be kept
        experiment.run(config, folder, progress=False, tracker=at_line(9, lambda: folder.rename(moved)))
    assert not folder.exists()
    experiment.resume(moved, progress=False)
    assert kept.steps(moved) == [320, 640, 960, 1216]


def test_a_checkpoint_of_before_there_were_evaluations_goes_on(tmp_path, at_line):
    folder = tmp_path / "run"
    with pytest.raises(Unfinished):
        experiment.run(PLAIN, folder, progress=False, tracker=at_line(5, ask_to_stop))
    path = folder / checkpoint.NAMES[0]
    header, payload = sealed.read(path, checkpoint.FORMAT)
    del header["settings"]["monitor"]
    found = checkpoint.flax.serialization.msgpack_restore(payload)
    del found["seconds_beside"]
    assert not {"best", "left"} & set(found)
    sealed.write(path, header, [checkpoint.flax.serialization.msgpack_serialize(found)])
    with pytest.raises(ValueError, match=r"monitor\.eval_every: 0 there, 256 here"):
        experiment.run(CONFIG, folder, progress=False)
    experiment.resume(folder, progress=False)
    assert results.is_finished(folder)


def test_a_sweep_keeps_for_each_rate_its_own(tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=None, rates=(1e-3, 1e-1), seeds=1)
    runs, _ = experiment.sweep([config], tmp_path / "sweep", progress=False)
    assert len({(run.folder / kept.FOLDER / "best.msgpack").read_bytes() for run in runs}) == 2
    for run in runs:
        found = kept.read_evaluations(run.folder, 1)
        np.testing.assert_allclose(run.summary["best"]["returns"], found.returns.max(axis=1))


def test_without_evaluations_the_best_are_of_the_interval_with_the_highest_return(tmp_path):
    config = dataclasses.replace(PLAIN, monitor=MonitorConfig(keep_best=True))
    run = experiment.run(config, tmp_path / "run", progress=False)
    assert run.summary["best"]["steps"] == run.steps[np.nanargmax(run.returns, axis=1)].tolist()
    assert run.summary["best"]["judged_by"] == "training"
    assert not (run.folder / kept.EVALUATIONS).exists()
    assert kept.evaluated(run) is None


def test_the_better_of_each_seed_stays_and_what_is_stopped_does_not_count():
    def policies(value):
        return {"w": np.full((4, 2), value, np.float32)}

    going = np.asarray([True, True, True, False])
    nan = np.nan
    best, new = better(None, policies(1), np.asarray([1, nan, 3, 4], np.float32), going, 10)
    assert new
    assert best.steps.tolist() == [10, 10, 10, 0]
    best, new = better(best, policies(2), np.asarray([1, nan, nan, 9], np.float32), going, 20)
    assert (new, best.steps.tolist()) == (True, [10, 20, 10, 0])
    best, new = better(best, policies(3), np.asarray([2, 5, 2, 9], np.float32), going, 30)
    assert best.policies["w"][:, 0].tolist() == [3, 3, 1, 0]
    np.testing.assert_array_equal(best.returns, [2, 5, 3, nan])
    again, new = better(best, policies(4), np.asarray([2, 5, 3, 9], np.float32), going, 40)
    assert (new, again) == (False, best)


def test_what_is_due_is_so_at_the_first_interval_after():
    assert intervals.due([100, 200, 300, 400], 150) == [200, 300]
    assert intervals.due([100, 200, 300, 400], 100) == [100, 200, 300, 400]
    assert intervals.due([100, 200], 0) == []
    assert intervals.ends(HYPER)[:2] == [64, 128]
    assert len(intervals.ends(HYPER)) == 20


def test_kept_files_stay_up_to_the_newest_and_none_of_a_later_time(tmp_path):
    for step in (1, 2, 5):
        kept.write(tmp_path, f"step-{step}", {"w": np.zeros(1)}, last=2)
    assert kept.steps(tmp_path) == [2, 5]
    kept.write(tmp_path, "step-3", {"w": np.zeros(1)}, last=2)
    assert kept.steps(tmp_path) == [2, 3]
    kept.write(tmp_path, "step-4", {"w": np.zeros(1)})
    assert kept.steps(tmp_path) == [2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval_every": -1}, "eval_every must be at least 0, got -1"),
        (
            {"eval_every": 63},
            "eval_every must be at least a logging interval, 64 steps here, and at most the run, 1,280",
        ),
        ({"keep_every": 1281}, "keep_every must be at least a logging interval, 64 steps here"),
        ({"eval_every": 64, "eval_episodes": 0}, "eval_episodes must be at least 1, got 0"),
        ({"keep_last": 3}, "keep_last is of what keep_every keeps; give both, got 3 and none"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, monitor=MonitorConfig(**changes)).check()


def test_settings_are_flags_of_commands_and_names_in_python():
    words = ["--keep-best", "--eval-every", "50k", "--stop-below", "-100", "--stop-at", "50k"]
    told = MonitorConfig(eval_every=50_000, keep_best=True, stop_below=-100.0, stop_at=50_000)
    assert cli._parse(["train", *words]).config.monitor == told
    assert [one.monitor for one in cli._parse(["compare", *words]).configs()] == [told, told]
    swept = cli._parse(["sweep", "--halve-at", "20k", "50k"])
    assert swept.configs()[0].monitor.halve_at == (20_000, 50_000)
    config = rlopt.configured(eval_every=50_000, keep_best=True, stop_below=-100.0, stop_at=50_000)
    assert config.monitor == told
    made = reproduce.train(config, Path("run")).split()
    assert cli._parse(made[1:]).config == config


def test_evaluations_that_fit_no_run_are_refused(tmp_path):
    numbers = np.zeros((2, 3), np.float32)
    kept.write_evaluations(tmp_path, kept.Evaluations(np.arange(3), numbers, numbers, numbers))
    assert kept.read_evaluations(tmp_path, 2).returns.shape == (2, 3)
    with pytest.raises(ValueError, match="does not fit a run of 4 seeds"):
        kept.read_evaluations(tmp_path, 4)
    (tmp_path / kept.EVALUATIONS).write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"evaluations\.npz should be an npz file"):
        kept.read_evaluations(tmp_path, 2)


def test_curves_of_evaluations_are_drawn_and_exported(tmp_path, trained, made_up, command):
    assert (trained.folder / results.PLOTS / "evaluation_curve.png").stat().st_size > 10_000
    done = command("plot", trained.folder, "--evaluations", "--out", tmp_path / "curves.png")
    assert done.status == 0, done.err
    assert "greedy episodes at the last evaluation, IQM: adam " in done.out
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    plain = made_up(tmp_path / "plain", [1.0, 2.0])
    refused = command("plot", plain, "--evaluations", "--out", tmp_path / "curves.png")
    assert (refused.status, "trained without --eval-every" in refused.err) == (2, True)
    assert command("export", trained.folder, "--csv", tmp_path / "x.csv").status == 0
    header, *lines = (tmp_path / "x.csv").read_text().splitlines()
    column = header.split(",").index("eval_return")
    assert sum(line.split(",")[column] != "" for line in lines) == 2 * 5
    with pytest.warns(RuntimeWarning, match=f"{plain}: trained without --eval-every, .*, and left out"):
        done = command("plot", trained.folder, plain, "--evaluations", "--out", tmp_path / "mixed.png")
    assert done.status == 0, done.err
    assert (tmp_path / "mixed.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "hyper"),
    [
        ("dqn", DQNConfig(400, 4, learning_starts=64, replay_capacity=128, batch_size=8, hidden=(8,))),
        ("pqn", PQNConfig(64 * 4, 4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))),
        ("rppo", RPPOConfig(64 * 4, 4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,), memory_size=4)),
        ("sac", SACConfig(200, 4, learning_starts=16, replay_capacity=128, batch_size=8, hidden=(8,))),
    ],
)
def test_every_agent_is_evaluated_and_kept(tmp_path, agent, hyper, at_line):
    env = "Pendulum-v1" if agent == "sac" else "CartPole-v1"
    told = MonitorConfig(eval_every=hyper.total_steps // 2, eval_episodes=2, keep_best=True)
    config = TrainConfig(agent, env, "adam", 1e-3, seeds=2, hyper=hyper, monitor=told)
    whole = experiment.run(config, tmp_path / "whole", progress=False)
    with pytest.raises(Unfinished):
        experiment.run(config, tmp_path / "cut", progress=False, tracker=at_line(3, ask_to_stop))
    experiment.resume(tmp_path / "cut", progress=False)
    assert files(tmp_path / "cut") == files(whole.folder)
    assert rows(tmp_path / "cut") == rows(whole.folder)
    assert evaluation.evaluate(whole.folder, episodes=2, params="best").shape == (2, 2)


@pytest.mark.slow
def test_atari_games_are_evaluated_in_games_of_their_own(tmp_path):
    config = TrainConfig(
        env="Pong-v5",
        optimizer="adam",
        learning_rate=1e-3,
        seeds=1,
        atari=envs.AtariConfig(image_size=42, num_threads=1, max_steps=60),
        hyper=dataclasses.replace(HYPER, network="small", num_envs=2, total_steps=32 * 6),
    )
    plain = loop.train(config, progress=False)
    both = loop.train(
        dataclasses.replace(config, monitor=MonitorConfig(eval_every=64, eval_episodes=2)), progress=False
    )
    np.testing.assert_array_equal(plain.metrics["loss"], both.metrics["loss"])
    done = both.metrics[monitor.EPISODES][0]
    np.testing.assert_array_equal(done, [np.nan, 2, np.nan, 2, np.nan, 2])
