"""Gradient steps: one, and epochs of them over a rollout."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import metrics, permutation, telling
from agents.models import Model
from agents.recurrent import RecurrentModel


class Update(NamedTuple):
    """What an update was: loss, grad_norm, update_rms (float32 scalars) and aux, what the loss returned besides."""

    loss: jax.Array
    aux: Any
    grad_norm: jax.Array
    update_rms: jax.Array


class Epochs(NamedTuple):
    """What `update_epochs` did: all updates of an iteration, leaves [U].

    updates: `Update`. counts: bool; False after a stop: computed, but of no concern. made: bool; the update that finds
    reason to stop counts, but is not made.
    """

    updates: Update
    counts: jax.Array
    made: jax.Array


@jax.custom_batching.custom_vmap
def in_any_member(condition: jax.Array) -> jax.Array:
    """Whether a condition, bool [], holds in any member of a population: one value for all of them.

    `jax.lax.cond` runs both branches under `vmap` where members may differ in the condition, and one on this.
    """
    return condition


@in_any_member.def_vmap
def _in_any_of_batch(axis_size: int, in_batched: list[bool], condition: jax.Array) -> tuple[jax.Array, bool]:
    del axis_size, in_batched
    return in_any_member(jnp.any(condition)), False  # again, for a vmap around this one


def scan_once_started(
    started: jax.Array, update: Callable[[Any, Any], tuple[Any, Any]], carry: Any, inputs: Any
) -> tuple[Any, Any]:
    """`jax.lax.scan(update, carry, inputs)`, of which nothing is computed as long as no member has started.

    All members of a population start in the same iteration, so that before it none has to compute what it would drop.

    Args:
      started: bool []. update: leaves its carry alone where it is False, should members differ in it.

    Returns:
      What the scan gives; without it, the carry as it is, and zeros.
    """

    def scanned(carry: Any) -> tuple[Any, Any]:
        return jax.lax.scan(update, carry, inputs)

    def left(carry: Any) -> tuple[Any, Any]:
        made = jax.eval_shape(scanned, carry)[1]
        return carry, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made)

    return jax.lax.cond(in_any_member(started), scanned, left, carry)


def gradient_step(
    tx: optax.GradientTransformationExtraArgs,
    loss_fn: Callable[[Any], tuple[jax.Array, Any]],
    params: Any,
    opt_state: Any,
    tell: Callable[[jax.Array, Any], Mapping[str, Any]],
) -> tuple[Any, Any, Update]:
    """One update: new params, new opt_state, what it was.

    Args:
      tx: the optimizer.
      loss_fn: params -> (loss, aux).
      tell: (loss, aux) -> keywords for the optimizer, see `telling.extra_args`.
    """
    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state, params, **tell(loss, aux))
    params_after = optax.apply_updates(params, updates)
    return params_after, opt_state, Update(loss, aux, optax.tree.norm(grads), metrics.rms(updates))


def update_epochs(
    model: Model | RecurrentModel,
    config: Any,
    tx: optax.GradientTransformationExtraArgs,
    loss_fn: Callable[[Any, Any], tuple[jax.Array, Any]],
    state: Any,
    batch: Any,
    shuffle_key: jax.Array,
    reported: Callable[[jax.Array, Any], jax.Array] = lambda loss, aux: loss,
    stop: Callable[[Any], jax.Array] | None = None,
) -> tuple[Any, Any, Epochs]:
    """Learns from a rollout: every epoch a permutation of its rows, cut into minibatches without replacement.

    Rows are transitions, or of an agent that remembers, sequences of them.

    Args:
      model: the network, for what optimizers are told.
      config: has epochs, minibatches, num_updates and the sizes that follow.
      tx: the optimizer.
      loss_fn: (params, minibatch, leaves [B, ...]) -> (loss, aux).
      state: the agent's at the start of the iteration: params, opt_state, iteration, key.
      batch: leaves [T, N, ...], T N rows; its field `obs` is what the network sees.
      shuffle_key: for the permutations.
      reported: (loss, aux) -> the loss that the optimizer is told.
      stop: aux -> bool; the update that finds it true is not made, nor is any other of this iteration. None: never.

    Returns:
      params, opt_state, and what happened.
    """
    num = config.epochs * config.minibatches
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    def update(carry: tuple[Any, Any, jax.Array], inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, Epochs]:
        (params, opt_state, stopped), (number, rows) = carry, inputs
        counts = ~stopped
        minibatch = jax.tree.map(lambda x: x[rows], flat)

        def tell(loss: jax.Array, aux: Any) -> Mapping[str, Any]:
            return telling.extra_args(
                params,
                value=reported(loss, aux),
                progress=(state.iteration * num + number) / config.num_updates,
                epoch=number / num,
                key=telling.key_of(state.key, number),
                dormancy=lambda: model.dormancy(params, minibatch.obs),
            )

        *after, done = gradient_step(tx, lambda params: loss_fn(params, minibatch), params, opt_state, tell)
        if stop is not None:
            stopped = stopped | stop(done.aux)
            after = jax.tree.map(lambda old, new: jnp.where(stopped, old, new), [params, opt_state], after)
        return (*after, stopped), Epochs(done, counts, ~stopped)

    order = permutation.epochs(shuffle_key, config.epochs, jax.tree.leaves(flat)[0].shape[0])
    inputs = (jnp.arange(num), order.reshape(num, -1))
    carry = (state.params, state.opt_state, jnp.zeros([], bool))
    (params, opt_state, _), done = jax.lax.scan(update, carry, inputs)
    return params, opt_state, done
