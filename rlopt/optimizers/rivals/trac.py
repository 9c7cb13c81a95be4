"""TRAC: any optimizer, with a tuned share of its way from the start (Muppidi et al., arXiv 2405.16642)."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

BETAS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
START = 1e-8
_EPS = 1e-8
_NODES = 64
_LARGEST = 8.0  # e^(x^2) is infinite in float32 from 9.4 on


class TracState(NamedTuple):
    """inner: of the optimizer. start, way: parameters at the start, and the sum of the optimizer's updates; trees.

    variance, sigma: of the tuners, float32 [6], one per decay. share: of the way that is taken, float32 scalar.
    """

    inner: Any
    start: Any
    way: Any
    variance: jax.Array
    sigma: jax.Array
    share: jax.Array


def trac_of(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    r"""Parameters are start + share * way, where the way is the sum of what the optimizer would have added.

    With h = <g, way>, each tuner has v <- b^2 v + h^2 and sigma <- b sigma - h, and the share is the sum over tuners of
    1e-8 erfi(sigma / sqrt(2 v)) / erfi(1 / sqrt 2): it grows fast where gradients go on pointing the way, and shrinks
    where they point back. The way is kept apart, not computed from the parameters, whose rounding is larger than the
    first steps.

    Raises:
      ValueError: for a missing `params` (at `update`).

    Reference: Algorithm 1 of arXiv 2405.16642 and its public code.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> TracState:
        start = jax.tree.map(lambda p: jnp.array(p, copy=True), params)
        zeros = jnp.zeros(len(BETAS), jnp.float32)
        return TracState(
            inner.init(params),
            start,
            optax.tree.zeros_like(params),
            zeros,
            zeros + START,
            jnp.float32(len(BETAS) * START),
        )

    def update(updates: Any, state: TracState, params: Any = None, **extra_args: Any) -> tuple[Any, TracState]:
        if params is None:
            raise ValueError("trac reads the parameters: call update(grads, state, params)")
        steps, inner_state = inner.update(updates, state.inner, params, **extra_args)
        betas = jnp.asarray(BETAS, jnp.float32)
        h = optax.tree.vdot(updates, state.way)
        variance = betas**2 * state.variance + h**2
        sigma = betas * state.sigma - h
        shares = START / _erfi_of_root_half() * erfi(sigma / (jnp.sqrt(2 * variance) + _EPS))
        share = jnp.sum(shares)
        way = jax.tree.map(jnp.add, state.way, steps)
        changes = jax.tree.map(lambda s, w, p: (s + share * w).astype(p.dtype) - p, state.start, way, params)
        return changes, TracState(inner_state, state.start, way, variance, sigma, share)

    return optax.GradientTransformationExtraArgs(init, update)


def erfi(x: jax.Array) -> jax.Array:
    """2 / sqrt(pi) times the integral of e^(t^2) from 0 to x, for x within +-8 (beyond: as at 8)."""
    x = jnp.clip(x, -_LARGEST, _LARGEST)[..., None]
    nodes, weights = (jnp.asarray(a, jnp.float32) for a in np.polynomial.legendre.leggauss(_NODES))
    t = 0.5 * (nodes + 1)
    # e^(x^2) before the integral, which then is of numbers within 1.
    inside = jnp.sum(0.5 * weights * jnp.exp(-(x**2) * (1 - t**2)), axis=-1)
    x = x[..., 0]
    return 2 / math.sqrt(math.pi) * x * jnp.exp(x**2) * inside


def _erfi_of_root_half() -> jax.Array:
    return erfi(jnp.float32(math.sqrt(0.5)))


def trac(
    learning_rate: Any, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-5
) -> optax.GradientTransformationExtraArgs:
    """TRAC around Adam at a learning rate."""
    return trac_of(optax.adam(learning_rate, b1, b2, eps))
