"""Twenty SIGKILLs at random moments of every command that writes a run, and of `evaluate` and `report`: `make test-slow`.

After each kill the same command is given again, until it comes to its end: what lies in its folder is then, bit for bit, what
an undisturbed command leaves, but for seconds. `python tests/slow/test_kills_of_commands.py [COMMAND ...]` prints how it went.
"""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

KILLS = 20
# Seconds after each line that a command adds to a file, and before each file that is whole takes its place: else all would
# be written within a moment.
PAUSE = 0.05
# Commands run in copies of a process that has imported everything, and has no devices yet: importing takes seconds.
SERVER = """
import functools, json, os, signal, sys, time, traceback
root, cache = sys.argv[1:]
os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
import jax
from metatrain import validation
from rlopt import cli
import rlopt.benchmark.runner, rlopt.metatest.report, rlopt.metatest.suite, rlopt.play.evaluation, rlopt.report.write
from rlopt.metareturns import search
from rlopt.metatraining import metrics, trainer
from rlopt.runs import console, experiment, guided, results, searched
from rlopt.training import loop
searched.cpu_seconds = lambda mine: None  # the picture of a search has them in its legend
# Meta-validation on tasks that take a moment.
small = {"specs": ("digits_inverted", "digits/tanh"), "steps": 20, "problems": 1, "hidden": 8}
validation.make = functools.partial(validation.make, **small)
loop.SAVE_SECONDS = loop.SAVE_SHARE = 0.0
for module, name in ((results, "append_row"), (metrics, "append"), (search, "append_line"), (os, "fsync")):
    def slowly(*arguments, write=getattr(module, name)):
        write(*arguments)
        time.sleep(pause)
    setattr(module, name, slowly)
for line in sys.stdin:
    command, out, pause, limit = json.loads(line)
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        log = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        status = 70
        try:
            status = cli.main(command)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if limit is not None and time.monotonic() - began > limit:
            os.kill(process, signal.SIGKILL)  # if it has come to its end, nothing happens
            limit = None
        time.sleep(0.005)
    print(json.dumps([os.waitstatus_to_exitcode(ended[1]), time.monotonic() - began]), flush=True)
"""
SMALL = (
    "--num-envs",
    "4",
    "--rollout-length",
    "16",
    "--epochs",
    "1",
    "--minibatches",
    "1",
    "--hidden",
    "8",
    "--seeds",
    "2",
)
META = ("--families", "digits", "--tasks-per-family", "1", "--hidden", "4", "--batch-size", "4", "--truncation", "5")
META += ("--min-unroll", "5", "--max-unroll", "20", "--validate-every", "20", "--refresh-every", "20")
COMMANDS = {
    "train": ("train", "ppo", "--optimizer", "adam", "--total-steps", "1280", *SMALL),
    "compare": ("compare", "ppo", "--optimizers", "adam", "sgd", "--total-steps", "640", *SMALL),
    "sweep": (
        "sweep",
        "ppo",
        "--optimizers",
        "adam",
        "--learning-rates",
        "1e-3",
        "1e-2",
        "--total-steps",
        "1280",
        *SMALL,
    ),
    "sweep of three settings": (
        "sweep",
        "ppo",
        *("--optimizers", "adam", "adamw", "--grid", "learning_rate", "1e-3", "1e-2", "--grid", "b2", "0.9", "0.99"),
        *("--grid", "gamma", "0.9", "0.99", "--total-steps", "640"),
        *SMALL,
    ),
    "sweep by Optuna": (
        "sweep",
        "ppo",
        *("--optimizers", "adam", "--sampler", "optuna", "--trials", "20", "--batch", "5"),
        *("--space", "factor=log:0.1:10", "gamma=choice:0.9:0.99", "b2=lin:0.9:0.999", "--total-steps", "640"),
        *SMALL,
    ),
    "benchmark": (
        "benchmark",
        "ppo",
        "--envs",
        "CartPole-v1",
        "--optimizers",
        "adam",
        "--learning-rates",
        "1e-3",
        "1e-2",
    ),
    "metatrain": ("metatrain", "celo_adam", "--iterations", "100", "--checkpoint-every", "10", *META),
    "metatest": ("metatest", "--tasks", "wide", "--optimizers", "sgd", "--steps", "20", "--seeds", "2"),
    "metatrain returns": ("metatrain", "returns", "--optimizer", "adam", "--envs", "CartPole-v1", "--steps", "10240"),
    "evaluate": ("evaluate",),
    "report": ("report", "--no-timing"),
}
COMMANDS["metatrain returns"] += ("--generations", "6", "--members", "4", "--seeds", "2")
COMMANDS["benchmark"] += ("--seeds", "2", "--tuning-seeds", "2", "--steps", "10240")
# Differ from one undisturbed run to the next.
SECONDS = (
    "seconds",
    "wall_seconds",
    "compile_seconds",
    "cpu_seconds",
    "env_steps_per_second",
    "inner_steps_per_second",
    # In Optuna's journal.
    "worker_id",
    "datetime_start",
    "datetime_complete",
)


class Server:
    """Runs commands."""

    def __init__(self, folder: Path):
        self.folder = folder
        root = Path(__file__).resolve().parents[2]
        kept = {
            name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
        }
        path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        environment["XLA_FLAGS"] = os.environ.get("CHILD_XLA_FLAGS", "")
        words = [sys.executable, "-P", "-c", SERVER, str(root), str(folder / "cache")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, env=environment, text=True)

    @property
    def log(self) -> str:
        """What the last command printed."""
        return (self.folder / "log").read_text()

    def run(self, command, limit=None) -> tuple[int, float]:
        """Its status, and how many seconds it took; limit: after so many it is killed."""
        line = json.dumps([list(map(str, command)), str(self.folder / "log"), PAUSE, limit])
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))

    def run_to_the_end(self, command) -> float:
        """How long it took."""
        status, seconds = self.run(command)
        assert status == 0, self.log
        return seconds

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def without_seconds(value):
    if isinstance(value, dict):
        return {name: without_seconds(x) for name, x in value.items() if name not in SECONDS}
    return [without_seconds(x) for x in value] if isinstance(value, list) else value


def contents(folder):
    """{name: what must not differ} of all files but locks that lock nothing, and what a report has timed."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        if path.name in (".rlopt.lock", "report.html") or path.stem == "cost":
            found[name if path.name != ".rlopt.lock" else ""] = b""
        elif path.suffix == ".json":
            found[name] = without_seconds(json.loads(data))
        elif path.suffix in (".jsonl", ".journal"):
            found[name] = [without_seconds(json.loads(line)) for line in data.splitlines()]
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: (x.dtype.str, x.shape, x.tobytes()) for key, x in arrays.items()}
        elif path.name.startswith("checkpoint_"):
            header, _, payload = data.partition(b"\n")
            kept = without_seconds(json.loads(header))
            found[name] = {part: value for part, value in kept.items() if part != "header_sha256"}, payload
        else:
            found[name] = data
    found.pop("", None)
    return found


def prepared(folder, run):
    """What a command needs in its folder: `evaluate` and `report` a finished run, the others nothing."""
    if run is not None:
        shutil.copytree(run, folder)
    return folder


def words(kind, folder):
    where = (str(folder),) if kind in ("evaluate", "report") else ("--out", str(folder))
    return (*COMMANDS[kind], *where)


def stamps(folder):
    """What a process that writes changes; taking the lock is no writing."""
    kept = (path for path in folder.rglob("*") if path.is_file() and path.name != ".rlopt.lock")
    return {path: (found.st_ino, found.st_size, found.st_mtime_ns) for path in kept for found in (path.stat(),)}


def kill_twenty_times(kind, folder, kills=KILLS):
    """Kills and starts again; kills that came before an end, those of them after a first write, and runs that ended."""
    rng, server = random.Random(kind), Server(folder)
    run = None
    try:
        if kind in ("evaluate", "report"):
            run = folder / "run"
            server.run_to_the_end(words("train", run))
        whole = folder / "whole"
        for _ in range(2):  # the second time with compiled programs: so long does it take
            shutil.rmtree(whole, ignore_errors=True)
            seconds = server.run_to_the_end(words(kind, prepared(whole, run)))
        told, wanted = server.log, contents(whole)
        done, writing, runs = 0, 0, 0
        while True:
            place = folder / str(runs)
            if not place.exists():
                prepared(place, run)
            before = stamps(place)
            status, _ = server.run(words(kind, place), rng.uniform(0, seconds) if done < kills else None)
            if status == -signal.SIGKILL:
                done += 1
                writing += stamps(place) != before
                print(f"{kind}: kill {done} in run {runs + 1}, {writing} after a write", flush=True)
                continue
            assert status == 0, server.log
            assert_same(contents(place), wanted)
            if kind == "evaluate":
                assert server.log == told
            shutil.rmtree(place)
            runs += 1
            if done >= kills:
                return done, writing, runs
    finally:
        server.close()


def assert_same(found, wanted):
    assert found.keys() == wanted.keys(), f"only here or there: {sorted(found.keys() ^ wanted.keys())}"
    for name in wanted:
        assert found[name] == wanted[name], f"{name}: {differing(found[name], wanted[name])}"


def differing(found, wanted):
    """Where two contents of a file differ, cut short."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {
            key: (found.get(key), wanted.get(key)) for key in wanted.keys() | found if found.get(key) != wanted.get(key)
        }
    return f"{found!r:.300} and not {wanted!r:.300}"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", COMMANDS)
def test_twenty_kills_of_a_command_change_nothing(tmp_path, kind):
    if kind.endswith("Optuna") and importlib.util.find_spec("optuna") is None:
        pytest.skip("Optuna is not installed")
    assert kill_twenty_times(kind, tmp_path)[0] == KILLS


if __name__ == "__main__":
    for name in sys.argv[1:] or COMMANDS:
        where, start, before = tempfile.mkdtemp(), time.monotonic(), os.times()
        try:
            killed, writing, ended = kill_twenty_times(name, Path(where))
        except BaseException:
            print(f"{name}: what is there now is in {where}", flush=True)
            raise
        shutil.rmtree(where)
        took, after = time.monotonic() - start, os.times()
        processor = sum(getattr(after, part) - getattr(before, part) for part in ("children_user", "children_system"))
        print(
            f"{name}: {killed} kills, {writing} of them after a write; {ended} runs, all as undisturbed "
            f"({took:.0f} s, {processor:.0f} s of the processor)",
            flush=True,
        )
