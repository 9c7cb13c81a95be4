"""What DQN remembers: steps that wait for their n rewards, then transitions or single frames to be replayed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import frame_replay, replay
from agents.dqn_config import DQNConfig
from agents.replay import Transition
from agents.returns import n_step_targets
from envs import EnvSpec


class Step(NamedTuple):
    """Steps of N environments, [T, N, ...]. obs and final_obs: None where they need not wait."""

    obs: Any
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_obs: Any
    valid: jax.Array


class Memory(NamedTuple):
    """A replay as functions.

    init(obs) -> (replay, waiting): empty, for observations like obs, [N, ...]. waiting: `Step`, the last steps, not all
      of whose rewards are there yet; None if none ever wait.
    add(replay, waiting, steps, gamma) -> (replay, waiting): after an iteration's steps, [T, N, ...].
    sample(replay, key) -> `replay.Sample` of `Transition`s.
    """

    init: Callable[[jax.Array], tuple[Any, Step | None]]
    add: Callable[[Any, Step | None, Step, jax.Array], tuple[Any, Step | None]]
    sample: Callable[[Any, jax.Array], replay.Sample]


def memory(spec: EnvSpec, config: DQNConfig) -> Memory:
    """The replay that suits an environment: of single frames where observations are stacks of them."""
    # Where an end has a step of its own, all that is ever seen follows from what was seen at some step.
    return _of_frames(spec, config) if spec.frame_stack > 1 and spec.next_step_reset else _of_transitions(config)


def _of_transitions(config: DQNConfig) -> Memory:
    def init(obs: jax.Array) -> tuple[replay.Replay, Step | None]:
        # Stored as they come: bytes stay bytes.
        row, scalar = jnp.zeros(obs.shape[1:], obs.dtype), jnp.float32(0)
        example = Transition(row, jnp.int32(0), scalar, scalar, row)
        empty = replay.init(example, config.replay_capacity, config.prioritized)
        if config.n_step == 1:  # not arrays of no rows: several devices with one make the compiler of jax 0.11 crash
            return empty, None
        shape = (config.n_step - 1, *obs.shape)
        nothing = _nothing(config.n_step - 1, config.num_envs)
        return empty, nothing._replace(obs=jnp.zeros(shape, obs.dtype), final_obs=jnp.zeros(shape, obs.dtype))

    def add(
        stored: replay.Replay, waiting: Step | None, steps: Step, gamma: jax.Array
    ) -> tuple[replay.Replay, Step | None]:
        window = _joined(waiting, steps)
        # An autoreset step comes after an end, so within an episode no sum runs over one.
        total, factor, offset = n_step_targets(window.reward, window.terminated, window.truncated, gamma, config.n_step)
        count = total.shape[0]
        final = window.final_obs[jnp.arange(count)[:, None] + offset, jnp.arange(config.num_envs)]
        transitions = Transition(window.obs[:count], window.action[:count], total, factor, final)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), transitions)
        still = None if waiting is None else _from(window, count)
        return replay.add(stored, flat, window.valid[:count].reshape(-1)), still

    def sample(stored: replay.Replay, key: jax.Array) -> replay.Sample:
        return replay.sample(stored, key, config.batch_size)

    return Memory(init, add, sample)


def _of_frames(spec: EnvSpec, config: DQNConfig) -> Memory:
    def init(obs: jax.Array) -> tuple[frame_replay.FrameReplay, Step]:
        empty = frame_replay.init(
            obs, config.replay_capacity, config.steps_per_iteration, config.n_step, config.prioritized
        )
        return empty, _nothing(config.n_step, config.num_envs)

    def add(
        stored: frame_replay.FrameReplay, waiting: Step | None, steps: Step, gamma: jax.Array
    ) -> tuple[frame_replay.FrameReplay, Step]:
        window = _joined(waiting, steps._replace(obs=None, final_obs=None))
        total, factor, offset = n_step_targets(window.reward, window.terminated, window.truncated, gamma, config.n_step)
        count = config.steps_per_iteration
        rows = frame_replay.Row(window.action[:count], total[:count], factor[:count], offset[:count])
        after = frame_replay.add(stored, steps.obs, rows, window.valid[:count], config.n_step)
        return after, _from(window, count)

    def sample(stored: frame_replay.FrameReplay, key: jax.Array) -> replay.Sample:
        return frame_replay.sample(stored, key, config.batch_size, spec.observation_shape)

    return Memory(init, add, sample)


def _nothing(count: int, num_envs: int) -> Step:
    """Steps that never were: not valid, so that nothing is learned from them."""

    def zeros(dtype: Any) -> jax.Array:
        return jnp.zeros((count, num_envs), dtype)  # each of its own, so that they can be donated

    return Step(None, zeros(jnp.int32), zeros(jnp.float32), zeros(bool), zeros(bool), None, zeros(bool))


def _joined(waiting: Step | None, steps: Step) -> Step:
    if waiting is None:
        return steps
    return jax.tree.map(lambda old, new: jnp.concatenate([old, new]), waiting, steps)


def _from(window: Step, start: int) -> Step:
    return jax.tree.map(lambda x: x[start:], window)
