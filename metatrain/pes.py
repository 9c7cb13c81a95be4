"""Persistent Evolution Strategies (Vicol, Metz and Sohl-Dickstein, ICML 2021) with antithetic pairs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Tree = Any


class Estimate(NamedTuple):
    """What one truncation says about theta.

    Attributes:
      grad: tree like theta.
      accumulator: tree like theta with a leading axis [N].
      loss: float32 scalar.
    """

    grad: Tree
    accumulator: Tree
    loss: jax.Array


def sample_perturbation(key: jax.Array, theta: Tree, std: float) -> Tree:
    """One draw of N(0, std^2) for every number of theta."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(theta)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten(
        [std * jax.random.normal(k, jnp.shape(x), jnp.float32) for k, x in zip(keys, leaves, strict=True)]
    )


def antithetic(theta: Tree, perturbation: Tree) -> Tree:
    """Theta + e and theta - e, stacked on a new leading axis of length 2."""
    return jax.tree.map(lambda t, e: jnp.stack([t + e, t - e]), theta, perturbation)


def estimate(
    positive_loss: jax.Array,
    negative_loss: jax.Array,
    is_done: jax.Array,
    mask: jax.Array,
    perturbation: Tree,
    accumulator: Tree,
    std: float,
    persistent: bool = True,
) -> Estimate:
    """The PES estimate from one truncation of N problems.

    With D_t = L+_t - L-_t, M = sum_t mask_t, A the sum of the perturbations of the current unroll (this one
    included) and e this one alone, problem n contributes

        (A * sum_{t before the end} mask_t D_t
          + e * sum_{t from the end on} mask_t D_t) / (2 std^2 M)

    The step that ends an unroll already counts as "from the end on", as in the published code. Plain truncated
    evolution strategies take A = e throughout: they credit a truncation's losses to its own perturbation alone.

    Args:
      positive_loss: float32 [T, N], losses under theta + e.
      negative_loss: float32 [T, N], losses under theta - e.
      is_done: bool [T, N], the unroll ended at this step.
      mask: bool [T, N], the step has a loss.
      perturbation: tree like theta, leaves [N, ...].
      accumulator: likewise, before this truncation.
      std: standard deviation of the perturbations.
      persistent: False gives plain truncated evolution strategies.

    Returns:
      The gradient, averaged over N; the accumulator for the next truncation (started anew where an unroll
      ended); the masked mean loss over both members of all pairs.
    """
    mask = mask.astype(jnp.float32)
    finished = jnp.cumsum(is_done.astype(jnp.int32), axis=0) > 0
    difference = (positive_loss - negative_loss) * mask
    num_steps = jnp.maximum(jnp.sum(mask, axis=0), 1)  # a truncation of one step can be a restart only
    before = jnp.sum(jnp.where(finished, 0.0, difference), axis=0) / num_steps
    after = jnp.sum(jnp.where(finished, difference, 0.0), axis=0) / num_steps

    def per_problem(x: jax.Array, like: jax.Array) -> jax.Array:
        return x.reshape(x.shape + (1,) * (like.ndim - 1))

    accumulated = jax.tree.map(jnp.add, accumulator, perturbation) if persistent else perturbation

    def gradient(total: jax.Array, fresh: jax.Array) -> jax.Array:
        contribution = per_problem(before, total) * total + per_problem(after, total) * fresh
        return jnp.mean(contribution, axis=0) / (2 * std**2)

    ended = finished[-1]
    return Estimate(
        grad=jax.tree.map(gradient, accumulated, perturbation),
        accumulator=jax.tree.map(
            lambda total, fresh: jnp.where(per_problem(ended, total), fresh, total), accumulated, perturbation
        ),
        loss=jnp.mean(jnp.sum(0.5 * (positive_loss + negative_loss) * mask, axis=0) / num_steps),
    )
