"""What looks at a population between the intervals of its training: evaluates it, and keeps parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np

import agents
from envs import VectorEnv
from rlopt.training import evaluations, giving_up, intervals, placement
from rlopt.training.best import Best, better
from rlopt.training.checkpoint import Progress
from rlopt.training.config import TrainConfig

# Entries of a row; NaN in intervals without an evaluation.
RETURN, LENGTH, EPISODES = "eval_return", "eval_length", "eval_episodes"
BEST, STEP = "best", "step-{}"


class Monitor:
    """Of one population. It only reads the state, and keeps nothing that a resumed run would lack."""

    def __init__(self, agent: agents.Agent, config: TrainConfig, env: VectorEnv | None):
        """env: to evaluate in; None: nothing is evaluated."""
        self._agent, self._population, self._config, self._env = agent, config, config.monitor, env
        ends = intervals.ends(config.hyper)
        self._number = {step: number for number, step in enumerate(ends)}
        self._eval_at = {*intervals.due(ends, config.monitor.eval_every), ends[-1]}
        self._keep_at = set(intervals.due(ends, config.monitor.keep_every))
        self._evaluate: Callable[[Any, int], evaluations.Scores] | None = None
        self.to_keep: list[tuple[str, Any]] = []
        """Names, and policies [S, ...], of what the last look found to be kept."""

    def compile(self, so_far: Progress, in_turn: bool) -> None:
        """Makes what evaluates the members that are trained now; in_turn: as `placement.compile_chunk`."""
        if self._env is None:
            return
        members = giving_up.members(so_far)
        mesh, seeds = placement.mesh_for(len(members)), placement.seeds_of(self._population)[members]
        policies = self._agent.policy(so_far.state)
        self._evaluate = evaluations.program(mesh, self._agent, self._env, policies, seeds, in_turn)

    def look(self, so_far: Progress, step: int, compute: Callable[..., Any]) -> Best | None:
        """After an interval: adds its evaluation to its row, and notes what is to be kept.

        Args:
          so_far: with that interval. step: environment steps so far.
          compute: calls a program and waits for it.

        Returns:
          The best policies so far.
        """
        self.to_keep, best = [], so_far.best
        row, going = so_far.rows[-1], (so_far.stopped < 0) & (so_far.given_up < 0)
        if self._config.eval_every:
            row.update(self._evaluated(so_far, step, going, compute))
        if not (self._config.keep_best or step in self._keep_at):
            return best
        policies = giving_up.all_policies(self._agent, so_far)
        if self._config.keep_best:
            value = row[RETURN if self._config.eval_every else "return"]
            best, is_new = better(best, policies, value, going, step)
            self.to_keep += [(BEST, best.policies)] if is_new else []
        if step in self._keep_at:
            self.to_keep.append((STEP.format(step), policies))
        return best

    def _evaluated(
        self, so_far: Progress, step: int, going: np.ndarray, compute: Callable[..., Any]
    ) -> dict[str, np.ndarray]:
        """Entries of a row."""
        found = {name: np.full(going.shape, np.nan, np.float32) for name in (RETURN, LENGTH, EPISODES)}
        if step in self._eval_at and self._evaluate is not None and self._env is not None:
            scores = compute(self._evaluate, self._agent.policy(so_far.state), self._number[step])
            self._env.close()
            for values, mine in zip(found.values(), scores, strict=True):
                values[giving_up.members(so_far)] = np.asarray(mine)
                values[~going] = np.nan
        return found
