"""Kills between any two writes, and within one: what is resumed from what is left ends as if nothing had happened.

A kill leaves a folder as it is at that moment. So every moment at which a run touches its folder is kept as a copy, with
files and lines also cut in half, and runs are resumed from copies chosen at random. `tests/slow/test_real_kills.py` kills real
processes.
"""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from agents import PPOConfig
from celo2 import files
from helpers import by_default, small_meta_training
from metatrain import outer, validation
from rlopt.metatraining import metrics, trainer
from rlopt.runs import experiment, folders, plots, results
from rlopt.storage import run_lock
from rlopt.training import checkpoint, loop, placement
from rlopt.training.config import TrainConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("saves_at_every_interval"),
]

KILLS = (5, 20)  # by default, and of slow tests
HYPER = PPOConfig(total_steps=64 * 5, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, hyper=HYPER)
SWEEP = dataclasses.replace(CONFIG, learning_rate=None, rates=(1e-3, 1e-2))
META = small_meta_training(refresh_every=4)


@pytest.fixture(autouse=True)
def programs_are_compiled_once(monkeypatch):
    """A run is resumed twenty times here, always with the same programs; pictures are not what is tested."""

    def once(function, key, copy=lambda made: made):
        made = {}

        def found(*arguments):
            name = key(*arguments)
            if name not in made:
                made[name] = function(*arguments)
            return copy(made[name])

        return found

    def copied(state):
        return jax.tree.map(lambda x: jax.device_put(x, x.sharding, may_alias=False), state)

    def shapes(mesh, agent, length, state, in_turn):
        return length, in_turn, str([x.shape for x in jax.tree.leaves(state)])

    monkeypatch.setattr(loop, "make_agent", once(loop.make_agent, repr))
    monkeypatch.setattr(outer, "make_program", once(outer.make_program, lambda config, devices: repr(config)))
    monkeypatch.setattr(placement, "compile_chunk", once(placement.compile_chunk, shapes))
    # It is given away to the program, so a copy each time.
    initial_state = once(placement.initial_state, lambda agent, config, mesh: repr(config), copied)
    monkeypatch.setattr(placement, "initial_state", initial_state)
    monkeypatch.setattr(plots, "save", lambda figure, path: files.write_atomic(path, b"a picture"))


@pytest.fixture(params=by_default(KILLS, KILLS[0]))
def killed(request, tmp_path, monkeypatch):
    """killed(run, folder): runs into the folder; the folders that kills at random moments would have left."""

    def copies(run, folder):
        moments = []

        def keep(cut=None, length=None):
            copy = tmp_path / "moments" / str(len(moments))
            shutil.copytree(folder, copy)
            moments.append(copy)
            if cut is not None:
                os.truncate(copy / Path(cut).relative_to(folder), length)

        def within(path):
            return str(path).startswith(str(folder)) and folder.is_dir()

        def around(function):
            def patched(path, *rest, **more):
                if within(path):
                    keep()
                done = function(path, *rest, **more)
                if within(path):
                    keep()
                return done

            return patched

        def write(handle, data, write=os.write):
            path = os.readlink(f"/proc/self/fd/{handle}")
            done = write(handle, data)
            if within(path):
                keep(path, os.path.getsize(path) - len(data) // 2)
                keep()
            return done

        def fsync(handle, fsync=os.fsync):
            path = os.readlink(f"/proc/self/fd/{handle}")
            fsync(handle)
            if within(path):
                keep(path, os.path.getsize(path) // 2)
                keep()

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            patch.setattr(os, "fsync", fsync)
            for name in ("replace", "unlink", "mkdir"):
                patch.setattr(os, name, around(getattr(os, name)))
            run()
        assert len(moments) > 2 * max(KILLS)
        return random.Random(0).sample(moments, request.param)

    return copies


def contents(folder):
    """Every file; what is left of the lock of a process that was killed after the end locks nothing."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != run_lock.NAME]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def assert_same_runs(folder, whole):
    names = [[run.folder.relative_to(base) for run in results.find_runs([base])] for base in (folder, whole)]
    assert names[0] == names[1]
    for name in names[0]:
        again, before = results.read_run(folder / name), results.read_run(whole / name)
        for field in ("steps", "returns", "final", "stopped"):
            np.testing.assert_array_equal(getattr(again, field), getattr(before, field))
        for file in (results.PARAMS, results.METRICS):
            assert (folder / name / file).read_bytes() == (whole / name / file).read_bytes()
    # No checkpoint, nothing half-written.
    assert contents(folder).keys() == contents(whole).keys()


def test_training_runs_killed_at_any_moment_end_as_if_nothing_had_happened(tmp_path, killed):
    folder = tmp_path / "whole"
    for place in killed(lambda: experiment.run(CONFIG, folder, progress=False), folder):
        if not results.is_finished(place):
            experiment.run(CONFIG, place, progress=False)
        else:
            folders.train(place, CONFIG, progress=False, draw=False)
        assert_same_runs(place, folder)


@pytest.mark.slow
def test_sweeps_killed_at_any_moment_end_as_if_nothing_had_happened(tmp_path, killed):
    folder = tmp_path / "whole"
    for place in killed(lambda: experiment.sweep([SWEEP], folder, progress=False), folder):
        experiment.sweep([SWEEP], place, progress=False)
        assert_same_runs(place, folder)


def test_meta_training_killed_at_any_moment_ends_as_if_nothing_had_happened(tmp_path, killed):
    folder = tmp_path / "whole"

    def run(place):
        def score(theta):
            loss = float(np.abs(theta["rnn_params"]["step_size"]["w"]).mean())
            return validation.Score(loss, 1.0, {"digits": loss})

        trainer.train(META, place, checkpoint_every=2, validate_every=2, log_every=1, progress=False, score=score)

    for place in killed(lambda: run(folder), folder):
        run(place)
        here, there = contents(place), contents(folder)
        assert here.keys() == there.keys()
        for name in there:
            if name.endswith(".theta"):
                assert here[name] == there[name], name
        rows, before = metrics.read(place), metrics.read(folder)
        assert (place / metrics.METRICS).read_bytes().count(b"\n") == len(rows)
        for row in (*rows, *before):
            row.pop("inner_steps_per_second")
        assert rows == before


CHILD = """
import os, signal, sys
from rlopt.training import runtime
runtime.configure(2)
from celo2 import files
from rlopt.runs import experiment, results
from rlopt.training import loop
loop.SAVE_SECONDS = loop.SAVE_SHARE = 0.0
write, done = os.write, []
def write_half(handle, data):
    if data.startswith(b'{"step"'):
        done.append(data)
        if len(done) == 4:
            write(handle, data[:len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
    return write(handle, data)
os.write = write_half
from pathlib import Path
experiment.resume(Path(sys.argv[1]), progress=False)
"""


@pytest.mark.slow
def test_a_process_killed_within_a_line_goes_on(tmp_path):
    whole, place = tmp_path / "whole", tmp_path / "killed"
    experiment.run(CONFIG, whole, progress=False)
    place.mkdir()
    shutil.copy(whole / results.CONFIG, place)
    environment = os.environ | {"XLA_FLAGS": os.environ["CHILD_XLA_FLAGS"]}
    assert subprocess.run([sys.executable, "-c", CHILD, str(place)], env=environment).returncode == -signal.SIGKILL
    left = (place / results.METRICS).read_bytes()
    assert left.count(b"\n") == 3
    assert not left.endswith(b"\n")
    assert checkpoint.exists(place)
    assert (place / run_lock.NAME).exists()
    experiment.resume(place, progress=False)
    assert_same_runs(place, whole)
