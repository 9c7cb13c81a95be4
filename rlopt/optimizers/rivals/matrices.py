"""Muon's relatives on hidden matrices, Adam elsewhere: NAMO, and MuonH on spheres of constant norm."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import celo2
from celo2.rule_celo2 import newton_schulz
from rlopt.optimizers.routed import routed

_EPS = 1e-8


class NamoState(NamedTuple):
    """count: int32 scalar. mu: momenta, a tree. nu: running mean of the gradient's squared norm, a tree of scalars."""

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    mu: Any
    nu: Any


def scale_by_namo(beta: float = 0.95, b2: float = 0.99, scale: float = 0.2) -> optax.GradientTransformation:
    r"""Scale sqrt(max(in, out)) a Orth(m'), with a = |m'| / sqrt(nu), corrected for their starts at zero.

    m <- beta m + (1 - beta) g, m' = beta m + (1 - beta) g (Nesterov), nu <- b2 nu + (1 - b2) |g|^2, all norms
    Frobenius's, of each matrix [product of the other axes, last axis]. Where gradients are noise, m' is short and the
    step with it. Steps have a root mean square of at most about 0.2, times the rate; the public code's bound of 1 on
    the rate of a step is left out.

    Reference: arXiv 2602.17080 and its public code.
    """

    def init(params: Any) -> NamoState:
        zeros = jax.tree.map(lambda p: jnp.zeros([], jnp.float32), params)
        return NamoState(jnp.zeros([], jnp.int32), optax.tree.zeros_like(params), zeros)

    def update(updates: Any, state: NamoState, params: Any = None) -> tuple[Any, NamoState]:
        del params
        count = optax.safe_increment(state.count)
        t = count.astype(jnp.float32)
        mu = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.sum(jnp.square(g)), state.nu, updates)
        correction = jnp.sqrt(1 - jnp.float32(b2) ** t) / (1 - jnp.float32(beta) ** t)

        def step(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            ahead = beta * m + (1 - beta) * g
            matrix = ahead.reshape(-1, ahead.shape[-1])
            agreement = correction * jnp.linalg.norm(matrix) / (jnp.sqrt(v) + _EPS)
            size = scale * math.sqrt(max(matrix.shape)) * agreement
            return (size * newton_schulz(matrix)).reshape(g.shape).astype(g.dtype)

        return jax.tree.map(step, updates, mu, nu), NamoState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def namo(
    learning_rate: Any,
    *,
    beta: float = 0.95,
    b2: float = 0.99,
    multiplier: float = 1.0,
    routing: str = "hidden",
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """`scale_by_namo` on matrices, Adam at multiplier times the rate elsewhere; routing: see `routed.ROUTINGS`."""
    decay = optax.add_decayed_weights(weight_decay)
    hidden = optax.chain(scale_by_namo(beta, b2), decay, optax.scale_by_learning_rate(learning_rate))
    return routed(hidden, learning_rate, multiplier, routing)


class SphereState(NamedTuple):
    """radius: the norm that each tensor started with, a tree of float32 scalars."""

    radius: Any


def on_sphere(learning_rate: Any) -> optax.GradientTransformation:
    """Turns a direction u, in the sign of the gradient, into a step that keeps the norm R of each tensor.

    p <- R q / |q|, q = p - rate R u / |u|: the rate is the length of a step over that of the parameters. A tensor that
    starts at zero stays there.

    Raises:
      ValueError: for a missing `params` (at `update`).

    Reference: the "Hyperball" of arXiv 2606.16899.
    """

    def init(params: Any) -> SphereState:
        return SphereState(jax.tree.map(lambda p: jnp.linalg.norm(jnp.asarray(p, jnp.float32).ravel()), params))

    def update(updates: Any, state: SphereState, params: Any = None) -> tuple[Any, SphereState]:
        if params is None:
            raise ValueError("on_sphere reads the parameters: call update(grads, state, params)")

        def step(u: jax.Array, p: jax.Array, radius: jax.Array) -> jax.Array:
            moved = p - learning_rate * radius * u / (jnp.linalg.norm(u.ravel()) + _EPS)
            norm = jnp.linalg.norm(moved.ravel())
            return (jnp.where(norm > 0, radius / jnp.where(norm > 0, norm, 1), 0.0) * moved - p).astype(p.dtype)

        return jax.tree.map(step, updates, params, state.radius), state

    return optax.GradientTransformation(init, update)


def muonh(
    learning_rate: Any, *, beta: float = 0.95, multiplier: float = 0.125, routing: str = "hidden"
) -> optax.GradientTransformation:
    """Muon on matrices of constant norm, Adam at multiplier times the rate elsewhere; made for rates that decay.

    Args:
      learning_rate: length of a step over the norm of the matrix, a number or a traced scalar.
      beta: of the momentum. multiplier: of the rate. routing: see `routed.ROUTINGS`.
    """
    muon = optax.contrib.scale_by_muon(beta=beta, weight_dimension_numbers=celo2.fan_in_fan_out)
    return routed(optax.chain(muon, on_sphere(learning_rate)), learning_rate, multiplier, routing)
