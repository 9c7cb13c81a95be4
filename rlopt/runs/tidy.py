"""Learning curves as a tidy table: one row per run, seed and logging interval."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from celo2.files import write_atomic
from rlopt.runs import kept, results

COLUMNS = MappingProxyType(
    {
        "run": "run folder",
        "agent": "ppo, dqn, ...",
        "env": "environment id",
        "optimizer": "name, with options of its own the name of the arm",
        "learning_rate": "empty (NaN) where the optimizer takes none",
        "seed": "seed of the run",
        "step": "environment steps of the seed at the end of the interval",
        "return": "mean raw return of the episodes that ended in the interval; empty (NaN) where none did",
        "eval_return": "mean return of the evaluation at the end of the interval; empty (NaN) where there was none",
        "stopped": "whether the seed had been stopped by then, because its loss was not finite",
        "given_up": "whether it had been given up by then (--stop-below, --halve-at)",
    }
)


def columns(runs: Sequence[results.Run]) -> dict[str, np.ndarray]:
    """The columns of `COLUMNS`, all of the same length: runs, seeds and intervals, the last the quickest.

    Raises:
      ValueError: for no run, or a folder whose settings do not fit its arrays.
    """
    if not runs:
        raise ValueError("there is no finished run")
    parts = [_columns(run) for run in runs]
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def _columns(run: results.Run) -> dict[str, np.ndarray]:
    config = results.read_config(run.folder)
    results.check_seeds(run, config)
    seeds, intervals = run.returns.shape
    stopped, given_up = run.stopped[:, None], run.given_up[:, None]

    def repeated(value: Any) -> np.ndarray:
        return np.full(seeds * intervals, value, dtype=object)

    rate = run.summary["learning_rate"]
    return {
        "run": repeated(str(run.folder)),
        "agent": repeated(run.summary["agent"]),
        "env": repeated(run.summary["env_id"]),
        "optimizer": repeated(run.summary["optimizer"]),
        "learning_rate": np.full(seeds * intervals, np.nan if rate is None else rate, np.float64),
        "seed": np.repeat(np.arange(config.seed, config.seed + seeds), intervals),
        "step": np.tile(run.steps, seeds),
        "return": run.returns.reshape(-1),
        "eval_return": _evaluated(run),
        "stopped": ((stopped >= 0) & (run.steps > stopped)).reshape(-1),
        "given_up": ((given_up >= 0) & (run.steps > given_up)).reshape(-1),
    }


def _evaluated(run: results.Run) -> np.ndarray:
    """Returns of evaluations, by seed and interval as the others, float32 [S * T]."""
    found = np.full(run.returns.shape, np.nan, np.float32)
    evaluated = kept.evaluated(run)
    if evaluated is not None:
        at = np.searchsorted(run.steps, evaluated.steps)
        if np.any(at >= len(run.steps)) or np.any(run.steps[at] != evaluated.steps):
            raise ValueError(f"{run.folder} has evaluations at steps at which no logging interval ends")
        found[:, at] = evaluated.returns
    return found.reshape(-1)


def write_csv(table: dict[str, np.ndarray], path: Path) -> None:
    """Writes a table with a heading; NaN is empty, truth is `true` or `false`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(map(_word, column) for column in table.values()), strict=True))
    write_atomic(path, text.getvalue().encode())


def _word(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return "" if isinstance(value, float | np.floating) and np.isnan(value) else str(value)


def write_parquet(table: dict[str, np.ndarray], path: Path) -> None:
    """Writes a table, NaN as null; needs pyarrow."""
    import pyarrow
    from pyarrow import parquet

    made = {name: pyarrow.array(column, from_pandas=True) for name, column in table.items()}
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(made), buffer)
    write_atomic(path, buffer.getvalue())
