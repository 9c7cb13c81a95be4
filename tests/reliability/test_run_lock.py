"""Two processes and one run folder; and how a run is asked to stop."""

import dataclasses
import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from agents import PPOConfig
from helpers import set_up_already, small_meta_training, write_run
from rlopt import cli
from rlopt.benchmark import protocol, runner
from rlopt.benchmark.plan import Plan
from rlopt.metatest import suite
from rlopt.metatest.config import SuiteConfig
from rlopt.metatraining import trainer
from rlopt.play import film, reel
from rlopt.report import pictures, write
from rlopt.runs import experiment, results
from rlopt.storage import run_lock, stopping
from rlopt.storage.stopping import Unfinished
from rlopt.training import checkpoint, loop
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HYPER = PPOConfig(total_steps=64 * 3, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, hyper=HYPER)
SWEEP = dataclasses.replace(CONFIG, learning_rate=None, rates=(1e-3, 1e-2))
META = small_meta_training()

# jax is not needed to hold a lock, and would take seconds.
HOLDER = """
import sys, types
sys.modules["celo2"] = package = types.ModuleType("celo2")
package.__path__ = [sys.argv[1] + "/celo2"]
from pathlib import Path
from rlopt.storage import run_lock
with run_lock.held(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts processes that hold a folder until their input ends."""
    processes = []

    def start(folder):
        root = str(Path(__file__).resolve().parents[2])
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, root, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_the_second_process_is_told_who_holds_the_folder_and_changes_nothing(tmp_path, hold, capsys):
    places = {name: tmp_path / name for name in ("run", "sweep", "meta", "suite")}
    # A sweep is held by its optimizer's folder.
    holders = [hold(folder) for folder in (places["run"], places["sweep"] / "adam", places["meta"], places["suite"])]
    for use, holder in zip(
        (
            lambda: experiment.run(CONFIG, places["run"], progress=False),
            lambda: experiment.sweep([SWEEP], places["sweep"], progress=False),
            lambda: trainer.train(META, places["meta"], progress=False),
            lambda: suite.run(SuiteConfig(steps=100), places["suite"], progress=False),
        ),
        holders,
        strict=True,
    ):
        with pytest.raises(ValueError, match=rf"is in use by another process \(process {holder.pid} on "):
            use()
    flags = ["--total-steps", "192", "--rollout-length", "16", "--hidden", "8", "--optimizer", "adam", "--seeds", "2"]
    assert cli.main(["train", "ppo", "--out", str(places["run"]), *flags], configure=set_up_already) == 2
    assert "is in use by another process" in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*")} == {*places, "adam", run_lock.NAME}


def test_one_rate_of_a_sweep_that_runs_cannot_be_resumed_beside_it(tmp_path, monkeypatch):
    refused = []

    def meanwhile(folder, row):
        if not refused:
            with pytest.raises(ValueError, match=r"rate-0\.01 is in use by another process"):
                experiment.resume(tmp_path / "adam" / "rate-0.01", progress=False)
            refused.append(folder)

    monkeypatch.setattr(results, "append_row", meanwhile)
    experiment.sweep([SWEEP], tmp_path, progress=False)
    assert refused
    assert not list(tmp_path.rglob(run_lock.NAME))


def test_the_lock_vanishes_with_its_process(tmp_path, hold):
    process = hold(tmp_path)
    with pytest.raises(ValueError, match="in use"), run_lock.held(tmp_path):
        pass
    process.kill()
    process.wait()
    assert run_lock.is_empty(tmp_path)
    with run_lock.held(tmp_path), pytest.raises(ValueError, match="in use"), run_lock.held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_lock_on_a_file_that_was_just_removed_is_none(tmp_path, monkeypatch, made_anew):
    flock, removed = run_lock.fcntl.flock, []

    def remove_first(handle, how):
        if not removed:
            (tmp_path / run_lock.NAME).rename(tmp_path / "removed")  # its inode stays in use
            removed.append(made_anew and (tmp_path / run_lock.NAME).touch())
        flock(handle, how)

    monkeypatch.setattr(run_lock.fcntl, "flock", remove_first)
    with run_lock.held(tmp_path):
        monkeypatch.undo()
        with pytest.raises(ValueError, match="in use"), run_lock.held(tmp_path):
            pass


def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch):
    def none(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "flock", none)
    with pytest.warns(RuntimeWarning, match="without locks .*No locks available"), run_lock.held(tmp_path):
        pass


def test_what_killed_processes_left_half_written_is_cleared_away(tmp_path):
    left = [
        tmp_path / f".{results.CONFIG}.ab_12cd3.tmp",
        tmp_path / trainer.CHECKPOINTS / ".checkpoint_00000002.msgpack.abcd1234.tmp",
    ]
    kept = [tmp_path / ".own.tmp", tmp_path / trainer.CHECKPOINTS / "checkpoint_00000002.msgpack"]
    for path in (*left, *kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with run_lock.held(tmp_path):
        pass
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_what_killed_reports_benchmarks_and_films_left_half_written_is_cleared_away(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", CONFIG, [1.0] * CONFIG.seeds)
    left = {
        "report": [run / "report" / place / ".a.csv.abcd1234.tmp" for place in ("", "figures", "tables")],
        "benchmark": [tmp_path / "benchmark" / f".{name}.abcd1234.tmp" for name in (protocol.PLAN, protocol.RANDOM)],
        "film": [run / film.FILMS / ".seed_0.gif.abcd1234.tmp"],
    }
    for path in itertools.chain(*left.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(pictures, "all_of", lambda *arguments: [])
    monkeypatch.setattr(protocol, "play_randomly", lambda *arguments: None)
    monkeypatch.setattr(runner, "_train_all", lambda *arguments: None)
    monkeypatch.setattr(film, "_game", lambda *arguments: lambda *arguments: [reel.Shot((None, None), 1.0, 1, True)])
    monkeypatch.setattr(film.evaluation, "load_policies", lambda *arguments: (None, ()))
    monkeypatch.setattr(film, "recurrence", lambda agent: types.SimpleNamespace(start=lambda number: None, act=None))
    for name in ("write_gif", "write_mp4"):
        monkeypatch.setattr(film, name, lambda *arguments: False)
    write.write([run], timing=False)
    runner.run(Plan(optimizers=("adam",), envs=("CartPole-v1",)), tmp_path / "benchmark", progress=False)
    film.watch(run)
    assert not [path for path in itertools.chain(*left.values()) if path.exists()]


def test_a_folder_whose_run_was_killed_before_its_first_file_counts_as_empty(tmp_path):
    for name in (run_lock.NAME, f".{results.CONFIG}.ab_12cd3.tmp"):
        (tmp_path / name).touch()
    results.check_free(tmp_path)
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="is not an empty folder"):
        results.check_free(tmp_path)


class NeverReady:
    """The output of a program that goes on for ever."""

    def is_ready(self):
        return False


def test_ctrl_c_is_heard_within_an_interval_and_the_second_stops_at_once(tmp_path, capfd):
    def send():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            while "stopping after this interval" not in capfd.readouterr().err and not twice:
                time.sleep(0.01)
            twice.append(1)

    twice = []
    thread = threading.Thread(target=send)
    with stopping.stop_requested() as stop:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            loop._run_chunk(lambda state: (state, NeverReady()), None, tmp_path, "a run")
    thread.join()
    assert stop == [signal.SIGINT]


def test_ctrl_c_once_leaves_a_checkpoint(tmp_path, monkeypatch):
    append = results.append_row

    def and_stop(folder, row):
        append(folder, row)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(results, "append_row", and_stop)
    with pytest.raises(Unfinished, match="resumes it from there"):
        experiment.run(CONFIG, tmp_path, progress=False)
    assert checkpoint.exists(tmp_path)
    assert not (tmp_path / run_lock.NAME).exists()
