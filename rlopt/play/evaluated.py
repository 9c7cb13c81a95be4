"""What an evaluation came to: `evaluation.json` in the run folder, and tables."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from celo2.files import read_json, write_atomic
from rlopt import escape
from rlopt.runs import kept
from rlopt.statistics import Interval, bootstrap
from rlopt.storage import run_lock
from rlopt.training import machine
from rlopt.training.config import TrainConfig

FILE = "evaluation.json"
# What tells two evaluations of a run apart.
_SETTINGS = ("episodes", "greedy", "seed", "max_steps", "params")


class Evaluated(NamedTuple):
    """An evaluation of a run.

    folder, config: of the run. settings: what `evaluation.evaluate` was told. returns: [S, episodes], NaN where one
    was not over in time.
    """

    folder: Path
    config: TrainConfig
    settings: dict[str, Any]
    returns: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Mean return of each seed's episodes that were over, [S]; NaN: none was."""
        over = np.isfinite(self.returns)
        count = over.sum(axis=1)
        total = np.where(over, self.returns, 0).sum(axis=1, dtype=np.float64)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @property
    def interval(self) -> Interval | None:
        """Interquartile mean of the seeds' means with its interval; None where a seed has no episode that was over."""
        return bootstrap(self.means) if np.isfinite(self.means).all() else None


def write(found: Evaluated) -> Path:
    """Adds an evaluation to those in the run folder; one of the same settings takes the place of the former.

    Raises:
      ValueError: for a file there that is none of evaluations, or a symbolic link.
    """
    path = found.folder / FILE
    run_lock.check_links(found.folder, path)
    others = [] if not path.exists() else _read(path)
    others = [one for one in others if any(one.get(name) != found.settings.get(name) for name in _SETTINGS)]
    interval = found.interval
    document = {
        **found.settings,
        "version": machine.own_version(),
        "seeds": [found.config.seed + i for i in range(len(found.returns))],
        "mean_returns": [_number(x) for x in found.means],
        "iqm": _number(interval.estimate) if interval else None,
        "ci95": [interval.low, interval.high] if interval and interval.known else None,
        "returns": [[_number(x) for x in row] for row in found.returns],
    }
    write_atomic(path, json.dumps({"evaluations": [*others, document]}, indent=1).encode() + b"\n")
    return path


def check(folder: Path, params: str = kept.FINAL) -> None:
    """Refuses a run folder whose evaluations cannot be added to, or that has not kept such parameters.

    Raises:
      ValueError: as `write`, and as `kept.path_of`.
    """
    if params != kept.FINAL:
        kept.path_of(folder, params)
    run_lock.check_links(folder, folder / FILE)
    if (folder / FILE).exists():
        _read(folder / FILE)


def keep(found: Evaluated) -> None:
    """As `write`; a folder that cannot be written to, another's perhaps, costs only the file: that is said.

    Warns:
      RuntimeWarning: with the reason.
    """
    try:
        write(found)
    except OSError as error:
        warnings.warn(f"{found.folder / FILE} is not written: {error}", RuntimeWarning, stacklevel=2)


def _read(path: Path) -> list[dict[str, Any]]:
    others = read_json(path).get("evaluations")
    if not isinstance(others, list) or not all(isinstance(one, dict) for one in others):
        raise ValueError(f"{path} holds no evaluations; move it away to evaluate this run")
    return others


def seeds_table(found: Evaluated) -> Table:
    """Mean return of each seed's policy, and their interquartile mean."""
    config, returns = found.config, found.returns
    how = "greedy" if found.settings["greedy"] else "sampled"
    title = f"{config.agent.upper()} with {config.title} on {config.env}: {returns.shape[1]} {how} episodes each"
    title += _which(found)
    rendered = Table(title=escape.rich(title, "table.title"))
    for heading in ("seed", "mean", "lowest", "highest", "not over"):
        rendered.add_column(heading, justify="right")
    for i, (row, mean) in enumerate(zip(returns, found.means, strict=True)):
        over = row[np.isfinite(row)]
        shown = [f"{x:.1f}" for x in (mean, over.min(), over.max())] if len(over) else ["-"] * 3
        rendered.add_row(str(config.seed + i), *shown, str(len(row) - len(over)))
    if found.interval:
        rendered.add_section()
        low_high = [f"{x:.1f}" for x in found.interval[1:]] if found.interval.known else ["-"] * 2
        rendered.add_row("IQM", f"{found.interval.estimate:.1f}", "", "", "")
        rendered.add_row("95 %", "", *low_high, "")
    _say_what_was_not_over(rendered, [found])
    return rendered


def runs_table(found: Sequence[Evaluated]) -> Table:
    """One row per run: its interquartile mean over seeds with the interval, worst and best seed."""
    episodes = found[0].returns.shape[1]
    how = "greedy" if found[0].settings["greedy"] else "sampled"
    rendered = Table(title=escape.rich(f"{episodes} {how} episodes of each seed{_which(found[0])}; means of seeds"))
    rendered.add_column("run", overflow="fold", min_width=9)
    for heading in ("environment", "optimizer"):
        rendered.add_column(heading, overflow="fold")
    for heading in ("seeds", "IQM", "95 % interval", "worst", "best", "not over"):
        rendered.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        interval, means = one.interval, one.means
        known = means[np.isfinite(means)]
        cells = [
            "-" if interval is None else f"{interval.estimate:.1f}",
            f"{interval.low:.1f} to {interval.high:.1f}" if interval and interval.known else "-",
            *([f"{known.min():.1f}", f"{known.max():.1f}"] if len(known) else ["-"] * 2),
            str(int(np.isnan(one.returns).sum())),
        ]
        words = (str(one.folder), one.config.env, one.config.title, str(len(means)), *cells)
        rendered.add_row(*map(escape.rich, words))
    _say_what_was_not_over(rendered, found)
    return rendered


def _say_what_was_not_over(rendered: Table, found: Sequence[Evaluated]) -> None:
    """Below a table: else dashes would be all that is known of policies that play longer than they were let."""
    if all(np.isfinite(one.returns).all() for one in found):
        return
    steps = found[0].settings["max_steps"]
    limit = "the environment's time limit" if steps is None else f"{steps:,} steps (--max-steps)"
    text = f"not over: episodes that went on after {limit}, which count nowhere; a dash where a seed has no other"
    rendered.caption = escape.rich(text, "table.caption")


def _which(found: Evaluated) -> str:
    """Of other parameters than the last, which they are."""
    return f", parameters {found.settings['params']}" if "params" in found.settings else ""


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
