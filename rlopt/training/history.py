"""What a population did: from the metrics of each logging interval to its history, and to those of its cells."""

import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

import agents
from rlopt import statistics
from rlopt.training import giving_up
from rlopt.training.best import Best
from rlopt.training.checkpoint import Progress
from rlopt.training.config import TrainConfig


class History(NamedTuple):
    """What a population did; S members (seeds, or learning rates times seeds), T logging intervals.

    steps: int64 [T], environment steps per seed at the end of each interval.
    returns: float32 [S, T], mean raw return of the training episodes that ended in the interval; NaN: none did.
    lengths: float32 [S, T], their mean length.
    final: float32 [S], mean return over the episodes of the last tenth of training, or what else a seed counts as
      (`statistics.final_returns`); NaN: no episode ended in any seed of its cell.
    stopped: int64 [S], environment steps after which a seed counts as stopped: its loss was not finite in the mean over
      the interval that ended there; -1: it was. What it logged until then stays, what would come after is NaN.
    metrics: {name: float32 [S, T]}, means over the interval of what the agent reports.
    params: tree of NumPy arrays with leading axis S, the trained networks.
    compile_seconds, train_seconds: wall-clock time. cpu_seconds: processor time of training, over all cores.
    devices: on what it was trained: "2 x cpu", "1 x NVIDIA H200".
    given_up: int64 [S], environment steps after which a seed was no longer trained (`giving_up`), and after which
      everything is NaN; -1: it was to the end.
    best: the policies that were best on the way; None where they were not kept. seconds_beside: wall-clock time of
      evaluations, no part of train_seconds.
    """

    steps: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    final: np.ndarray
    stopped: np.ndarray
    metrics: dict[str, np.ndarray]
    params: Any
    compile_seconds: float
    train_seconds: float
    cpu_seconds: float
    devices: str
    given_up: np.ndarray
    best: Best | None = None
    seconds_beside: float = 0.0


def with_interval(so_far: Progress, state: Any, metrics: Any, step: int, config: TrainConfig) -> Progress:
    """Progress after one more interval, which ended at a step; seeds whose loss was not finite in it are stopped.

    metrics: NumPy arrays [iterations, A], of the members that are trained.
    """
    metrics = jax.tree.map(lambda x: _of_all(x, so_far), metrics)
    row = _interval(metrics)
    for values in row.values():
        values[(so_far.stopped >= 0) | (so_far.given_up >= 0)] = np.nan
    _stop_broken(so_far.stopped, np.where(so_far.given_up >= 0, 0.0, row["loss"]), step, config)
    return so_far._replace(
        state=state,
        rows=[*so_far.rows, row],
        sums=np.concatenate([so_far.sums, metrics.return_sum]),
        counts=np.concatenate([so_far.counts, metrics.num_episodes]),
    )


def _of_all(values: np.ndarray, so_far: Progress) -> np.ndarray:
    """[iterations, A] -> [iterations, S]; 0 for members that were given up."""
    if so_far.left is None:
        return values
    found = np.zeros((len(values), len(so_far.stopped)), values.dtype)
    found[:, giving_up.members(so_far)] = values
    return found


def _interval(metrics: Any) -> dict[str, np.ndarray]:
    """Per-seed means [S] over one interval."""
    episodes = metrics.num_episodes.sum(0)
    row = {
        "return": _ratio(metrics.return_sum.sum(0), episodes),
        "length": _ratio(metrics.length_sum.sum(0), episodes),
        "episodes": episodes.astype(np.float32),
    }
    rest = metrics._asdict()
    for name in ("return_sum", "length_sum", "num_episodes"):
        rest.pop(name)
    return row | {name: value.mean(0) for name, value in rest.items()}


def _stop_broken(stopped: np.ndarray, loss: np.ndarray, step: int, config: TrainConfig) -> None:
    """Notes the step in `stopped` for members whose loss is not finite for the first time, and says so."""
    for index in np.flatnonzero(~np.isfinite(loss) & (stopped < 0)).tolist():
        stopped[index] = step
        warnings.warn(
            f"{config.label}: the loss of {config.member(index)} is not finite (at step {step:,}); this seed is "
            "stopped, the others go on",
            RuntimeWarning,
            stacklevel=5,
        )


def of_progress(
    agent: agents.Agent, config: TrainConfig, so_far: Progress, steps: np.ndarray, compile_seconds: float, mesh: Mesh
) -> History:
    """The history of a run that has come to its end, with what every seed counts as.

    steps: int64 [T], environment steps per seed at the end of each interval.
    """
    columns = {name: np.stack([row[name] for row in so_far.rows], axis=1) for name in so_far.rows[0]}
    history = History(
        steps=steps,
        returns=columns.pop("return"),
        lengths=columns.pop("length"),
        final=statistics.tail_means(so_far.sums, so_far.counts),
        stopped=so_far.stopped,
        metrics=columns,
        params=giving_up.all_policies(agent, so_far),
        given_up=so_far.given_up,
        compile_seconds=compile_seconds,
        train_seconds=so_far.train_seconds,
        cpu_seconds=so_far.cpu_seconds,
        devices=f"{mesh.size} x {mesh.devices.flat[0].device_kind}",
        best=so_far.best,
        seconds_beside=so_far.seconds_beside,
    )
    return _with_finals(history, config)


def _with_finals(history: History, config: TrainConfig) -> History:
    """With what every seed counts as, those included that broke in the last update."""
    # The last update's loss is one that came before it.
    unbroken = [np.all(np.isfinite(x), axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(history.params)]
    loss = np.where(np.all(unbroken, axis=0), 0.0, np.nan)
    _stop_broken(history.stopped, loss, int(history.steps[-1]), config)
    counted = statistics.final_returns(history.final, history.returns, history.stopped, len(config.cells))
    return history._replace(final=counted)


def split(history: History, config: TrainConfig) -> list[History]:
    """What each of a population's cells did, up to where it was given up; time is shared out by steps."""
    count = len(config.cells)
    trained = np.where(history.given_up >= 0, history.given_up, history.steps[-1]).reshape(count, -1).sum(axis=1)

    def part(k: int) -> History:
        def mine(x: np.ndarray) -> np.ndarray:
            return x[k * config.seeds : (k + 1) * config.seeds]

        given_up, ended = mine(history.given_up), np.maximum(mine(history.given_up), mine(history.stopped))
        whole = np.all(given_up < 0) or np.any(ended < 0)
        there = history.steps <= (history.steps[-1] if whole else np.max(ended))
        share = trained[k] / trained.sum()
        return History(
            steps=history.steps[there],
            returns=mine(history.returns)[:, there],
            lengths=mine(history.lengths)[:, there],
            final=mine(history.final),
            stopped=mine(history.stopped),
            given_up=given_up,
            metrics={name: mine(values)[:, there] for name, values in history.metrics.items()},
            params=jax.tree.map(mine, history.params),
            compile_seconds=history.compile_seconds / count,
            train_seconds=history.train_seconds * share,
            cpu_seconds=history.cpu_seconds * share,
            devices=history.devices,
            best=jax.tree.map(mine, history.best),
            seconds_beside=history.seconds_beside * share,
        )

    return [part(k) for k in range(count)]


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
