"""What attacks are made of: the commands, in this process and in others, and run folders made up in a moment."""

import contextlib
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 300


class Attack(NamedTuple):
    """kind: the module. title: what is done. before: what came of it. run(folder) -> what comes of it now."""

    kind: str
    title: str
    before: str
    run: Callable[[Path], str]


ATTACKS: list[Attack] = []


def attack(title: str, before: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Adds a function that attacks in an empty folder, asserts that it holds, and says what happened."""

    def add(run: Callable[[Path], str]) -> Callable[[Path], str]:
        ATTACKS.append(Attack(run.__module__.rpartition(".")[2], title, before, run))
        return run

    return add


def rows(attacks: Sequence[Attack]) -> Iterator[str]:
    """The table of attacks in Markdown, each carried out when its row is asked for."""
    yield "| kind | attack | before | now |"
    yield "|---|---|---|---|"
    for one in attacks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                now = carried_out(one, Path(folder).resolve())
            except Exception:
                now = "**NOT HELD** " + " ".join(traceback.format_exc().split())[-300:]
        yield row(one, now)


def row(one: Attack, now: str) -> str:
    """A line of the table."""
    return f"| {one.kind} | {one.title} | {one.before} | {now.replace('|', '/')} |"


def carried_out(one: Attack, folder: Path) -> str:
    """What an attack comes to, as it is printed: paths and what differs from machine to machine are left out."""
    text = " ".join(one.run(folder).replace(str(folder), "FOLDER").split())
    return re.sub(r"(process )\d+( on )\S+?(?=[,;)]|$)", r"\1N\2HOST", text)


class Done(NamedTuple):
    """A command: status, as a shell has it; out, err: what it printed."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of its errors."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def refused(self, *words: str) -> str:
        """For an attack that is to be refused with status 2 and a message of one line, with some words; the message."""
        assert self.status == 2, self
        assert "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.last, (word, self.err)
        return f"refused: {self.last.removeprefix('rlopt: ')}"


def command(*words: Any) -> Done:
    """A command line of rlopt, carried out in this process; a traceback is status 70."""
    from rlopt import cli

    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(cli.runtime, "configure", return_value=None),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as error:
            status = int(error.code or 0) if isinstance(error.code, int | None) else 1
        except Exception:
            status = 70
            traceback.print_exc(file=err)
    return Done(status, out.getvalue(), err.getvalue())


def start(*words: Any, code: str | None = None, module: bool = False, **more: Any) -> "subprocess.Popen[str]":
    """The same in a process of its own, as the console script has it; module: as `python -m rlopt`.

    code: Python to run instead of the command.
    """
    where = ["-m", "rlopt"] if module else ["-P", "-c", code or "from rlopt.__main__ import entry; entry()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})}
    environment = {name: value for name, value in environment.items() if value is not None}
    # As the tests do, where they have said so: other flags would be another program, to be compiled anew.
    environment["XLA_FLAGS"] = environment.pop("CHILD_XLA_FLAGS", environment.get("XLA_FLAGS", ""))
    return subprocess.Popen(
        [sys.executable, *where, *map(str, words)],
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more),
        env=environment,
        text=True,
    )


def process(*words: Any, **more: Any) -> Done:
    """As `start`, to its end."""
    with start(*words, **more) as running:
        out, err = running.communicate(timeout=SECONDS)
        return Done(running.returncode, out or "", err or "")


def settings(**changes: Any) -> Any:
    """A small population."""
    from agents import PPOConfig
    from rlopt.training.config import TrainConfig

    small = {"total_steps": 64 * 5, "num_envs": 4, "rollout_length": 16, "epochs": 1, "minibatches": 1, "hidden": (8,)}
    hyper = PPOConfig(**(small | changes.pop("hyper", {})))  # type: ignore[arg-type]
    return TrainConfig(**({"optimizer": "adam", "learning_rate": 1e-3, "seeds": 2, "hyper": hyper} | changes))


def report(*words: Any) -> Done:
    """`rlopt report`, without its figures, which take nearly all the time."""
    from rlopt.report import pictures

    with mock.patch.object(pictures, "all_of", return_value=[]):
        return command("report", *words)


FLAGS = ("--seeds", "2", "--total-steps", "320", "--num-envs", "4", "--rollout-length", "16", "--epochs", "1")
FLAGS += ("--minibatches", "1", "--hidden", "8")
TRAIN = ("train", "ppo", "--optimizer", "adam", "--learning-rate", "1e-3", *FLAGS)


def finished(folder: Path, config: Any = None, score: float = 100.0, **told: Any) -> Path:
    """A finished run, made up; told: entries of config.json in place of those."""
    from helpers import write_run
    from rlopt.runs import results

    config = config or settings()
    folder.mkdir(parents=True, exist_ok=True)
    write_run(folder, config, np.full(config.seeds, score))
    change(folder / results.CONFIG, **told)
    return folder


def change(path: Path, **told: Any) -> None:
    """Replaces entries of a JSON object in a file; a name may be a path, as in `hyper.hidden`."""
    document = json.loads(path.read_text())
    for name, value in told.items():
        *above, last = name.split("__")
        node = document
        for part in above:
            node = node[part]
        node[last] = value
    path.write_text(json.dumps(document))


def module_that_tells(path: Path, told: Path) -> None:
    """A Python file that leaves a file when it is imported, and fails."""
    path.write_text(f"import pathlib\npathlib.Path({str(told)!r}).touch()\nraise RuntimeError('it ran')\n")


__all__ = [
    "FLAGS",
    "ROOT",
    "TRAIN",
    "Done",
    "attack",
    "change",
    "command",
    "dataclasses",
    "finished",
    "process",
    "start",
]
