"""Output that nobody reads, and what asks a run to stop."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from attacks.base import TRAIN, attack, start

# Checkpoints at every interval; within the third one, while the device is waited for, what is to happen.
CODE = """
import os, signal, sys
from rlopt.training import loop
loop.SAVE_SECONDS = loop.SAVE_SHARE = 0.0
wait, intervals = loop._wait, []
def and_act(arrays):
    intervals.append(1)
    if len(intervals) == 3:
        {act}
    wait(arrays)
loop._wait = and_act
from rlopt.__main__ import entry
entry()
"""


def _run(out: Path, act: str = "pass", **streams: Any) -> int:
    # The tests themselves may be run under `nohup`, whose deafness to SIGHUP is inherited.
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n" + CODE.format(act=act)
    with start(*TRAIN, "--out", out, code=code, **streams) as process:
        if process.stdout is not None or process.stderr is not None:
            process.communicate()
        return process.wait()


def _finished(out: Path) -> None:
    assert (out / "summary.json").exists()


@attack("`rlopt train ... 2> log` with the log on a full disk (`/dev/full`)", "died at its first progress bar")
def full_log(folder: Path) -> str:
    with open("/dev/full", "w") as full:
        assert _run(folder / "run", stdout=full, stderr=full) == 0
    _finished(folder / "run")
    return "status 0"


def _run_by_shell(line: str, out: Path, act: str = "pass") -> int:
    """As `_run`, by a shell that changes what the command would inherit."""
    code = f"import os, sys; os.execvp('sh', ['sh', '-c', {line!r}, 'sh', *sys.argv[1:]])"
    with start(sys.executable, "-P", "-c", CODE.format(act=act), *TRAIN, "--out", out, code=code) as process:
        process.communicate()
    return process.returncode


@attack("`rlopt train ... >&- 2>&-`", "died, or wrote its messages into its own files")
def closed(folder: Path) -> str:
    assert _run_by_shell('exec "$@" <&- >&- 2>&-', folder / "run") == 0
    _finished(folder / "run")
    return "status 0"


def _dead_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@attack("`rlopt train` into a pipe whose reader is gone", "died at its next line")
def dead_pipe(folder: Path) -> str:
    pipe = _dead_pipe()
    assert _run(folder / "run", stdout=pipe, stderr=pipe) == 0
    _finished(folder / "run")
    return "status 0"


def _stopped(folder: Path, number: str) -> str:
    pipe = _dead_pipe()
    out = folder / "run"
    assert _run(out, f"os.kill(os.getpid(), signal.{number})", stdout=subprocess.DEVNULL, stderr=pipe) == 130
    assert (out / "checkpoint.msgpack").exists()
    return "status 130, with a checkpoint"


@attack("Ctrl-C while the reader of its log is gone", "no checkpoint")
def interrupted(folder: Path) -> str:
    return _stopped(folder, "SIGINT")


@attack("SIGTERM while the reader of its log is gone", "no checkpoint")
def terminated(folder: Path) -> str:
    return _stopped(folder, "SIGTERM")


@attack("its terminal is closed (SIGHUP)", "died without a checkpoint")
def hung_up(folder: Path) -> str:
    return _stopped(folder, "SIGHUP")


@attack("the same under `nohup`", "went on")
def hung_up_but_told_not_to_care(folder: Path) -> str:
    act = "os.kill(os.getpid(), signal.SIGHUP)"
    assert _run_by_shell('trap "" HUP; exec "$@"', folder / "run", act) == 0
    _finished(folder / "run")
    return "goes on"
