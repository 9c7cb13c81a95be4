"""Seeds and settings that are given up early."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from agents import PPOConfig
from helpers import ask_to_stop, one_device
from rlopt.report import reading
from rlopt.runs import console, experiment, kept, results, searched
from rlopt.storage.stopping import Unfinished
from rlopt.training import giving_up, placement
from rlopt.training.checkpoint import Left, Progress
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import MonitorConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("shared_programs"),
]

HYPER = PPOConfig(total_steps=64 * 20, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
RATES = (1e-4, 1e-3, 1e-2, 1e-1)
SWEEP = TrainConfig(optimizer="adam", rates=RATES, seeds=1, hyper=HYPER)
NAN = np.nan


def halved(**changes):
    return dataclasses.replace(SWEEP, monitor=MonitorConfig(halve_at=(300,), **changes))


def progress(returns, stopped=None, given_up=None):
    """After one interval, with these returns."""
    returns = np.asarray(returns, np.float32)
    counts = np.isfinite(returns).astype(np.float32)
    stopped = np.full(len(returns), -1) if stopped is None else np.asarray(stopped)
    left = None if given_up is None else Left(np.asarray(given_up), None)
    sums = np.nan_to_num(returns)[None]
    return Progress(None, [{"return": returns}], sums, counts[None], stopped, 0.0, 0.0, left=left)


def test_seeds_below_a_return_are_given_up_once_and_those_without_one_are_not():
    config = dataclasses.replace(SWEEP, rates=(), seeds=4, monitor=MonitorConfig(stop_below=10, stop_at=100))
    found = progress([9, 10, 11, 5], stopped=[-1, -1, -1, 64])
    assert giving_up.leaving(config, found, 128).tolist() == [True, False, False, False]
    for step in (64, 192, 1280):
        assert not giving_up.leaving(config, found, step).any()
    assert not giving_up.leaving(config, progress([NAN] * 4), 128).any()
    gone = progress([9, 1, 1, 11], given_up=[-1, 64, 64, -1])
    assert giving_up.leaving(config, gone, 128).tolist() == [True, False, False, False]


def test_the_better_half_of_the_settings_goes_on_and_at_least_two():
    config = dataclasses.replace(SWEEP, seeds=2, monitor=MonitorConfig(halve_at=(64, 128)))
    returns = [1, 9, 7, 7, 0, 0, 8, 8]
    assert giving_up.leaving(config, progress(returns), 64).tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    later = progress(returns, given_up=[64, 64, -1, -1, 64, 64, -1, -1])
    assert not giving_up.leaving(config, later, 128).any()
    three = progress(returns, given_up=[64, 64, -1, -1, -1, -1, -1, -1])
    assert giving_up.leaving(config, three, 128).tolist() == [False] * 4 + [True, True, False, False]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture
def whole(folder):
    """A sweep that gives up, evaluates and keeps, and is never stopped; its runs by their rates."""
    config = halved(eval_every=256, eval_episodes=2, keep_best=True, keep_every=64)
    runs, _ = experiment.sweep([config], folder / "whole", progress=False)
    return dict(zip(RATES, runs, strict=True))


def test_who_is_given_up_ends_there_and_the_others_learn_what_they_learn_anyway(tmp_path, whole):
    plain, _ = experiment.sweep([SWEEP], tmp_path / "plain", progress=False)
    left = {rate for rate, run in whole.items() if run.given_up[0] >= 0}
    assert len(left) == 2
    scores = {}
    for run, before in zip(whole.values(), plain, strict=True):
        count = len(run.steps)
        rate = run.summary["learning_rate"]
        assert count == (5 if rate in left else 20)  # 300 steps are over at the end of the fifth interval
        assert run.summary["env_steps"] == 64 * count
        np.testing.assert_array_equal(run.returns[:, :5], before.returns[:, :5])
        np.testing.assert_allclose(run.returns, before.returns[:, :count], rtol=1e-4)
        final = before.returns[0, :5][np.isfinite(before.returns[0, :5])][-1]
        scores[rate] = final
        if rate in left:
            assert run.final[0] == final
            newest = (run.folder / kept.FOLDER / "step-320.msgpack").read_bytes()
            assert (run.folder / results.PARAMS).read_bytes() == newest
    assert sorted(left, key=scores.get) == sorted(scores, key=scores.get)[:2]
    assert sum(run.summary["cpu_seconds"] for run in whole.values()) > 0


def test_a_sweep_that_gave_up_is_killed_and_goes_on_as_if_nothing_had_happened(tmp_path, whole, at_line):
    config = halved(eval_every=256, eval_episodes=2, keep_best=True, keep_every=64)
    with pytest.raises(Unfinished):
        experiment.sweep([config], tmp_path / "cut", progress=False, tracker=at_line(9, ask_to_stop))
    again, _ = experiment.sweep([config], tmp_path / "cut", progress=False)
    for run, other in zip(again, whole.values(), strict=True):
        for name in (results.PARAMS, results.RETURNS, results.METRICS, f"{kept.FOLDER}/best.msgpack"):
            assert (run.folder / name).read_bytes() == (other.folder / name).read_bytes(), name
        np.testing.assert_array_equal(run.given_up, other.given_up)
    with pytest.raises(ValueError, match="more of them need a sweep of their own"):
        experiment.sweep([dataclasses.replace(config, rates=(*RATES, 1.0))], tmp_path / "cut", progress=False)


def test_a_run_without_hope_ends_early_and_says_so(tmp_path, command):
    config = dataclasses.replace(
        SWEEP, rates=(), learning_rate=1e-3, seeds=2, monitor=MonitorConfig(stop_below=1e6, stop_at=128)
    )
    run = experiment.run(config, tmp_path / "run", progress=False)
    assert run.steps.tolist() == [64, 128]
    assert run.given_up.tolist() == [128, 128]
    assert np.all(np.isfinite(run.final))
    config = json.loads((tmp_path / "run" / results.CONFIG).read_text())
    assert (config["monitor"]["stop_below"], config["monitor"]["stop_at"]) == (1e6, 128)
    assert "adam (2 given up)" in map(str, console.table([run]).columns[0].cells)
    assert command("plot", run.folder, "--out", tmp_path / "x.png").status == 0
    assert results.read_config(run.folder).monitor.stops
    found = reading.read([run.folder])
    assert found.reported[0].given_up == {0: 128, 1: 128}
    said = f"{run.folder}: 2 of 2 seeds were given up after 128 steps (--stop-below 1e+06 --stop-at 128)"
    assert any(said in problem for problem in found.problems)


def test_a_report_says_once_what_a_sweep_gave_up(whole):
    sweep = next(iter(whole.values())).folder.parent
    (said,) = [problem for problem in reading.read([sweep]).problems if "given up" in problem]
    assert said.startswith(
        f"{sweep}: 2 of 4 seeds (in 2 of 4 runs all of them) were given up after 320 steps (--halve-at 300)"
    )


def test_trials_that_were_given_up_come_after_all_others(whole):
    ranked = searched.ranked(found := searched.read(list(whole.values())))
    assert searched.counted(found) == "4 trials (2 given up early)"
    assert [bool(one.run.given_up[0] >= 0) for one in ranked] == [False, False, True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop_below": 1.0}, "stop_below and stop_at go together, got 1.0 and 0"),
        ({"stop_at": 100}, "stop_below and stop_at go together, got None and 100"),
        ({"stop_below": NAN, "stop_at": 100}, "stop_below must be a finite return, got nan"),
        ({"halve_at": (200, 100)}, "halve_at must rise, got 200, 100"),
        ({"halve_at": (10,)}, "halve_at must be at least a logging interval, 64 steps here"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SWEEP, monitor=MonitorConfig(**changes)).check()


def test_what_cannot_be_parted_or_halved_is_refused(tmp_path):
    one = dataclasses.replace(SWEEP, rates=(), monitor=MonitorConfig(halve_at=(100,)))
    for train in (lambda: experiment.run(one, tmp_path / "a"), lambda: experiment.compare([one], tmp_path / "a")):
        with pytest.raises(ValueError, match="halve_at is for `rlopt sweep`, whose rates or trials it halves, got 100"):
            train()
    game = TrainConfig(env="Pong-v5", optimizer="adam", monitor=MonitorConfig(stop_below=0, stop_at=1_000_000))
    with pytest.raises(ValueError, match="emulators cannot be parted"):
        game.check()
    assert not jax.tree.leaves(list(tmp_path.iterdir()))


@pytest.mark.slow
@pytest.mark.mesh
def test_several_devices_evaluate_and_give_up_as_one_does(tmp_path, monkeypatch, at_line):
    config = halved(eval_every=256, eval_episodes=2, keep_best=True)
    with pytest.raises(Unfinished):
        experiment.sweep([config], tmp_path / "many", progress=False, tracker=at_line(9, ask_to_stop))
    many, _ = experiment.sweep([config], tmp_path / "many", progress=False)
    assert {run.summary["devices"] for run in many} == {"4 x cpu"}
    monkeypatch.setattr(placement, "mesh_for", one_device)
    one, _ = experiment.sweep([config], tmp_path / "one", progress=False)
    for run, other in zip(many, one, strict=True):
        np.testing.assert_array_equal(run.given_up, other.given_up)
        np.testing.assert_allclose(run.returns, other.returns, rtol=1e-3)
        found, wanted = (kept.read_evaluations(x.folder, 1) for x in (run, other))
        if wanted is not None:
            np.testing.assert_array_equal(found.steps, wanted.steps)
            np.testing.assert_allclose(found.returns, wanted.returns, rtol=1e-3)
