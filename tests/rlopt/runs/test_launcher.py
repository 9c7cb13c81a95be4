"""Populations as jobs: real child processes, and a SLURM of four shell scripts."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from agents import PPOConfig
from helpers import by_default, one_device, write_run
from rlopt import cli
from rlopt.benchmark import random_policy, runner
from rlopt.benchmark.plan import Plan
from rlopt.runs import experiment, folders, launcher, results
from rlopt.storage.stopping import BrokeOff, Unfinished
from rlopt.tracking import session
from rlopt.training import placement, presets, runtime
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HYPER = PPOConfig(total_steps=64 * 4, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
ADAM = TrainConfig(optimizer="adam", rates=(1e-3, 1e-1), seeds=2, seed=5, hyper=HYPER)
# The same program under another name, so that it is compiled once.
AGAIN = dataclasses.replace(ADAM, arm="again", rates=(1e-2, 3e-2))
SGD = dataclasses.replace(ADAM, optimizer="sgd", rates=(1e-2,))
# sbatch keeps the script for `run_queue`; squeue shows what that has not run yet.
SBATCH = 'n=$(($(ls "$QUEUE" | wc -l) + 71))\ncp "$1" "$QUEUE/$n"\necho "Submitted batch job $n"\n'
SQUEUE = 'ls "$QUEUE"\n'
SRUN = """while [ "${1#--}" != "$1" ]; do
  case "$1" in --output) shift; exec >"${1//%j/$SLURM_JOB_ID}";; --error) shift; exec 2>"${1//%j/$SLURM_JOB_ID}";; esac
  shift
done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of the queue; SLURM's commands are on the path."""
    queue, programs = tmp_path / "queue", tmp_path / "programs"
    for folder in (queue, programs):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SRUN)):
        (programs / name).write_text(f"#!/bin/bash\n{text}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(queue))
    return queue


def run_queue(queue):
    for script in list(queue.iterdir()):
        environment = os.environ | {"SLURM_JOB_ID": script.name}
        subprocess.run(["bash", script], env=environment, check=True)
        script.unlink()


def pretend(place, config):
    """Finished runs of a population that nobody trained; the higher the rate, the better."""
    results.write_config(place, config)
    for cell in config.cells:
        folder = place / results.rate_name(cell.learning_rate) if config.rates else place
        write_run(folder, cell, np.full(config.seeds, cell.resolved_learning_rate or 1.0), intervals=2)


class NoJobs(launcher.Launcher):
    """Takes what there is, and waits for what is on its way."""

    def _submit(self, root, folder, config, cores):
        pytest.fail("a job was submitted")


def under_slurm(sleep, options=()):
    return dataclasses.replace(launcher.make("slurm", dict(options)), sleep=sleep)


@pytest.mark.parametrize("jobs", by_default([1, 2], 1))
def test_local_jobs_train_what_one_process_does_bit_for_bit_and_once(tmp_path, monkeypatch, capsys, jobs):
    configs, rates = [ADAM, AGAIN][:jobs], [1e-3, 1e-1, 1e-2, 3e-2][: 2 * jobs]
    launch = launcher.make("local", {"cpus_per_task": "1"})
    runs, plot = experiment.sweep(configs, tmp_path / "jobs", launch=launch)
    assert plot.is_file()
    shown = capsys.readouterr().out
    assert shown.count(" -m rlopt resume ") == jobs
    assert f"resume {tmp_path / 'jobs' / 'adam'} --devices 1\n" in shown
    assert not list(tmp_path.rglob(launcher.RECORD))
    with monkeypatch.context() as patch:
        patch.setattr(placement, "mesh_for", one_device)
        expected, _ = experiment.sweep(configs, tmp_path / "here", progress=False)
    assert [run.summary["learning_rate"] for run in runs] == rates
    for ours, theirs in zip(runs, expected, strict=True):
        for name in ("steps", "returns", "final", "stopped"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        for name in (results.PARAMS, results.METRICS):
            assert (ours.folder / name).read_bytes() == (theirs.folder / name).read_bytes()
    again, _ = experiment.sweep(configs, tmp_path / "jobs", launch=NoJobs("local", {}))
    assert [run.folder for run in again] == [run.folder for run in runs]


def test_a_failed_job_is_reported_with_the_end_of_its_log(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("import optax\nmine = optax.sgd\n")
    monkeypatch.syspath_prepend(tmp_path)  # not on the path of the job
    own = dataclasses.replace(ADAM, optimizer="only_here:mine", rates=(), learning_rate=0.1)
    with pytest.raises(BrokeOff) as caught:
        experiment.compare([own], tmp_path / "out", launch=launcher.make("local", {}))
    message = str(caught.value)
    assert f"only_here:mine on CartPole-v1 in {tmp_path / 'out' / 'only_here-mine'}, failed:" in message
    assert "No module named 'only_here'" in message
    log = Path(message.splitlines()[-2].removeprefix("  log: "))
    assert log.parent == tmp_path / "out" / launcher.LOGS
    assert "No module named 'only_here'" in log.read_text()
    assert message.endswith(f"--out {tmp_path / 'out'} runs what is missing")
    assert not list(tmp_path.rglob(launcher.RECORD))


def test_slurm_jobs_stay_when_nobody_waits_and_are_taken_up_again(tmp_path, slurm, capsys):
    options = {"partition": "long", "time": "90", "mem_gb": "3"}
    folder = tmp_path / "out"

    def interrupt(seconds):
        raise KeyboardInterrupt

    with pytest.raises(Unfinished, match=rf"not over: 71; not submitted: 0\); the same command with --out {folder}"):
        experiment.sweep([SGD], folder, launch=under_slurm(interrupt, options))
    script = (slurm / "71").read_text()
    wanted = ("--partition=long", "--time=90", "--mem=3GB", "--cpus-per-task=2", "--job-name=rlopt-sgd-on-CartPole-v1")
    for flag in wanted:
        assert f"#SBATCH {flag}\n" in script
    assert script.count(" --cpus-per-task=2 ") == 1  # of srun, too
    record = json.loads((folder / "sgd" / launcher.RECORD).read_text())
    assert (record["launcher"], record["job"]) == ("slurm", "71")
    with pytest.raises(ValueError, match="may still be trained by job 71 "):
        experiment.sweep([SGD], folder, launch=launcher.make("local", {}))
    waiting = NoJobs("slurm", {}, sleep=lambda seconds: run_queue(slurm))
    (run,), _ = experiment.sweep([SGD], folder, launch=waiting)
    assert run.steps[-1] == HYPER.total_steps
    assert "job 71 is on its way" in capsys.readouterr().out
    assert not (folder / "sgd" / launcher.RECORD).exists()


def test_a_job_that_left_the_queue_without_a_result_has_failed_and_goes_again(tmp_path, slurm, capsys):
    sgd, adam = (dataclasses.replace(c, rates=(), learning_rate=0.1) for c in (SGD, ADAM))
    out = tmp_path / "out"

    def end(seconds):
        (slurm / "71").unlink(missing_ok=True)
        if (slurm / "72").exists() and not list(slurm.parent.glob("out/adam/summary.json")):
            pretend(out / "adam", adam)  # while the first one is looked for again
        elif (slurm / "72").exists():
            (slurm / "72").unlink()

    with pytest.raises(BrokeOff, match=r"job 71, sgd on CartPole-v1 in .*:\n  it left no log at .*jobs/71_0_log.err"):
        experiment.compare([sgd, adam], out, launch=under_slurm(end))
    assert "job 72 is done: adam on CartPole-v1" in capsys.readouterr().out
    document = {"launcher": "slurm", "job": "9", "host": platform.node(), "log": "x", "label": "sgd"}
    (out / "sgd" / launcher.RECORD).write_text(json.dumps(document))  # of a job that is over
    with pytest.raises(BrokeOff, match="job 71, sgd"):
        experiment.compare([sgd, adam], out, launch=under_slurm(end))
    shown = capsys.readouterr().out
    assert "sgd on CartPole-v1: " in shown
    assert "adam" not in shown


def test_a_job_that_slurm_ends_early_is_submitted_anew_as_the_same_command():
    launcher.make("local", {})
    from submitit.helpers import DelayedSubmission

    function = launcher._resumable([sys.executable, "-c", "print(6 * 7)"])
    again = DelayedSubmission(function)._checkpoint_function()
    assert again.result() == "42"
    assert again.function.checkpoint().function is again.function


def test_jobs_that_another_process_left_running_here_are_told_from_other_processes(tmp_path):
    found = launcher.Launcher("local", {})
    document = {"launcher": "local", "job": str(os.getpid()), "host": platform.node(), "log": "x", "label": "sgd"}
    (tmp_path / launcher.RECORD).write_text(json.dumps(document))
    assert found._left_running(tmp_path) is None
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", "submitit"], stdin=-1) as process:
        (tmp_path / launcher.RECORD).write_text(json.dumps(document | {"job": str(process.pid)}))
        deadline = time.monotonic() + 20
        while found._left_running(tmp_path) is None:  # until it has become that command
            assert time.monotonic() < deadline
        process.communicate()
    assert found._left_running(tmp_path) is None
    (tmp_path / launcher.RECORD).write_text(json.dumps(document | {"host": "another"}))
    with pytest.raises(ValueError, match=r"job .* from another"):
        found._left_running(tmp_path)


def test_a_benchmark_submits_what_it_chooses_from_before_what_it_chose(tmp_path, monkeypatch):
    batches = []

    def train(root, populations):
        batches.append({str(place.relative_to(tmp_path)): config.rates for place, config in populations.items()})
        for place, config in populations.items():
            assert not folders.is_finished(place, config)
            pretend(place, config)

    monkeypatch.setattr(presets, "config", lambda *arguments: HYPER)
    monkeypatch.setattr(random_policy, "play", lambda config: np.zeros(2))
    plan = Plan(
        optimizers=("adam", "celo_adam"),
        envs=("CartPole-v1",),
        seeds=2,
        tuning_seeds=1,
        learning_rates=(1e-3, 1e-2),
        steps=256,
    )
    runner.run(plan, tmp_path, progress=False, launch=train)
    assert batches == [
        {"tuning/CartPole-v1/adam": (1e-3, 1e-2)},
        {"final/CartPole-v1/adam": (1e-2,), "final/CartPole-v1/celo_adam": ()},
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--launcher-options partition long",
            "launcher options need a launcher, got {'partition': 'long'} without one",
        ),
        ("--launcher slurm", "launcher 'slurm': Could not detect \"srun\""),
        ("--launcher local --launcher-options timeout_min 4:00", "timeout_min must be a whole number of at least 1"),
        ("--launcher local --launcher-options nodes 2", "a job is one process, so nodes must be 1, got 2"),
        ("--launcher local --launcher-options colour red", "Unknown argument 'colour' for executor 'slurm'"),
    ],
)
def test_impossible_launches_are_refused(flags, message, monkeypatch, command, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = command("compare", "ppo", "--out", tmp_path / "x", *flags.split())
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_missing_submitit_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"needs submitit: pip install rlopt\[slurm\]"):
        launcher.make("local", {})


def test_a_number_of_devices_asked_for_replaces_the_one_in_the_environment(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("XLA_FLAGS", f"--mine {runtime._COUNT_FLAG}=8")
    runtime.configure(3)
    assert f"{runtime._COUNT_FLAG}=8" in os.environ["XLA_FLAGS"].split()
    runtime.configure(3, exactly=True)
    flags = os.environ["XLA_FLAGS"].split()
    assert "--mine" in flags
    assert f"{runtime._COUNT_FLAG}=3" in flags
    assert f"{runtime._COUNT_FLAG}=8" not in flags
    assert runtime.devices_for(10, cores=5) == 5
    assert runtime.devices_for(3, cores=2) == 3


def test_jobs_track_as_their_command_was_told():
    assert session.Tracking().flags == ()
    told = session.PopulationTracking(wandb="offline", tensorboard=True, wandb_runs="seed", tracker_wait=3.0)
    found = ("--wandb", "offline", "--tensorboard", "--tracker-wait", "3.0", "--wandb-runs", "seed")
    assert told.flags == found
    assert cli._parse(["resume", "x", *found]).tracking == told
    assert launcher.make("local", {}, found).flags == found
