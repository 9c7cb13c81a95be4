"""Populations as jobs, in other processes of this machine or under SLURM, through submitit.

A job is the command `rlopt resume FOLDER` for a folder that holds a population's settings. Nothing of ours is pickled,
whoever looks at the queue can repeat the command, and a job that is killed is resumed from its checkpoint.
"""

import functools
import getpass
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celo2.files import read_json, size_of, write_atomic
from envs.cores import num_cores
from rlopt import escape
from rlopt.runs import folders, results
from rlopt.storage.stopping import BrokeOff, Unfinished
from rlopt.training import runtime
from rlopt.training.config import TrainConfig

KINDS = ("none", "local", "slurm")
# In a population's folder: its job, as long as that is not known to be over. In the folder of all: the jobs' logs.
RECORD, LOGS = "job.json", "jobs"
# Cores of a SLURM job, at most and by default.
CORES = 8
# SLURM: a job that comes to its end of time is put into the queue again, so that a short one starts sooner.
TIMEOUT_MIN, TIMEOUTS = {"slurm": 240, "local": 60 * 24 * 365}, 1000
POLL_SECONDS = {"slurm": 30.0, "local": 0.2}
# SLURM's controller may not answer for a while.
QUEUE_TRIES = 20
LOG_LINES, LOG_BYTES = 8, 1 << 16
# Options that are numbers. All others stay text: an account 0123 or a node 1e3 would become another.
_NUMBERS = (
    *("timeout_min", "cpus_per_task", "nodes", "tasks_per_node", "ntasks_per_node", "gpus_per_node", "mem_gb"),
    *("array_parallelism", "signal_delay_s", "gpus_per_task", "cpus_per_gpu", "num_gpus", "priority", "nice"),
)


@dataclass
class _Job:
    """A job on its way. handle: submitit's, if this process submitted it. missed: times it was looked for in vain."""

    number: str
    label: str
    log: Path
    handle: Any = None
    missed: int = 0


def make(kind: str, options: Mapping[str, str], flags: Sequence[str] = ()) -> "Launcher | None":
    """The launcher of that kind; None: populations are trained in this process.

    Args:
      kind: one of KINDS.
      options: for submitit's `update_parameters`, without the prefix "slurm_": timeout_min, cpus_per_task, partition,
        ...
      flags: for the `rlopt resume` of every job besides.

    Raises:
      ValueError: for an unknown kind, options that do not fit, a missing package, or a machine without SLURM.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown launcher {kind!r}; there are {', '.join(KINDS)}")
    if kind == "none":
        if options:
            raise ValueError(f"launcher options need a launcher, got {dict(options)} without one")
        return None
    launcher = Launcher(kind, _parsed(options), tuple(flags))
    with tempfile.TemporaryDirectory() as folder:  # what is wrong with the options shows before anything is trained
        launcher.executor(Path(folder))
    return launcher


@dataclass(frozen=True)
class Launcher:
    """Trains populations as jobs, and waits for them.

    kind: "local" or "slurm"; options (parsed), flags: as `make`. sleep: waits so many seconds between two looks.
    """

    kind: str
    options: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, root: Path, populations: Mapping[Path, TrainConfig]) -> None:
        """Trains what is missing of some populations, each in its folder; root: the folder of all, for the logs.

        A job that an earlier process left running in one of the folders is waited for, not submitted again.

        Raises:
          ValueError: for a folder with something else, before anything is submitted.
          Unfinished: on Ctrl-C; jobs under SLURM stay. BrokeOff, a kind of it: if jobs failed, after the others' end.
        """
        for folder, config in populations.items():
            folders.check(folder, config)
        # Not of what is missing: a job that is resumed should have as many devices as before.
        cores = self.options.get("cpus_per_task") or max(1, num_cores() // max(1, len(populations)))
        # What an earlier command left in the middle is ended first as it is; rates added since take another round.
        while missing := {f: config for f, config in populations.items() if not folders.is_finished(f, config)}:
            self._train(root, missing, cores)

    def executor(self, folder: Path, label: str = "rlopt", cores: int = 1) -> Any:
        """An executor of submitit, for a job of that name and as many cores; ValueError: what does not fit."""
        submitit = _import(self.kind)
        generic = submitit.AutoExecutor._valid_parameters()
        chosen = {name if name in generic else f"slurm_{name}": value for name, value in self.options.items()}
        defaults = {
            "name": results.safe_name(label),
            "timeout_min": TIMEOUT_MIN[self.kind],
            "cpus_per_task": cores,
            # Since SLURM 22.05, srun does not take this over from sbatch, and would bind the job to one core.
            "slurm_srun_args": [f"--cpus-per-task={self.options.get('cpus_per_task', cores)}"],
        }
        try:
            executor = submitit.AutoExecutor(folder, cluster=self.kind, slurm_max_num_timeout=TIMEOUTS)
            executor.update_parameters(**(defaults | chosen))
        except (NameError, AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(f"launcher {self.kind!r}: {' '.join(str(error).split())}") from error
        return executor

    def _train(self, root: Path, missing: Mapping[Path, TrainConfig], cores: int) -> None:
        """One job for each population; returns when all are over."""
        running = {folder: job for folder in missing if (job := self._left_running(folder)) is not None}
        waiting = [folder for folder in missing if folder not in running]
        at_once = max(1, num_cores() // cores) if self.kind == "local" else len(missing)
        failed = []
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    folder = waiting.pop(0)
                    running[folder] = self._submit(root, folder, missing[folder], cores)
                for folder, job in self._over(running).items():
                    del running[folder]
                    (folder / RECORD).unlink(missing_ok=True)
                    finished = _all_there(folder)
                    print(
                        f"job {job.number} {'is done' if finished else 'failed'}: {escape.terminal(job.label)}",
                        flush=True,
                    )
                    if not finished:
                        failed.append(f"job {job.number}, {job.label} in {folder}, failed:\n{_log_end(job.log)}")
                if running:
                    self.sleep(POLL_SECONDS[self.kind])
        except KeyboardInterrupt as error:
            left = ", ".join(job.number for job in running.values()) or "none"
            raise Unfinished(
                f"no longer waiting for jobs (not over: {left}; not submitted: {len(waiting)}); the same command with "
                f"--out {root} takes what is finished, waits for those, and submits what is missing"
            ) from error
        if failed:
            failed.append(f"the same command with --out {root} runs what is missing")
            raise BrokeOff("\n".join(failed))

    def _submit(self, root: Path, folder: Path, config: TrainConfig, cores: int) -> _Job:
        if self.kind == "slurm":
            cores = self.options.get("cpus_per_task") or runtime.devices_for(config.size, CORES)
        folders.prepare(folder, config)
        executor = self.executor(root / LOGS, f"rlopt {config.label}", cores)
        arguments = [*command(folder, runtime.devices_for(config.size, cores=cores)), *self.flags]
        if config.code:
            arguments.append("--trust")  # the code is the user's, who names it in this very command
        handle = executor.submit(_resumable(arguments))
        job = _Job(handle.job_id, config.label, handle.paths.stderr, handle)
        document = {"launcher": self.kind, "job": job.number, "host": platform.node(), "log": str(job.log)}
        write_atomic(folder / RECORD, json.dumps(document | {"label": config.label}).encode() + b"\n")
        print(f"job {job.number}: {config.label}: {shlex.join(arguments)}", flush=True)
        return job

    def _left_running(self, folder: Path) -> _Job | None:
        """The job that an earlier process submitted for a folder, if it is not over.

        Raises:
          ValueError: if that cannot be told from here.
        """
        path = folder / RECORD
        if not path.is_file():
            return None
        found = read_json(path)
        if not all(isinstance(found.get(word), str) for word in ("launcher", "job", "host", "log", "label")):
            raise ValueError(f"{path} does not say which job trains {folder}; remove it if none does")
        elsewhere = found["launcher"] == "local" and found["host"] != platform.node()
        if found["launcher"] != self.kind or elsewhere:
            raise ValueError(
                f"{folder} may still be trained by job {found['job']} ({found['launcher']}, from {found['host']}); "
                f"wait for it there, or remove {path} if it is over"
            )
        job = _Job(found["job"], found["label"], Path(found["log"]), missed=1)  # nobody has just seen it
        if self._over({folder: job}):
            return None
        print(f"job {job.number} is on its way: {escape.terminal(job.label)}", flush=True)
        return job

    def _over(self, jobs: Mapping[Path, _Job]) -> dict[Path, _Job]:
        """Those jobs that are over."""
        if self.kind == "local":
            return {
                folder: job
                for folder, job in jobs.items()
                if (job.handle.done() if job.handle is not None else not _runs_here(job))
            }
        queue = _queued(self.sleep)
        for job in jobs.values():
            job.missed = 0 if job.number in queue else job.missed + 1
        # A file system may show results later than the queue shows the end: without them a job is looked for twice.
        return {f: job for f, job in jobs.items() if job.missed >= (1 if _all_there(f) else 2)}


def command(folder: Path, devices: int) -> list[str]:
    """What a job runs. -P: it starts where the user works, whose folders may be called like our packages."""
    return [sys.executable, "-P", "-m", "rlopt", "resume", str(folder.absolute()), "--devices", str(devices)]


def _import(kind: str) -> Any:
    """The package submitit; ValueError where it is missing."""
    present = os.environ.get("SUBMITIT_LOG_LEVEL")
    # On import it would close all handlers of the logging module, whoever they belong to.
    os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"
    try:
        import submitit
    except ImportError as error:
        raise ValueError(f"launcher {kind!r} needs submitit: pip install rlopt[slurm]") from error
    finally:
        del os.environ["SUBMITIT_LOG_LEVEL"]
        if present is not None:
            os.environ["SUBMITIT_LOG_LEVEL"] = present
    return submitit


def _resumable(arguments: list[str]) -> Any:
    """The command as submitit runs it, from this folder; submitted anew when its time is over or it is preempted."""
    from submitit.helpers import CommandFunction, DelayedSubmission

    function = CommandFunction(arguments, cwd=Path.cwd())
    vars(function)["checkpoint"] = functools.partial(DelayedSubmission, function)
    return function


def _all_there(folder: Path) -> bool:
    """Whether a folder holds all that its last job was to train."""
    return folders.is_finished(folder, results.read_config(folder))


def _queued(sleep: Callable[[float], None]) -> set[str]:
    """Numbers of this user's jobs that wait or run."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # one without a name, as in a container
        user = str(os.getuid())
    arguments = ["squeue", "--noheader", "--format=%A", f"--user={user}"]
    for _ in range(QUEUE_TRIES):
        done = subprocess.run(arguments, capture_output=True, text=True)
        if done.returncode == 0:
            return set(done.stdout.split())
        sleep(POLL_SECONDS["slurm"])
    raise OSError(f"squeue does not say which jobs are on their way: {done.stderr.strip()}")


def _runs_here(job: _Job) -> bool:
    """Whether a local job's process is alive; its number may be another process's by now."""
    if Path("/proc/self").exists():
        try:
            return b"submitit" in Path("/proc", job.number, "cmdline").read_bytes()
        except OSError:
            return False
    try:
        os.kill(int(job.number), 0)
    except OSError:
        return False
    return True


def _log_end(path: Path) -> str:
    """The last lines of a job's log, and where it lies."""
    try:
        begin = max(0, size_of(path) - LOG_BYTES)
        with path.open("rb") as file:
            file.seek(begin)
            lines = file.read(LOG_BYTES).decode("utf-8", errors="replace").splitlines()
    except (OSError, ValueError):  # ValueError: a file of a stranger's names something that is none
        return f"  it left no log at {path}"
    return "\n".join([*(f"  {line}" for line in lines[-LOG_LINES:]), f"  log: {path}"])


def _parsed(options: Mapping[str, str]) -> dict[str, Any]:
    """Options as submitit takes them; `time` is SLURM's name for timeout_min."""
    named = {"timeout_min" if name == "time" else name: text for name, text in options.items()}
    found: dict[str, Any] = {name: _value(text) if name in _NUMBERS else text for name, text in named.items()}
    for name in ("nodes", "tasks_per_node", "ntasks_per_node"):
        if found.get(name, 1) != 1:
            raise ValueError(f"a job is one process, so {name} must be 1, got {found[name]}")
    for name in ("timeout_min", "cpus_per_task"):
        if name in found and (not isinstance(found[name], int) or found[name] < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {found[name]}")
    return found


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
