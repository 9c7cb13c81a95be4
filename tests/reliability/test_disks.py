"""Disks that are full for a while, or to the end; places that cannot be written to; checkpoints that were damaged."""

import errno
import os
import random

import jax
import numpy as np
import pytest

from agents import PPOConfig
from helpers import set_up_already, small_meta_training
from metatrain import outer
from rlopt import cli
from rlopt.metatraining import checkpoint as meta_checkpoint
from rlopt.metatraining import metrics, trainer
from rlopt.runs import experiment, results
from rlopt.training import checkpoint, loop, placement
from rlopt.training.config import TrainConfig

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("shared_programs")]

HYPER = PPOConfig(total_steps=64 * 5, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, hyper=HYPER)
FLAGS = [
    "--optimizer",
    "adam",
    "--learning-rate",
    "1e-3",
    "--seeds",
    "2",
    "--total-steps",
    "320",
    "--rollout-length",
    "16",
    "--epochs",
    "1",
]
FLAGS += ["--minibatches", "1", "--hidden", "8"]
META = small_meta_training()


class Disk:
    """What is written to a folder finds no room while `full`; half of a line still fits."""

    def __init__(self, monkeypatch, folder):
        self.full, self.folder = False, folder
        write, fsync = os.write, os.fsync

        def no_room(handle):
            path = os.readlink(f"/proc/self/fd/{handle}")
            return self.full and path.startswith(str(folder))

        def patched_write(handle, data):
            if no_room(handle):
                if len(data) < 10:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return write(handle, data[: len(data) // 2])
            return write(handle, data)

        def patched_fsync(handle):
            if no_room(handle):
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(handle)

        monkeypatch.setattr(os, "write", patched_write)
        monkeypatch.setattr(os, "fsync", patched_fsync)


@pytest.fixture
def disk(monkeypatch, tmp_path, saves_at_every_interval):
    return Disk(monkeypatch, tmp_path)


def fill_between(monkeypatch, disk, first, last):
    """The disk is full from one logged line to another; both count the tries."""
    append, tries = results.append_row, []

    def counted(folder, row):
        tries.append(row["step"])
        disk.full = first <= len(tries) <= last
        append(folder, row)

    monkeypatch.setattr(results, "append_row", counted)


def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path, disk, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    experiment.run(CONFIG, whole, progress=False)
    fill_between(monkeypatch, disk, 2, 3)
    with pytest.warns(RuntimeWarning) as warned:
        experiment.run(CONFIG, folder, progress=False)
    said = " ".join(str(warning.message) for warning in warned)
    assert "nothing could be logged ([Errno 28] No space left on device); it is tried again" in said
    assert "no checkpoint could be written ([Errno 28] No space left on device)" in said
    assert (folder / results.METRICS).read_bytes() == (whole / results.METRICS).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_disk_that_is_full_at_the_last_line_costs_nothing(tmp_path, disk, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    experiment.run(CONFIG, whole, progress=False)
    last = (whole / results.METRICS).read_bytes().count(b"\n")
    fill_between(monkeypatch, disk, last, last)
    with pytest.warns(RuntimeWarning, match="nothing could be logged"):
        experiment.run(CONFIG, folder, progress=False)
    assert (folder / results.METRICS).read_bytes() == (whole / results.METRICS).read_bytes()


def test_a_disk_that_stays_full_ends_the_run_with_the_reason_and_what_was_saved_goes_on(
    tmp_path, disk, monkeypatch, capsys
):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    experiment.run(CONFIG, whole, progress=False)
    with monkeypatch.context() as patch:
        fill_between(patch, disk, 3, 99)
        with pytest.warns(RuntimeWarning, match="No space left"):
            assert cli.main(["train", "ppo", "--out", str(folder), *FLAGS], configure=set_up_already) == 2
    assert "rlopt: [Errno 28] No space left on device" in capsys.readouterr().err
    assert not results.is_finished(folder)
    assert (folder / results.METRICS).read_bytes().count(b"\n") == 2
    assert (folder / results.METRICS).read_bytes().endswith(b"\n")
    disk.full = False
    assert cli.main(["resume", str(folder)], configure=set_up_already) == 0
    assert (folder / results.METRICS).read_bytes() == (whole / results.METRICS).read_bytes()
    assert (folder / results.PARAMS).read_bytes() == (whole / results.PARAMS).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_meta_training_goes_on_with_a_full_disk_and_says_at_the_end_that_nothing_could_be_written(
    tmp_path, disk, monkeypatch
):
    made = outer.make_program(META)
    monkeypatch.setattr(outer, "make_program", lambda config, devices: made)

    def run(folder, fill=()):
        def report(row):
            disk.full = row["iteration"] in fill

        settings = {"checkpoint_every": 2, "validate_every": 0, "log_every": 1, "progress": False}
        return trainer.train(META, folder, report=report, **settings)

    whole = run(tmp_path / "whole")
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        for_a_while = run(tmp_path / "while", fill=(3, 4, 5))
    assert for_a_while.theta_path.read_bytes() == whole.theta_path.read_bytes()
    assert [row["iteration"] for row in metrics.read(tmp_path / "while")] == list(range(1, 9))
    with pytest.warns(RuntimeWarning, match="No space left"), pytest.raises(OSError, match="No space left on device"):
        run(tmp_path / "end", fill=range(5, 9))
    disk.full = False
    assert [path.name for path in (tmp_path / "end" / "checkpoints").iterdir()] != []
    assert run(tmp_path / "end").theta_path.read_bytes() == whole.theta_path.read_bytes()
    assert [row["iteration"] for row in metrics.read(tmp_path / "end")] == list(range(1, 9))


def test_a_place_that_cannot_be_written_to_is_refused_with_the_reason(tmp_path, capsys):
    (tmp_path / "file").touch()
    for command in (["train", "ppo", *FLAGS], ["sweep", "ppo", "--optimizers", "adam"], ["metatrain", "celo_adam"]):
        # Nobody, not even root, makes a folder there.
        for out, reason in ((tmp_path / "file" / "run", "Not a directory"), ("/proc/rlopt/run", "No such file")):
            assert cli.main([*command, "--out", str(out)], configure=set_up_already) == 2
            assert reason in capsys.readouterr().err


def damages(data, count=20):
    """Cut short, lengthened, or with one bit changed."""
    rng = random.Random(0)
    for _ in range(count):
        at = rng.randrange(len(data))
        yield rng.choice(
            [data[:at], data + b"x", data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]]
        )


def test_a_checkpoint_damaged_anywhere_is_passed_over_for_the_one_before(tmp_path):
    state = placement.initial_state(loop.make_agent(CONFIG), CONFIG, placement.mesh_for(2))
    numbers, stopped = np.zeros((1, 2), np.float32), np.full(2, -1, np.int64)
    for seconds in (1.0, 2.0):
        rows = [{"loss": np.zeros(2, np.float32)}]
        checkpoint.save(tmp_path, CONFIG, checkpoint.Progress(state, rows, numbers, numbers, stopped, seconds, seconds))
    path = tmp_path / checkpoint.NAMES[0]
    assert checkpoint.load(tmp_path, CONFIG, state).train_seconds == 2.0
    for data in damages(path.read_bytes()):
        path.write_bytes(data)
        with pytest.warns(UserWarning, match="passing over"):
            assert checkpoint.load(tmp_path, CONFIG, state).train_seconds == 1.0


def test_a_meta_checkpoint_damaged_anywhere_is_passed_over_for_the_one_before(tmp_path):
    state = outer.make_program(META).init()
    paths = [meta_checkpoint.save(tmp_path, state, iteration, META, 1.0, []) for iteration in (3, 5)]
    template = jax.eval_shape(lambda: state)
    for data in damages(paths[1].read_bytes()):
        paths[1].write_bytes(data)
        with pytest.warns(UserWarning, match="passing over"):
            assert meta_checkpoint.load_latest(tmp_path, template, META).iteration == 3
