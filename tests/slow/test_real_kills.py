"""Twenty real SIGKILLs at random moments, of a training run, a sweep and a meta-training run: `make test-slow`."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rlopt.metatraining import metrics
from rlopt.runs import results
from rlopt.storage import run_lock

pytestmark = pytest.mark.slow

KILLS = 20
# Intervals are slowed down, so that a run outlives a few of its starts.
CHILD = """
import sys, time
from rlopt.training import runtime
runtime.configure(2)
from pathlib import Path
from agents import PPOConfig
from metatrain.config import MetaTrainConfig
from rlopt.metatraining import metrics, trainer
from rlopt.runs import experiment, folders, results
from rlopt.training import loop
from rlopt.training.config import TrainConfig
loop.SAVE_SECONDS = loop.SAVE_SHARE = 0.0
kind, folder, pause = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
for module, name in ((results, "append_row"), (metrics, "append")):
    def slowly(*arguments, append=getattr(module, name)):
        append(*arguments)
        time.sleep(pause)
    setattr(module, name, slowly)
hyper = PPOConfig(total_steps=64 * 50, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
if kind == "train":
    folders.train(folder, TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, hyper=hyper), False, draw=False)
elif kind == "sweep":
    experiment.sweep([TrainConfig(optimizer="adam", rates=(1e-3, 1e-2), seeds=2, hyper=hyper)], folder, False)
else:
    config = MetaTrainConfig(
        rule="celo_adam", iterations=60, families=("digits",), tasks_per_family=2, hidden=4, batch_size=4, truncation=5,
        min_unroll=5, max_unroll=20, refresh_every=8,
    )
    trainer.train(config, folder, checkpoint_every=2, validate_every=0, log_every=1, progress=False)
"""


def start(kind, folder, pause):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.Popen([sys.executable, "-c", CHILD, kind, str(folder), str(pause)], env=environment)


def files(folder):
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != run_lock.NAME]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["train", "sweep", "metatrain"])
def test_twenty_kills_change_nothing(tmp_path, kind):
    rng = random.Random(kind)
    whole = tmp_path / "whole"
    assert start(kind, whole, 0.0).wait() == 0
    kills, folder = 0, tmp_path / "0"
    while kills < KILLS or folder.is_dir():
        process = start(kind, folder, 0.05)
        if kills < KILLS:
            # A few of them while it starts.
            seen = len(list(folder.rglob("*.jsonl"))) and rng.random() < 0.8
            size = sum(path.stat().st_size for path in folder.rglob("*.jsonl"))
            while seen and process.poll() is None and size == sum(p.stat().st_size for p in folder.rglob("*.jsonl")):
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.8) if seen else rng.uniform(0, 8))
            process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            kills += 1
            continue
        assert process.returncode == 0
        assert_same(kind, folder, whole)
        if kills >= KILLS:
            return
        folder = tmp_path / str(kills)  # it came to its end before its last kill


def assert_same(kind, folder, whole):
    here, there = files(folder), files(whole)
    assert here.keys() == there.keys()
    for name in there:
        if name.endswith((".theta", results.PARAMS)) or (name.endswith(".jsonl") and kind != "metatrain"):
            assert here[name] == there[name], name
    if kind == "metatrain":
        rows, before = metrics.read(folder), metrics.read(whole)
        assert here[metrics.METRICS].count(b"\n") == len(rows)
        for row in (*rows, *before):
            row.pop("inner_steps_per_second")
        assert rows == before
        return
    for run in results.find_runs([whole]):
        again = results.read_run(folder / run.folder.relative_to(whole))
        for field in ("steps", "returns", "final", "stopped"):
            np.testing.assert_array_equal(getattr(again, field), getattr(run, field))
