"""Files that would take all memory, or all time."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from attacks.base import Done, attack, command, finished, report, settings

MEGABYTES = 1 << 20


def _frugal(act: Callable[[], Any], limit: int = 200 * MEGABYTES) -> Any:
    tracemalloc.start()
    try:
        found = act()
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
    return found


@attack("`rlopt plot` of a folder whose `config.json` is a pipe", "waited for ever")
def a_pipe(folder: Path) -> str:
    for name in ("a", "b"):
        run = finished(folder / name)
        (run / "config.json").unlink()
        os.mkfifo(run / "config.json")
    done = command("plot", folder, "--out", folder / "a.png")
    assert done.status == 0, done.err
    return "drawn, without what only the settings say"


@attack("the same with a link to `/dev/zero`", "took 12 GB")
def a_device(folder: Path) -> str:
    run = finished(folder / "run")
    (run / "config.json").unlink()
    (run / "config.json").symlink_to("/dev/zero")
    done: Done = _frugal(lambda: command("plot", folder, "--out", folder / "a.png"))
    assert done.status == 0, done.err
    return "drawn, without what only the settings say"


@attack("`rlopt report` of a run that says that it has a billion seeds", "took 12 GB")
def seeds(folder: Path) -> str:
    finished(folder / "run", seeds=10**9)
    done: Done = _frugal(lambda: report(folder, "--no-timing"))
    return done.refused("1000000000 seeds, but returns.npz has 2")


@attack("`rlopt report` of a run that says that its layers have 60,000 units", "took 14 GB")
def layers(folder: Path) -> str:
    finished(folder / "run", hyper__hidden=[60_000, 60_000])
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = report(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * MEGABYTES  # kilobytes
    assert done.status == 0, done.err
    return "the report is written without timing it"


@attack("`rlopt plot` of 1,000 runs that are alike", "11 s to tell them apart")
def alike(folder: Path) -> str:
    from rlopt.runs import labels, results

    run = results.read_run(finished(folder / "run"))
    runs = [run] * 300
    labels.tell_apart(runs[:2])
    counted: list[int] = []

    class Counted(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            counted.append(1)
            return super().__getitem__(name)

    labels.tell_apart([run._replace(summary=Counted(run.summary)) for run in runs])
    assert len(counted) < 200 * len(runs), len(counted)
    return "the time grows with their number"


@attack(
    "`rlopt report` of 40 runs that differ in `--gamma` alone, and of others in `--num-envs`",
    "each was compiled to be timed",
)
def alike_but_for_a_number(folder: Path) -> str:
    from rlopt.report import cost

    changes: list[dict[str, Any]] = [{"gamma": 0.9 + i / 1000} for i in range(40)]
    changes += [{"num_envs": 8}, {"num_envs": 16}, {"hidden": (4,)}]
    for i, hyper in enumerate(changes):
        finished(folder / str(i), settings(hyper=hyper))
    update, timed = cost._update, []

    def counted(*arguments: Any) -> Any:
        timed.append(1)
        return update(*arguments)

    with mock.patch.object(cost, "_update", counted):
        done = report(folder)
    assert done.status == 0, done.err
    assert (folder / "report" / "tables" / "cost.csv").read_text().count("\n") == 1 + len(changes)
    return f"{len(timed)} are timed, one for each network"
