"""Runs that lose what they had done."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from attacks.base import TRAIN, Done, attack, command, settings


def _saved(folder: Path, *seconds: float) -> Any:
    """Checkpoints that tell themselves apart by their training times; a function that reads the newest."""
    from rlopt.training import checkpoint, loop, placement

    config = settings()
    state = placement.initial_state(loop.make_agent(config), config, placement.mesh_for(config.size))
    numbers, rows = np.zeros((1, 2), np.float32), [{"loss": np.zeros(2, np.float32)}]

    def save(at: float) -> None:
        stopped = np.full(2, -1, np.int64)
        checkpoint.save(folder, config, checkpoint.Progress(state, rows, numbers, numbers, stopped, at, at))

    def load() -> float:
        found = checkpoint.load(folder, config, state)
        assert found is not None
        return found.train_seconds

    for at in seconds:
        save(at)
    return save, load


@attack("a damaged newest checkpoint is passed over, and then the disk is full", "no checkpoint was left")
def damaged_and_full(folder: Path) -> str:
    import warnings

    from rlopt.training import checkpoint

    save, load = _saved(folder, 1.0, 2.0)
    newest = folder / checkpoint.NAMES[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load() == 1.0
        with mock.patch.object(os, "fsync", side_effect=OSError(28, "No space left on device")):
            try:
                save(3.0)
                raise AssertionError("saved")
            except OSError:
                pass
        assert load() == 1.0
        save(3.0)
        assert load() == 3.0
    return "the intact one stays until a newer one is written"


@attack("the same, and a kill before the new one is written", "no checkpoint was left")
def damaged_and_killed(folder: Path) -> str:
    import warnings

    from rlopt.storage import sealed
    from rlopt.training import checkpoint

    class Kill(BaseException):
        pass

    save, load = _saved(folder, 1.0, 2.0)
    newest = folder / checkpoint.NAMES[0]
    newest.write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load() == 1.0
        with mock.patch.object(sealed, "write_atomic", side_effect=Kill), contextlib.suppress(Kill):
            save(3.0)
        assert load() == 1.0
    return "the intact one stays until a newer one is written"


def _meanwhile(folder: Path, act: Callable[[], None], at: int = 2) -> Done:
    """A training run during which something happens after so many lines."""
    from rlopt.runs import results

    append, lines = results.append_row, []

    def and_act(*arguments: Any) -> None:
        append(*arguments)
        lines.append(1)
        if len(lines) == at:
            act()

    with mock.patch.object(results, "append_row", and_act):
        return command(*TRAIN, "--out", folder)


@attack("`mv run elsewhere` while it runs", "status 0, and a new `run` without settings")
def moved(folder: Path) -> str:
    run, elsewhere, whole = folder / "run", folder / "elsewhere", folder / "whole"
    done = _meanwhile(run, lambda: run.rename(elsewhere))
    assert done.status == 1, done
    assert not run.exists()
    assert f"rlopt resume {elsewhere}" in done.last, done.err
    assert command(*TRAIN, "--out", whole).status == 0
    again = command("resume", elsewhere)
    assert again.status == 0, again
    for name in ("metrics.jsonl", "params.msgpack"):
        assert (elsewhere / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(p.name for p in elsewhere.iterdir()) == sorted(p.name for p in whole.iterdir())
    return f"status 1: {done.last.removeprefix('rlopt: ')}; it ends bit for bit as undisturbed"


@attack("`rm -r run` while it runs", "status 0, and a new `run` without settings")
def removed(folder: Path) -> str:
    run = folder / "run"
    done = _meanwhile(run, lambda: shutil.rmtree(run))
    assert done.status == 1, done
    assert not run.exists()
    return f"status 1: {done.last.removeprefix('rlopt: ')}"


@attack("`mv run elsewhere; mkdir run` while it runs", "the rest was written into the new folder")
def replaced(folder: Path) -> str:
    run, elsewhere = folder / "run", folder / "elsewhere"

    def act() -> None:
        run.rename(elsewhere)
        run.mkdir()

    done = _meanwhile(run, act)
    assert done.status == 1, done
    assert not list(run.iterdir())
    return f"status 1: {done.last.removeprefix('rlopt: ')}"


@attack("`mv sweep elsewhere` during `rlopt sweep`", "status 0, and half a sweep anew")
def moved_sweep(folder: Path) -> str:
    from rlopt.runs import results

    sweep, elsewhere = folder / "sweep", folder / "elsewhere"
    words = ("sweep", "ppo", "--optimizers", "adam", "--learning-rates", "1e-3", "1e-2", *TRAIN[6:])
    append, lines = results.append_row, []

    def and_move(*arguments: Any) -> None:
        append(*arguments)
        lines.append(1)
        if len(lines) == 4:
            sweep.rename(elsewhere)

    with mock.patch.object(results, "append_row", and_move):
        done = command(*words, "--out", sweep)
    assert done.status == 1, done
    assert not sweep.exists()
    again = command("resume", elsewhere / "adam")
    assert again.status == 0, again
    assert len(results.find_runs([elsewhere])) == 2
    return f"status 1: {done.last.removeprefix('rlopt: ')}"


META = (
    "metatrain",
    "celo_adam",
    "--families",
    "digits",
    "--tasks-per-family",
    "1",
    "--hidden",
    "4",
    "--batch-size",
    "4",
)
META += (
    "--truncation",
    "5",
    "--min-unroll",
    "5",
    "--max-unroll",
    "20",
    "--validate-every",
    "0",
    "--refresh-every",
    "10",
)


@attack("`mv run elsewhere` during `rlopt metatrain`", "status 0, and a new `run` with half of it")
def moved_metatraining(folder: Path) -> str:
    from rlopt.metatraining import metrics

    run, elsewhere = folder / "run", folder / "elsewhere"
    append = metrics.append

    def and_move(*arguments: Any) -> None:
        append(*arguments)
        if run.exists():
            run.rename(elsewhere)

    with mock.patch.object(metrics, "append", and_move):
        done = command(*META, "--iterations", "30", "--out", run)
    assert done.status == 1, done
    assert not run.exists()
    assert f"--out {elsewhere}" in done.last, done.err
    assert [path.name for path in (elsewhere / "checkpoints").iterdir()] == ["checkpoint_00000020.msgpack"]
    again = command(*META, "--iterations", "30", "--out", elsewhere)
    assert again.status == 0, again
    assert [row["iteration"] for row in metrics.read(elsewhere)] == [10, 20, 30]
    return f"status 1: {done.last.removeprefix('rlopt: ')}"


@attack(
    "`rlopt metatrain` in a folder with nothing but the checkpoint of its last iteration",
    '"No such file: metrics.jsonl"',
)
def last_checkpoint_alone(folder: Path) -> str:
    whole, copy = folder / "whole", folder / "copy"
    assert command(*META, "--iterations", "10", "--out", whole).status == 0
    (copy / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "checkpoint_00000010.msgpack", copy / "checkpoints")
    done = command(*META, "--iterations", "10", "--out", copy)
    assert done.status == 0, done
    assert (copy / "celo_adam.theta").read_bytes() == (whole / "celo_adam.theta").read_bytes()
    return "status 0; the weights are written"
