"""Meta-training runs: devices, kill and resume, damaged and foreign checkpoints."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import celo2
from metatrain import checkpoint, outer, trainer
from metatrain.config import MetaTrainConfig

SMALL = MetaTrainConfig(
    rule="celo2_base",
    iterations=6,
    datasets=("digits", "mnist"),
    tasks_per_dataset=4,
    hidden=8,
    batch_size=8,
    truncation=5,
    min_unroll=5,
    max_unroll=20,
    outer_learning_rate=1e-2,
)


def thetas_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_eight_devices_give_the_result_of_one():
    results = []
    for devices in (jax.devices()[:1], jax.devices()):
        program = outer.build(SMALL, devices)
        state = program.init()
        for _ in range(4):
            state, metrics = program.step(state)
        results.append((state.theta, metrics))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), *results)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its result, its folder."""
    folder = tmp_path_factory.mktemp("finished")
    return trainer.train(SMALL, folder, checkpoint_every=2, log_every=2, progress=False), folder


@pytest.fixture
def own_copy(finished, tmp_path):
    """A copy of the finished run's folder, to damage."""
    return Path(shutil.copytree(finished[1], tmp_path / "copy"))


def test_a_run_learns_and_leaves_theta_card_and_metrics(finished):
    result, tmp_path = finished
    assert result.iteration == 6
    thetas_equal(celo2.load_checkpoint(result.theta_path), result.theta)
    card = json.loads((tmp_path / "celo2_base.json").read_text())
    assert card["iterations"] == 6
    assert card["inner_steps"] == 6 * SMALL.inner_steps_per_iteration
    assert card["command"].startswith("rlopt metatrain celo2_base --iterations 6 ")
    rows = trainer.read_metrics(tmp_path)
    assert [row["iteration"] for row in rows] == [2, 4, 6]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    start = outer.build(SMALL).init().theta
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(result.theta), strict=True))


CHILD = """
import sys
from rlopt import runtime
runtime.configure(2)
from pathlib import Path
from metatrain import trainer
from metatrain.config import MetaTrainConfig
config = MetaTrainConfig(**eval(sys.argv[1]))
trainer.train(config, Path(sys.argv[2]), checkpoint_every=4, log_every=2, progress=False)
"""


def child(config, folder):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    settings = repr(dataclasses.asdict(config))
    return subprocess.Popen([sys.executable, "-c", CHILD, settings, str(folder)], env=environment)


def wait_for_checkpoint(folder, process):
    wait_for(lambda: list((folder / "checkpoints").glob("checkpoint_*.msgpack")), process)


def wait_for(happened, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, "the run ended early"
        time.sleep(0.005)


def test_kill_and_resume_gives_the_same_theta_bit_for_bit(tmp_path):
    config = dataclasses.replace(SMALL, iterations=400)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert child(config, whole).wait() == 0
    first = child(config, broken)
    wait_for_checkpoint(broken, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (broken / "checkpoints" / "checkpoint_00000400.msgpack").exists()
    assert child(config, broken).wait() == 0
    assert (broken / "celo2_base.theta").read_bytes() == (whole / "celo2_base.theta").read_bytes()

    def losses(folder):
        return [(row["iteration"], row["loss"]) for row in trainer.read_metrics(folder)]

    assert losses(broken) == losses(whole)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    process = child(SMALL, tmp_path)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.rglob("checkpoint_*.msgpack"))
    assert child(SMALL, tmp_path).wait() == 0
    assert [row["iteration"] for row in trainer.read_metrics(tmp_path)] == [2, 4, 6]


def test_sigterm_stops_after_the_interval_with_a_checkpoint(tmp_path):
    config = dataclasses.replace(SMALL, iterations=100_000)
    process = child(config, tmp_path)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    last = trainer.read_metrics(tmp_path)[-1]["iteration"]
    assert (tmp_path / "checkpoints" / f"checkpoint_{last:08d}.msgpack").exists()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(own_copy):
    newest = own_copy / "checkpoints" / "checkpoint_00000006.msgpack"
    whole = newest.read_bytes()
    template = jax.eval_shape(outer.build(SMALL).init)
    for data in (whole[: len(whole) // 2], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        newest.write_bytes(data)
        with pytest.warns(UserWarning, match="passing over"):
            loaded = checkpoint.load_latest(newest.parent, template, SMALL)
        assert loaded.iteration == 4


def test_other_settings_are_refused_by_name(own_copy):
    other = dataclasses.replace(SMALL, std=0.02)
    with pytest.raises(ValueError, match=r"other settings \(std: 0\.01 there, 0\.02 here\)"):
        trainer.train(other, own_copy, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks_per_dataset": 0}, "tasks_per_dataset must be at least 1, got 0"),
        ({"min_unroll": 3}, r"min_unroll \(3\) must not be shorter than truncation \(5\)"),
        ({"max_unroll": 4}, r"max_unroll \(4\) must be at least min_unroll \(5\)"),
        ({"std": 0.0}, "std must be positive"),
        ({"datasets": ()}, "datasets must name at least one"),
        ({"datasets": ("svhn",)}, "unknown data set 'svhn'; there are"),
        ({"rule": "celo3"}, "unknown rule 'celo3'; there are celo2"),
        ({"scale_range": (0.0, 1.0)}, "scale_range must satisfy"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        outer.build(dataclasses.replace(SMALL, **changes))


def test_a_kill_between_checkpoint_and_theta_is_repaired(finished, own_copy):
    (own_copy / "celo2_base.theta").write_bytes(b"old")
    (own_copy / "celo2_base.json").unlink()
    trainer.train(SMALL, own_copy, checkpoint_every=2, log_every=2, progress=False)
    assert (own_copy / "celo2_base.theta").read_bytes() == finished[0].theta_path.read_bytes()
    assert json.loads((own_copy / "celo2_base.json").read_text())["iterations"] == 6


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match="neither empty nor a meta-training run"):
        trainer.train(SMALL, tmp_path, progress=False)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_a_truncation_of_one_step_gives_finite_gradients():
    program = outer.build(dataclasses.replace(SMALL, truncation=1, min_unroll=1, max_unroll=2))
    state = program.init()
    for _ in range(5):
        state, metrics = program.step(state)
        assert float(metrics.bad_grads) == 0.0
        assert float(metrics.loss) < outer.BAD_LOSS
