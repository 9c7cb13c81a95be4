"""The one interface that agents see, whatever runs behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np


@dataclass(frozen=True)
class Discrete:
    """Actions 0 .. n-1, int32."""

    n: int


@dataclass(frozen=True, eq=False)
class Box:
    """Real actions of a fixed shape between low and high (arrays of that shape), float32."""

    low: np.ndarray
    high: np.ndarray
    shape: tuple[int, ...]


@dataclass(frozen=True)
class EnvSpec:
    """What an agent may know before the first step.

    Attributes:
      id: as `make` takes it.
      num_envs: environments stepped together, N.
      observation_shape: of one observation, without the leading environment axis.
      observation_dtype: likewise.
      action_space: of one environment.
      time_limit: steps after which an episode is truncated, or None.
      next_step_reset: the next episode starts in a step of its own after an end (not `valid`), so that final_obs is
        always obs; agents then need not look at final_obs.
      frame_stack: the last axis of an observation holds this many frames, the newest last; each observation is the one
        before moved on by a frame, or that many equal frames at the beginning of a game.
      restorable: whether the state is all there is, so that a run can be resumed from a saved one.
    """

    id: str
    num_envs: int
    observation_shape: tuple[int, ...]
    observation_dtype: Any
    action_space: Discrete | Box
    time_limit: int | None
    next_step_reset: bool = False
    frame_stack: int = 1
    restorable: bool = True


class TimeStep(NamedTuple):
    """One step of N environments. An environment that ends an episode has been reset already.

    Attributes:
      obs: [N, *shape], what the agent sees next (the first observation of a new episode after an end).
      reward: float32 [N].
      terminated: bool [N], the episode ended in a state without a future.
      truncated: bool [N], the episode was cut off (time limit): its last state still has a value.
      final_obs: [N, *shape], the observation that the action really led to; differs from obs after an end.
      valid: bool [N]; False where the step was an autoreset step that must not be learned from.
      episode_return: float32 [N], undiscounted raw return of the episode that ended here; 0 elsewhere.
      episode_length: int32 [N], its length; 0 elsewhere.
    """

    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_obs: jax.Array
    valid: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array

    @property
    def done(self) -> jax.Array:
        """Bool [N]: terminated or truncated."""
        return self.terminated | self.truncated


def _keep(key: jax.Array, state: Any, num_steps: int) -> Any:
    del key, num_steps
    return state


@dataclass(frozen=True)
class VectorEnv:
    """N environments as pure functions, usable under jit, scan and vmap.

    Attributes:
      spec: what an agent may know beforehand.
      reset: reset(key) -> (state, obs [N, *shape]).
      step: step(key, state, action) -> (state, TimeStep). action: int32 [N] for Discrete, for Box float32
        [N, *shape].
      prepare: prepare(key, state, num_steps) -> state, optional, before the steps of a rollout. The environment may
        then use what it has drawn ahead for num_steps steps, which is faster. If more episodes end than were drawn for,
        some start from the same state, drawn from the right distribution but not independent.
      release: release(state) -> state, after these steps.
      close: close() -> None, gives back what episodes hold outside of the program, as emulators do; no state so far can
        step any more.
    """

    spec: EnvSpec
    reset: Callable[[jax.Array], tuple[Any, jax.Array]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, TimeStep]]
    prepare: Callable[[jax.Array, Any, int], Any] = _keep
    release: Callable[[Any], Any] = lambda state: state
    close: Callable[[], None] = lambda: None
