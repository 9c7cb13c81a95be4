"""Commands on run folders that somebody has tampered with: done or refused, never a traceback."""

import importlib.util
import json
import random
import shutil
import sys
from pathlib import Path

import pytest

from helpers import by_default
from rlopt.benchmark import protocol
from rlopt.benchmark.plan import Plan
from rlopt.report import pictures
from rlopt.runs import plots, results
from rlopt.training import loop

sys.path.append(str(Path(__file__).parent))
from attacks import base

SPEC = importlib.util.spec_from_file_location("fuzz", Path(__file__).with_name("test_fuzz.py"))
fuzz = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fuzz)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

INPUTS = (25, 100)  # by default, and of slow tests
PLAN = Plan(optimizers=("adam",), envs=("CartPole-v1",), seeds=2, tuning_seeds=2, learning_rates=(1e-3,))
BENCHMARK = (
    "benchmark",
    "ppo",
    "--envs",
    "CartPole-v1",
    "--optimizers",
    "adam",
    "--seeds",
    "2",
    "--learning-rates",
    "1e-3",
)
FINAL = protocol.place(Path(), protocol.FINAL, "CartPole-v1", "adam") / "rate-0.001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, one that is not, and a benchmark."""
    folder = tmp_path_factory.mktemp("whole")
    run = base.finished(folder / "run")
    (folder / "unfinished").mkdir()
    shutil.copy(run / results.CONFIG, folder / "unfinished")
    protocol.write_plan(folder / "benchmark", PLAN)
    (folder / "benchmark" / protocol.RANDOM).write_text(json.dumps({"CartPole-v1": [20.0]}))
    for stage, seed in ((protocol.TUNING, 10_000), (protocol.FINAL, 0)):
        place = protocol.place(folder / "benchmark", stage, "CartPole-v1", "adam") / "rate-0.001"
        base.finished(place, base.settings(seed=seed))
    return folder


@pytest.mark.parametrize("inputs", by_default(INPUTS, INPUTS[0]))
@pytest.mark.parametrize(
    ("kind", "name", "command"),
    [
        *(("run", name, ("plot",)) for name in (results.CONFIG, results.SUMMARY, results.RETURNS)),
        *(("run", name, ("report", "--no-timing")) for name in (results.CONFIG, results.SUMMARY, results.RETURNS)),
        ("run", results.CONFIG, ("evaluate", "--episodes", "1")),
        ("unfinished", results.CONFIG, ("resume",)),
        *(
            ("benchmark", name, ("report", "--no-timing"))
            for name in (protocol.PLAN, protocol.RANDOM, FINAL / results.CONFIG)
        ),
        *(("benchmark", name, BENCHMARK) for name in (protocol.PLAN, protocol.RANDOM)),
    ],
)
def test_commands_on_tampered_folders(tmp_path, monkeypatch, whole, kind, name, command, inputs):
    def untrained(*arguments, **more):
        raise ValueError("it would be trained")

    # Pictures take nearly all the time; the names in them are attacked by themselves.
    monkeypatch.setattr(plots, "save", lambda figure, path: None)
    monkeypatch.setattr(pictures, "all_of", lambda *arguments: [])
    monkeypatch.setattr(loop, "train", untrained)
    monkeypatch.chdir(tmp_path)
    rng, statuses = random.Random(f"{kind} {name} {command}"), []
    real = (whole / kind / name).read_bytes()
    make = fuzz.some_npz if str(name).endswith(".npz") else fuzz.some_json
    for i in range(inputs):
        folder = shutil.copytree(whole / kind, tmp_path / str(i))
        (folder / name).write_bytes(make(rng, real))
        done = base.command(*command, *(("--out", folder) if command is BENCHMARK else (folder,)))
        assert done.status in (0, 2), (done.err[-3000:], (folder / name).read_bytes()[:3000])
        assert len(done.err) < 20_000
        assert "\x1b" not in done.out + done.err
        statuses.append(done.status)
        shutil.rmtree(folder)
    # Plots can do without settings, and a report says which of several runs it leaves out.
    assert 2 in statuses or (command[0], str(name)) in {
        ("plot", results.CONFIG),
        ("report", str(FINAL / results.CONFIG)),
        ("report", protocol.RANDOM),
    }
