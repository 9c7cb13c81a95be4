"""Logs to Weights & Biases what comes from standard input: run as a script, by `rlopt.tracking.trackers`.

wandb has a process of its own, this one: what it imports, starts, patches or leaves to be done at exit does not touch
the training. The first line is a JSON list of the runs' settings; every other line is a row, {"run": its place in that
list, "step": ..., "values": {...}, "films": {name: path of a GIF}} (films: where there are some), a model,
{"run": ..., "model": its name, "files": {name: path}}, or the end,
{"exit_code": ...}. What went wrong, if anything, is written as JSON.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

INIT_SECONDS = 30.0


def log(lines: Iterable[str]) -> None:
    """Starts the runs, logs every row, ends the runs.

    Raises:
      Exception: whatever wandb raises.
    """
    import wandb

    coming = iter(lines)
    runs: list[Any] = []
    for settings in json.loads(next(coming)):
        seconds, stats = settings.pop("finish_seconds"), settings.pop("machine_stats")
        quiet = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=INIT_SECONDS,
            finish_timeout=max(seconds, 0.1),  # for wandb, 0 is for ever
            x_disable_stats=not stats,
        )
        # Several runs at once; one whose id is there is resumed.
        runs.append(wandb.init(**settings, resume="allow", reinit="create_new", settings=quiet))
    exit_code = 1  # where the training process dies, no end comes
    for line in coming:
        row = json.loads(line)
        if "exit_code" in row:
            exit_code = row["exit_code"]
            break
        if "model" in row:
            keep(runs[row["run"]], row["model"], row["files"])
            continue
        films = {name: wandb.Video(path) for name, path in row.get("films", {}).items()}
        runs[row["run"]].log(row["values"] | films, step=row["step"])
    for run in runs:
        run.finish(exit_code=exit_code)


def keep(run: Any, name: str, files: Mapping[str, str]) -> None:
    """Logs those of some files that are there as an artifact of a run."""
    import wandb

    artifact = wandb.Artifact(name, type="model")
    there = {within: path for within, path in files.items() if os.path.isfile(path)}
    for within, path in there.items():
        # No copies in the user's home: the files of a run that has ended do not change any more.
        artifact.add_file(path, name=within, policy="immutable", skip_cache=True)
    if there:
        run.log_artifact(artifact)


def main() -> None:
    """Reads standard input to its end."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what wandb prints is no answer
    try:
        log(sys.stdin)
    except BaseException as error:
        answer.write(json.dumps(f"{type(error).__name__}: {error}") + "\n")
    answer.close()


if __name__ == "__main__":
    main()
