"""Schedules for every optimizer of the catalog: warm-up, then constant, linear or along a cosine to zero."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import OptimizerFactory


class ScheduledState(NamedTuple):
    """count: updates so far, int32 scalar. inner: of the optimizer."""

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    inner: Any


def share_of_rate(count: jax.Array, num_updates: int, schedule: str, warmup: float) -> jax.Array:
    """What the rate of an update is multiplied by, in [0, 1]; float32, shaped like count.

    Args:
      count: updates before this one. num_updates: of the whole training.
      schedule: "constant", "linear" or "cosine": from 1 at the end of the warm-up to 0 at the end of the training.
      warmup: share of the training in which the rate rises linearly, in [0, 1).
    """
    count = jnp.asarray(count, jnp.float32)
    rising = jnp.minimum((count + 1) / max(warmup * num_updates, 1), 1.0)
    done = jnp.clip((count / num_updates - warmup) / (1 - warmup), 0, 1)
    falling = {"constant": jnp.ones_like(done), "linear": 1 - done, "cosine": 0.5 * (1 + jnp.cos(jnp.pi * done))}
    return rising * falling[schedule]


def scheduled(factory: OptimizerFactory, schedule: str, warmup: float) -> OptimizerFactory:
    """The factory of an optimizer whose rate (of Celo and the like: whose share) follows a schedule.

    The optimizer is made anew for every update, with the rate of the moment, as agents do it.

    Raises:
      ValueError: for a warm-up outside of [0, 1).
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"option warmup is a share of the training in [0, 1), got {warmup}")

    def make(learning_rate: Any, num_updates: int, **traced: Any) -> optax.GradientTransformationExtraArgs:
        def at(count: jax.Array) -> optax.GradientTransformationExtraArgs:
            share = share_of_rate(count, num_updates, schedule, warmup)
            return optax.with_extra_args_support(factory(share * learning_rate, num_updates, **traced))

        def init(params: Any) -> ScheduledState:
            count = jnp.zeros([], jnp.int32)
            return ScheduledState(count, at(count).init(params))

        def update(
            updates: Any, state: ScheduledState, params: Any = None, **extra_args: Any
        ) -> tuple[Any, ScheduledState]:
            steps, inner = at(state.count).update(updates, state.inner, params, **extra_args)
            return steps, ScheduledState(optax.safe_increment(state.count), inner)

        return optax.GradientTransformationExtraArgs(init, update)

    return make
