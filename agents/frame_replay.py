"""Replay of stacked frames that stores every frame once, as pure functions on arrays.

An observation is the last S frames, and two in a row share all but one. So the ring holds, for each step of each of N
environments, the newest frame alone: H W bytes instead of 2 S H W. Steps of all environments are written side by side,
those that must not be learned from too, since their frames belong to their neighbours' observations; `usable` tells.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flashbax.buffers import sum_tree

from agents import replay
from agents.replay import Sample, Transition


class Row(NamedTuple):
    """A transition but for its frames; [L, N] as stored. offset: int32, steps from obs to the last of its rewards."""

    action: jax.Array
    reward: jax.Array
    factor: jax.Array
    offset: jax.Array


class FrameReplay(NamedTuple):
    """A ring of L steps of N environments.

    frames: [L, N, H * W], the newest of each observation. age: int32 [L, N], frames before it that belong to the same
    observation; at its beginning a game's first frame stands in for those that are missing.
    rows: `Row`, leaves [L, N]. usable: bool [L, N], steps whose rewards and frames are all there.
    time: int32, steps written so far. tree: sums of priorities; None where sampling is uniform.
    """

    frames: jax.Array
    age: jax.Array
    rows: Row
    usable: jax.Array
    time: jax.Array
    tree: sum_tree.SumTreeState | None

    @property
    def size(self) -> jax.Array:
        """int32, steps that are there, usable or not."""
        length, num_envs = self.usable.shape
        return jnp.minimum(self.time, length) * num_envs


def init(obs: jax.Array, capacity: int, steps_per_add: int, n_step: int, prioritized: bool) -> FrameReplay:
    """An empty replay.

    Args:
      obs: [N, H, W, S], an example. capacity: transitions to keep, rounded up to whole additions.
      steps_per_add: steps of N environments that each `add` brings. n_step: rewards that each row sums.
      prioritized: whether to keep priorities.

    Raises:
      ValueError: for a capacity that cannot hold one addition and the steps that must wait.
    """
    num_envs, height, width, stack = obs.shape
    length = -(-capacity // (num_envs * steps_per_add)) * steps_per_add
    least = steps_per_add + n_step + stack - 1
    if length < least:
        raise ValueError(
            f"replay_capacity ({capacity}) must be at least {least * num_envs} here: num_envs x (steps_per_iteration + "
            "n_step + stacked frames - 1)"
        )

    def zeros(dtype: Any) -> jax.Array:
        return jnp.zeros((length, num_envs), dtype)  # each of its own, so that they can be donated

    return FrameReplay(
        frames=jnp.zeros((length, num_envs, height * width), obs.dtype),
        age=zeros(jnp.int32),
        rows=Row(zeros(jnp.int32), zeros(jnp.float32), zeros(jnp.float32), zeros(jnp.int32)),
        usable=zeros(bool),
        time=jnp.zeros([], jnp.int32),
        tree=sum_tree.init(length * num_envs) if prioritized else None,
    )


def add(memory: FrameReplay, obs: jax.Array, rows: Row, valid: jax.Array, n_step: int) -> FrameReplay:
    """Appends the frames of T steps over the oldest ones, and makes usable T steps that lie n_step before these.

    Args:
      memory: so far.
      obs: [T, N, H, W, S], where the agent acted. Each must be the one before it moved on by a frame, or S equal
        frames, with which a game begins: nothing else could be put together again. Where the first of them is neither,
        its newest frame stands in for those before it, as at a game's beginning.
      rows: leaves [T, N], of steps whose n_step rewards, and the frames that they led to, are there now.
      valid: bool [T, N], which of those may be learned from.
      n_step: as given to `init`.
    """
    length, num_envs = memory.usable.shape
    count, stack = obs.shape[0], obs.shape[-1]
    # The length is a multiple of every addition's, so none runs over the end.
    start = memory.time % length
    frames = jax.lax.dynamic_update_slice_in_dim(
        memory.frames, obs[..., -1].reshape(count, num_envs, -1), start, axis=0
    )
    last = (memory.time - 1) % length
    # A game that is seen from its middle on, as at a start or in a resumed run: what came before is not stored. Read
    # from the frames after they were written to (there is more room than that): before, XLA would copy all of them.
    follows = jnp.all(obs[0, ..., -2].reshape(num_envs, -1) == frames[last], axis=-1)
    before = jnp.where(follows, memory.age[last], -1)
    age = jax.lax.dynamic_update_slice_in_dim(memory.age, _ages(obs, before), start, axis=0)
    complete = (memory.time - n_step + jnp.arange(count)) % length
    stored = jax.tree.map(lambda x, new: x.at[complete].set(new.astype(x.dtype)), memory.rows, rows)
    # Behind them come steps that still wait, and then the oldest ones, part of whose frames has just been overwritten.
    changed = (memory.time - n_step + jnp.arange(count + n_step + stack - 1)) % length
    usable = jnp.concatenate([valid, jnp.zeros((n_step + stack - 1, num_envs), bool)])
    tree = memory.tree
    if tree is not None:
        highest = jnp.maximum(tree.max_recorded_priority, replay.PRIORITY_FLOOR)
        places = changed[:, None] * num_envs + jnp.arange(num_envs)
        tree = sum_tree.set_batch_bincount(tree, places.reshape(-1), jnp.where(usable, highest, 0.0).reshape(-1))
    return FrameReplay(frames, age, stored, memory.usable.at[changed].set(usable), memory.time + count, tree)


def sample(memory: FrameReplay, key: jax.Array, batch_size: int, shape: tuple[int, ...]) -> Sample:
    """Steps with replacement: each stored one equally likely, or in proportion to its priority (stratified).

    Without priorities some are not `usable` (one per episode, and a few at either end of the ring); they must be left
    out of the batch, which keeps the others equally likely.

    Args:
      memory: so far. key: PRNG key. batch_size: B. shape: (H, W, S), of an observation.
    """
    length, num_envs = memory.usable.shape
    index, probability = replay.draw(memory.tree, memory.size, key, batch_size)
    time, env = index // num_envs, index % num_envs
    row = jax.tree.map(lambda x: x[time, env], memory.rows)

    def observation(time: jax.Array) -> jax.Array:
        back = jnp.minimum(jnp.arange(shape[-1])[::-1], memory.age[time, env][:, None])
        frames = memory.frames[(time[:, None] - back) % length, env[:, None]]
        return jnp.moveaxis(frames, 1, -1).reshape(batch_size, *shape)

    after = (time + row.offset + 1) % length
    rows = Transition(observation(time), row.action, row.reward, row.factor, observation(after))
    usable = memory.usable[time, env]
    # Of all probabilities 1 has the least importance: next to it no other row loses weight.
    return Sample(rows, index, jnp.where(usable, probability, 1.0), usable)


def _ages(obs: jax.Array, before: jax.Array) -> jax.Array:
    """`FrameReplay.age` of [T, N, H, W, S] observations after one of age `before`, [N]; -1: after none."""
    count, stack = obs.shape[0], obs.shape[-1]
    begins = jnp.all(obs[..., :-1] == obs[..., -1:], axis=(2, 3, 4))
    times = jnp.arange(count)[:, None]
    began = jax.lax.cummax(jnp.where(begins, times, -1 - before), axis=0)
    return jnp.minimum(times - began, stack - 1)
