"""Members of a population that are given up early: who is, and how the others go on without them.

Who is given up leaves the program: it is compiled anew for those that go on, and gets quicker. What decides is what a
member would count as if training ended now (`statistics.final_returns`, of the last tenth of the steps so far).
"""

from typing import Any

import jax
import numpy as np

import agents
from rlopt import statistics
from rlopt.training import intervals, placement
from rlopt.training.checkpoint import Left, Progress
from rlopt.training.config import TrainConfig


def members(so_far: Progress) -> np.ndarray:
    """Positions of the members that are trained, int [A], in the order of the state's leading axis."""
    return np.flatnonzero(so_far.given_up < 0)


def leaving(config: TrainConfig, so_far: Progress, step: int) -> np.ndarray:
    """Who is given up after an interval, bool [S]; nobody after the last."""
    rules, ends = config.monitor, intervals.ends(config.hyper)
    found = np.zeros(config.size, bool)
    stops = rules.stop_below is not None and step == intervals.first(ends, rules.stop_at)
    halves = step in {intervals.first(ends, at) for at in rules.halve_at}
    if step == ends[-1] or not (stops or halves):
        return found
    scores, going = _scores(config, so_far), so_far.given_up < 0
    if stops:
        found |= going & (so_far.stopped < 0) & (scores < np.float32(rules.stop_below))
    if halves:
        shape = (len(config.cells), config.seeds)
        there = np.flatnonzero(np.any(np.reshape(going & ~found, shape), axis=1))
        means = scores.reshape(shape).mean(axis=1)[there]
        best = there[statistics.leading(means.tolist(), max(2, -(-len(there) // 2)))]
        worse = ~np.isin(np.arange(len(config.cells)), best)
        found |= going & np.repeat(worse, config.seeds)
    return found


def _scores(config: TrainConfig, so_far: Progress) -> np.ndarray:
    """What members would count as if training ended now, [S]; NaN: no episode has ended in any seed of a cell."""
    final = statistics.tail_means(so_far.sums, so_far.counts)
    returns = np.stack([row["return"] for row in so_far.rows], axis=1)
    return statistics.final_returns(final, returns, so_far.stopped, len(config.cells))


def said(config: TrainConfig, so_far: Progress, gone: np.ndarray, step: int) -> str:
    """In words, who is given up; gone: bool [S]."""
    count = len(config.cells)
    cells = int(np.sum(np.all(gone.reshape(count, config.seeds), axis=1)))
    whole = f", all seeds of {cells} of {count} settings" if config.has_cells else ""
    left = int(np.sum((so_far.given_up < 0) & ~gone))
    return f"{int(gone.sum())} of {config.size} members are given up at step {step:,}{whole}; {left} go on"


def without(agent: agents.Agent, so_far: Progress, gone: np.ndarray, step: int) -> Progress:
    """Progress of those that go on; the others' policies stay as they are.

    gone: bool [S]. The state is None where nobody goes on.
    """
    stay = np.flatnonzero(~gone[members(so_far)])
    state = placement.subset(so_far.state, stay) if stay.size else None
    left = Left(np.where(gone, step, so_far.given_up), all_policies(agent, so_far))
    return so_far._replace(state=state, left=left)


def all_policies(agent: agents.Agent, so_far: Progress) -> Any:
    """Every member's policies, those of before where one was given up: NumPy arrays, leaves [S, ...]."""
    if so_far.state is None:
        return so_far.left.policies  # type: ignore[union-attr]  # those who left
    policies = jax.tree.map(np.array, agent.policy(so_far.state))
    if so_far.left is None:
        return policies

    def placed(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        whole = old.copy()
        whole[members(so_far)] = new
        return whole

    return jax.tree.map(placed, policies, so_far.left.policies)
