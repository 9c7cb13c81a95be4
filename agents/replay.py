"""Replay of transitions, uniform or prioritised, as pure functions on arrays.

The ring is our own since flashbax, whose sum tree the prioritised kind uses, cannot leave single rows of a batch out,
and autoreset steps (`TimeStep.valid`) must not be stored.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flashbax.buffers import sum_tree

# Added to absolute errors, so that nothing is never seen again (Schaul et al., arXiv 1511.05952).
PRIORITY_FLOOR = 1e-6


class Replay(NamedTuple):
    """data: tree, leaves [capacity, ...]. position: int32, where the next row goes. size: int32, rows that are filled.

    tree: sums of priorities; None where sampling is uniform.
    """

    data: Any
    position: jax.Array
    size: jax.Array
    tree: sum_tree.SumTreeState | None


class Transition(NamedTuple):
    """What is replayed. factor: what the bootstrap from next_obs is multiplied with, gamma^m, or 0 after an end."""

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    factor: jax.Array
    next_obs: jax.Array


class Sample(NamedTuple):
    """A batch of B rows.

    rows: tree, leaves [B, ...]. index: int32 [B]. probability: float32 [B], of each row at a single draw.
    usable: bool [B]; what is not must not be learned from.
    """

    rows: Any
    index: jax.Array  # type: ignore[assignment]  # shadows tuple.index
    probability: jax.Array
    usable: jax.Array


def init(example: Any, capacity: int, prioritized: bool) -> Replay:
    """An empty replay for rows like `example`, a tree of arrays without leading axis."""
    data = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.result_type(x)), example)
    zero = jnp.zeros([], jnp.int32)
    return Replay(data, zero, zero, sum_tree.init(capacity) if prioritized else None)


def add(replay: Replay, rows: Any, valid: jax.Array) -> Replay:
    """Appends the valid ones of B rows, over the oldest where it is full; new rows get the highest priority so far.

    Args:
      replay: so far. rows: tree, leaves [B, ...], B at most the capacity. valid: bool [B].
    """
    capacity = jax.tree.leaves(replay.data)[0].shape[0]
    place = (replay.position + jnp.cumsum(valid) - 1) % capacity
    # One past the end is no place: such rows are dropped.
    place = jnp.where(valid, place, capacity).astype(jnp.int32)
    data = jax.tree.map(lambda x, new: x.at[place].set(new.astype(x.dtype), mode="drop"), replay.data, rows)
    count = jnp.sum(valid).astype(jnp.int32)
    tree = replay.tree
    if tree is not None:
        highest = jnp.maximum(tree.max_recorded_priority, PRIORITY_FLOOR)
        # The tree has no place to drop rows into; what is left out keeps the priority that its slot has.
        slot = jnp.where(valid, place, replay.position)
        kept = sum_tree.get_batch(tree, slot)
        order = jnp.argsort(valid)  # the tree lets the last of several values for one slot win
        tree = sum_tree.set_batch_bincount(tree, slot[order], jnp.where(valid, highest, kept)[order])
    size = jnp.minimum(replay.size + count, capacity)
    return Replay(data, (replay.position + count) % capacity, size, tree)


def sample(replay: Replay, key: jax.Array, batch_size: int) -> Sample:
    """Rows with replacement: each equally likely, or in proportion to its priority (stratified). Needs size >= 1."""
    index, probability = draw(replay.tree, replay.size, key, batch_size)
    return Sample(jax.tree.map(lambda x: x[index], replay.data), index, probability, jnp.ones(batch_size, bool))


def draw(
    tree: sum_tree.SumTreeState | None, size: jax.Array, key: jax.Array, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """Places below size, int32 [B], by the priorities of a tree if there is one, and the probability of each."""
    if tree is None:
        # One draw instead of the three of `randint`; the remainder's bias is size / 2^32.
        words = jax.random.bits(key, (batch_size,), jnp.uint32)
        index = (words % jnp.maximum(size, 1).astype(jnp.uint32)).astype(jnp.int32)
        return index, jnp.full(batch_size, 1.0) / jnp.maximum(size, 1)
    index = sum_tree.stratified_sample(tree, batch_size, key).astype(jnp.int32)
    index = jnp.minimum(index, jnp.maximum(size - 1, 0))
    return index, sum_tree.get_batch(tree, index) / jnp.maximum(tree.nodes[0], 1e-30)


def reprioritize(
    tree: sum_tree.SumTreeState | None, drawn: Sample, errors: jax.Array, exponent: jax.Array | float
) -> sum_tree.SumTreeState | None:
    """Priorities (|error| + 1e-6)^exponent for drawn rows; None if the replay is uniform.

    Args:
      tree: so far. drawn: rows from it. errors: float32 [B]. exponent: 0 is uniform, 1 fully proportional.
    """
    if tree is None:
        return None
    priorities = jnp.where(drawn.usable, (jnp.abs(errors) + PRIORITY_FLOOR) ** exponent, 0.0)
    return sum_tree.set_batch_bincount(tree, drawn.index, priorities)


def importance_weights(probability: jax.Array, size: jax.Array, beta: jax.Array | float) -> jax.Array:
    """(size * probability)^-beta over their maximum, [B] in (0, 1]: undoes the bias of prioritised sampling."""
    weights = (jnp.maximum(size, 1) * jnp.maximum(probability, 1e-30)) ** -beta
    return weights / jnp.max(weights)
