"""Truncated inner training: a few steps of one inner problem at a time, started anew when its unroll ends.

Reference: Metz et al., VeLO (arXiv 2211.09760) and Celo (arXiv 2501.12670) for the schedule of unroll lengths.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metatrain import augmentation
from metatrain.rules import Rule, Theta
from metatrain.tasks import Batch, Memory, Params, Task


class UnrollState(NamedTuple):
    """State of one inner problem.

    Attributes:
      params: as the rule sees them (divided by scale).
      opt_state: of the rule.
      scale: one float32 per tensor.
      inner_step: int32, steps done of this unroll.
      length: int32, its steps.
      is_done: bool, the unroll has ended and the next step starts a new one.
      memory: what the task carries, see `tasks.Task`; None: nothing.
    """

    params: Params
    opt_state: Any
    scale: Any
    inner_step: jax.Array
    length: jax.Array
    is_done: jax.Array
    memory: Memory = None


class Restart(NamedTuple):
    """What a new unroll would start from, drawn once per truncation: at most one unroll ends within it.

    Attributes:
      params: as in `UnrollState`.
      scale: likewise.
      next_length: length of the unroll that follows when one ends.
      memory: as in `UnrollState`.
    """

    params: Params
    scale: Any
    next_length: jax.Array
    memory: Memory = None


class StepRecord(NamedTuple):
    """What one step gives the meta-objective.

    Attributes:
      loss: the task's objective before the update, clipped to [0, its cap] (NaN: the cap), 0 on a restart.
      mask: False on a restart.
      is_done: the unroll ended with this step.
    """

    loss: jax.Array
    mask: jax.Array
    is_done: jax.Array


class TruncatedUnroll(NamedTuple):
    """One inner problem under one rule; every method is pure and made for `jax.vmap`."""

    task: Task
    rule: Rule
    min_length: int
    max_length: int
    augmentation_level: str
    scale_range: tuple[float, float]
    signs: str = "none"

    def draw_length(self, key: jax.Array) -> jax.Array:
        """floor(exp(uniform(log min_length, log max_length))), int32."""
        low, high = math.log(self.min_length), math.log(self.max_length)
        return jnp.floor(jnp.exp(jax.random.uniform(key, (), jnp.float32, low, high))).astype(jnp.int32)

    def draw_restart(self, key: jax.Array) -> Restart:
        """Fresh initial parameters in fresh units, and a fresh length."""
        params_key, scale_key, length_key = jax.random.split(key, 3)
        params = self.task.init(params_key)
        scale = augmentation.draw_scale(scale_key, params, self.augmentation_level, self.scale_range)
        if self.signs != "none":
            scale = augmentation.with_signs(jax.random.fold_in(scale_key, 1), params, scale, self.signs)
        memory = None if self.task.start is None else self.task.start(jax.random.fold_in(key, 1), params)
        return Restart(augmentation.to_rule(params, scale), scale, self.draw_length(length_key), memory)

    def init(self, key: jax.Array, theta: Theta) -> UnrollState:
        """A problem at a random point of its schedule, so that problems do not end all at once.

        The rule's own state starts at zero all the same, as in the published code.
        """
        restart_key, length_key, step_key = jax.random.split(key, 3)
        restart = self.draw_restart(restart_key)
        length = self.draw_length(length_key)
        return UnrollState(
            params=restart.params,
            opt_state=self.rule.optimizer(theta, length).init(restart.params),
            scale=restart.scale,
            inner_step=jax.random.randint(step_key, (), 0, self.max_length, jnp.int32),
            length=length,
            is_done=jnp.zeros([], bool),
            memory=restart.memory,
        )

    def step(self, theta: Theta, state: UnrollState, restart: Restart, batch: Batch) -> tuple[UnrollState, StepRecord]:
        """One training step; or, after the end of an unroll, the start of the next one (which trains nothing).

        The batch needs a key where the task has a memory.
        """
        optimizer = self.rule.optimizer(theta, state.length)
        batch, memory = batch._replace(step=state.inner_step), state.memory
        own_params = augmentation.to_task(state.params, state.scale)
        if self.task.remember is not None:
            memory = self.task.remember(own_params, memory, batch)

        def loss_fn(params: Params) -> jax.Array:
            return self.task.loss(augmentation.to_task(params, state.scale), memory, batch)

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)

        restarting = state.is_done
        inner_step = jnp.where(restarting, 0, state.inner_step + 1)
        is_done = ~restarting & (inner_step >= state.length)

        def choose(fresh: Any, trained: Any) -> Any:
            return jax.tree.map(lambda f, t: jnp.where(restarting, f, t), fresh, trained)

        counted = loss
        if self.task.objective is not None:
            counted = self.task.objective(own_params, memory, batch)
        recorded = capped(counted, self.task.loss_cap)
        new_state = UnrollState(
            params=choose(restart.params, params),
            opt_state=choose(optimizer.init(restart.params), opt_state),
            scale=choose(restart.scale, state.scale),
            inner_step=inner_step,
            length=jnp.where(is_done, restart.next_length, state.length),
            is_done=is_done,
            memory=choose(restart.memory, memory),
        )
        return new_state, StepRecord(jnp.where(restarting, 0.0, recorded), ~restarting, is_done)


def capped(loss: jax.Array, cap: float) -> jax.Array:
    """The loss in [0, cap]; NaN counts as the cap."""
    return jnp.where(jnp.isnan(loss), cap, jnp.clip(loss, 0.0, cap))
