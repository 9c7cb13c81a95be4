"""Files of run folders in which somebody has changed something: refused or passed over, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from attacks.base import Done, attack, change, command, finished, report, settings


def _report(folder: Path) -> Done:
    return report(folder, "--no-timing")


def _plot(folder: Path) -> Done:
    return command("plot", folder, "--out", folder.parent / "a.png")


def _resume(folder: Path) -> Done:
    from rlopt.training import loop

    with mock.patch.object(loop, "train", side_effect=ValueError("trained")):
        return command("resume", folder)


def _all(folder: Path, tamper: Callable[[Path], None]) -> str:
    """What `plot`, `report` and `resume` say of a folder with a run that was tampered with."""
    run = finished(folder / "run")
    tamper(run)
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "config.json").write_bytes((run / "config.json").read_bytes())
    found = {"plot": _plot(run), "report": _report(run), "resume": _resume(folder / "unfinished")}
    for name, done in found.items():
        assert done.status in (0, 2), (name, done.err)
        assert "Traceback" not in done.err, (name, done.err)
    how = {
        name: "refused" if done.status and "rlopt: trained" not in done.err else "done" for name, done in found.items()
    }
    return ", ".join(f"`{name}`: {what}" for name, what in how.items())


@attack("`config.json` that is `[1]`", "as now")
def a_list(folder: Path) -> str:
    return _all(folder, lambda run: (run / "config.json").write_text("[1]") and None)


@attack("`config.json` nested a thousand deep", "as now")
def nested(folder: Path) -> str:
    def tamper(run: Path) -> None:
        document = json.loads((run / "config.json").read_text())
        text = json.dumps(document | {"options": 0}).replace(
            '"options": 0', '"options": ' + '{"a":' * 950 + "1" + "}" * 950
        )
        (run / "config.json").write_text(text)

    return _all(folder, tamper)


@attack("an optimizer that is a list", "`plot`: a traceback")
def an_optimizer(folder: Path) -> str:
    return _all(folder, lambda run: change(run / "config.json", optimizer=["adam"]))


@attack("options that are 5", "`plot`: a traceback")
def options(folder: Path) -> str:
    return _all(folder, lambda run: change(run / "config.json", options=5))


@attack("packages that are a list", "`report`: a traceback")
def packages(folder: Path) -> str:
    return _all(folder, lambda run: change(run / "config.json", packages=["jax"]))


@attack("seconds of compilation that are text", "`report`: a traceback")
def seconds(folder: Path) -> str:
    return _all(folder, lambda run: change(run / "summary.json", compile_seconds="x", devices=3))


BENCHMARK = ("benchmark", "ppo", "--envs", "CartPole-v1", "--optimizers", "adam", "--seeds", "2")
BENCHMARK += ("--tuning-seeds", "2", "--learning-rates", "1e-3")


def _whole_benchmark(folder: Path) -> Path:
    from rlopt.benchmark import protocol
    from rlopt.benchmark.plan import Plan

    plan = Plan(optimizers=("adam",), envs=("CartPole-v1",), seeds=2, tuning_seeds=2, learning_rates=(1e-3,))
    place = folder / "benchmark"
    protocol.write_plan(place, plan)
    (place / protocol.RANDOM).write_text(json.dumps({"CartPole-v1": [20.0]}))
    for stage, seed in ((protocol.TUNING, 10_000), (protocol.FINAL, 0)):
        finished(protocol.place(place, stage, "CartPole-v1", "adam") / "rate-0.001", settings(seed=seed))
    return place


def _benchmark(folder: Path, tamper: Callable[[Path], None], *words: str) -> str:
    place = _whole_benchmark(folder)
    tamper(place)
    for done in (_report(place), command(*BENCHMARK, "--out", place)):
        text = done.refused(*words)
    return text


@attack("a benchmark whose `random.json` holds text", "`report`, `benchmark`: a traceback")
def returns_of_random_policies(folder: Path) -> str:
    def tamper(place: Path) -> None:
        change(place / "random.json", **{"CartPole-v1": ["x"]})

    place = _whole_benchmark(folder)
    tamper(place)
    done = _report(place)  # says that they cannot be read, and shows the rest
    assert done.status == 0, done.err
    assert "random policies cannot be read" in (place / "report" / "report.html").read_text()
    return command(*BENCHMARK, "--out", place).refused("random.json")


@attack('a benchmark of the suite "zzz"', "`report`: a traceback")
def a_suite(folder: Path) -> str:
    return _benchmark(folder, lambda place: change(place / "benchmark.json", suite="zzz", envs=[]), "benchmark.json")


@attack("a `job.json` that names no job", "`KeyError`")
def a_job(folder: Path) -> str:
    from rlopt.runs import launcher

    (folder / launcher.RECORD).write_text('{"launcher": "local"}')
    try:
        launcher.Launcher("local", {})._left_running(folder)
    except ValueError as error:
        return f"refused: {error}"
    raise AssertionError("taken")


@attack("cells of `metatest` that are of another shape", "a traceback after training")
def cells(folder: Path) -> str:
    from rlopt.metatest import suite
    from rlopt.metatest.config import SuiteConfig

    cell = {name: np.zeros(3) for name in suite.Cell._fields}
    np.savez(folder / "a.npz", **cell)
    try:
        suite._read(folder / "a.npz", SuiteConfig(steps=100, seeds=3), 2)
    except ValueError as error:
        return f"refused: {error}"
    raise AssertionError("taken")


@attack("rows of meta-training that are of different families", "`KeyError` after training")
def families(folder: Path) -> str:
    from rlopt.metatraining import metrics

    rows: list[dict[str, Any]] = [
        {"iteration": i, "loss": 1.0, "family_loss": {name: 1.0}} for i, name in enumerate("ab")
    ]
    (folder / metrics.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        metrics.read(folder)
    except ValueError as error:
        return f"refused: {error}"
    raise AssertionError("taken")
