"""What the tests of trackers share: a small run, trackers in memory, what TensorBoard reads."""

import dataclasses
import json
import struct
import types

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from rlopt.runs import experiment, results
from rlopt.tracking.subjects import Subject
from rlopt.training import presets
from rlopt.training.config import TrainConfig

SIZES = {"total_steps": 640, "num_envs": 4, "rollout_length": 16, "epochs": 1, "minibatches": 1}
PPO = dataclasses.replace(presets.config("ppo", "CartPole-v1"), **SIZES, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, seed=5, hyper=PPO)
# The same run from the command line.
FLAGS = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]
FLAGS += ["--hidden", "8", "--seeds", "2", "--seed", "5"]
LONG = 60.0


def subject(folder, **changes):
    members = {"seed-5": {"seed": 5}, "seed-6": {"seed": 6}}
    return Subject(folder, "one", "all", {"seed": 5, "seeds": 2}, "step", members, **changes)


def rows_of(folder):
    return [json.loads(line) for line in (folder / results.METRICS).read_text().splitlines()]


def events(folder):
    """The events of a folder's files, in the order in which TensorBoard reads them."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        assert "tfevents" in path.name
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


def scalars(folder):
    """{step: {tag: value}} as TensorBoard shows it: a start drops what was there from its step on."""
    shown = {}
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            shown = {step: values for step, values in shown.items() if step < event.step}
        for value in event.summary.value:
            shown.setdefault(event.step, {})[value.tag] = value.simple_value
    return shown


class Fake:
    """A tracker that notes what it gets, after doing what it is told to."""

    def __init__(self, do=lambda row: None):
        self.do, self.rows, self.ends = do, [], []

    def __call__(self, subjects, first):
        return types.SimpleNamespace(log=self.log, close=self.ends.append)

    def log(self, rows):
        (row,) = rows
        self.do(row)
        self.rows.append(row)


def follow(session, folder, count):
    with session.follow([subject(folder)]) as report:
        for step in range(count):
            report([{"step": step, "loss": [1.0, 2.0]}])


@pytest.fixture
def untracked(tmp_path):
    experiment.run(CONFIG, tmp_path / "untracked", progress=False)
    return tmp_path / "untracked"


def assert_same(folder, other):
    assert (folder / results.METRICS).read_bytes() == (other / results.METRICS).read_bytes()
    assert (folder / results.PARAMS).read_bytes() == (other / results.PARAMS).read_bytes()
    assert (folder / results.CONFIG).read_bytes() == (other / results.CONFIG).read_bytes()
