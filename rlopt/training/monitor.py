"""What looks at a population between the intervals of its training: evaluates it, and keeps parameters."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

import agents
from envs import VectorEnv
from rlopt.training import evaluations, intervals, placement
from rlopt.training.config import TrainConfig

# Entries of a row; NaN in intervals without an evaluation.
RETURN, LENGTH, EPISODES = "eval_return", "eval_length", "eval_episodes"
BEST, STEP = "best", "step-{}"


class Best(NamedTuple):
    """The best policies so far, each seed's own.

    policies: tree of NumPy arrays, leaves [S, ...]. returns: float32 [S], what they were judged by; NaN: nothing yet.
    steps: int64 [S], environment steps after which they were.
    """

    policies: Any
    returns: np.ndarray
    steps: np.ndarray


class Monitor:
    """Of one population. It only reads the state, and keeps nothing that a resumed run would lack."""

    def __init__(
        self, agent: agents.Agent, config: TrainConfig, mesh: Mesh, env: VectorEnv | None, state: Any, in_turn: bool
    ):
        """Compiles what evaluates.

        env: to evaluate in; None: nothing is evaluated. The others: as `placement.compile_chunk`.
        """
        self._agent, self._config, self._env = agent, config.monitor, env
        ends = intervals.ends(config.hyper)
        self._number = {step: number for number, step in enumerate(ends)}
        self._eval_at = {*intervals.due(ends, config.monitor.eval_every), ends[-1]}
        self._keep_at = set(intervals.due(ends, config.monitor.keep_every))
        self._evaluate: Callable[[Any, int], evaluations.Scores] | None = None
        if env is not None:
            policies = agent.policy(state)
            seeds = placement.seeds_of(config)
            self._evaluate = evaluations.program(mesh, agent, env, policies, seeds, in_turn)
        self.seconds = self.cpu_seconds = 0.0
        """What looking took in this process, which is no part of training."""
        self.to_keep: list[tuple[str, Any]] = []
        """Names, and policies [S, ...], of what the last look found to be kept."""

    def look(
        self,
        state: Any,
        row: dict[str, np.ndarray],
        best: Best | None,
        stopped: np.ndarray,
        step: int,
        compute: Callable[..., Any],
    ) -> Best | None:
        """After an interval: adds its evaluation to the row, and notes what is to be kept.

        Args:
          state: of all members. row: of the interval. best: so far. stopped: [S], members that do not count any more.
          step: environment steps so far.
          compute: calls a program and waits for it.

        Returns:
          The best so far.
        """
        self.to_keep = []
        if not (self._config.eval_every or self._config.keeps):
            return best
        started, cpu_started = time.monotonic(), time.process_time()
        policies = self._agent.policy(state)
        if self._config.eval_every:
            row.update(self._evaluated(policies, step, stopped, compute))
        if self._config.keep_best:
            value = row[RETURN if self._config.eval_every else "return"]
            best, is_new = _better(best, policies, value, stopped, step)
            self.to_keep += [(BEST, best.policies)] if is_new else []
        if step in self._keep_at:
            self.to_keep.append((STEP.format(step), jax.tree.map(np.array, policies)))
        self.seconds += time.monotonic() - started
        self.cpu_seconds += time.process_time() - cpu_started
        return best

    def _evaluated(
        self, policies: Any, step: int, stopped: np.ndarray, compute: Callable[..., Any]
    ) -> dict[str, np.ndarray]:
        """Entries of a row."""
        found = {name: np.full(stopped.shape, np.nan, np.float32) for name in (RETURN, LENGTH, EPISODES)}
        if step in self._eval_at and self._evaluate is not None and self._env is not None:
            scores = compute(self._evaluate, policies, self._number[step])
            self._env.close()
            values = [np.where(stopped >= 0, np.nan, np.asarray(x)).astype(np.float32) for x in scores]
            found = dict(zip(found, values, strict=True))
        return found


def empty(policies: Any) -> Best:
    """A `Best` of nothing, for policies like these."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), policies)
    members = len(jax.tree.leaves(zeros)[0])
    return Best(zeros, np.full(members, np.nan, np.float32), np.zeros(members, np.int64))


def _better(best: Best | None, policies: Any, values: np.ndarray, stopped: np.ndarray, step: int) -> tuple[Best, bool]:
    """The best after a look, and whether it is another; of equal ones the earlier stays, of unknown ones the later."""
    best = empty(policies) if best is None else best
    is_new = ((values > best.returns) | np.isnan(best.returns)) & (stopped < 0)
    if not np.any(is_new):
        return best, False

    def mixed(new: Any, old: np.ndarray) -> np.ndarray:
        return np.where(is_new.reshape(-1, *[1] * (old.ndim - 1)), np.asarray(new), old)

    mixed_policies = jax.tree.map(mixed, policies, best.policies)
    return Best(mixed_policies, np.where(is_new, values, best.returns), np.where(is_new, step, best.steps)), True
