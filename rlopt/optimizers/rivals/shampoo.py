"""Shampoo with grafting (Gupta et al., arXiv 1802.09568; Agarwal et al., arXiv 2002.11803)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlopt.optimizers.rivals import axes

MOST = 1024
_GRAFT_EPS = 1e-10


class ScaleByShampooState(NamedTuple):
    """count: int32 scalar. squares: Adagrad's sums of squares, a tree. grams, roots: `axes.Matrices` of each tensor."""

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    squares: Any
    grams: tuple[axes.Matrices, ...]
    roots: tuple[axes.Matrices, ...]


def scale_by_shampoo(
    b2: float = 0.99, eps: float = 1e-6, graft: str = "adagrad", interval: int = 10, most: int = MOST
) -> optax.GradientTransformation:
    r"""(L_1 x ... x L_k)^(-1/2k) g, with the norm of another optimizer's step for each tensor.

    Along each of the k axes of 2 to `most` entries: L <- b2 L + (1 - b2) g g^T, and its inverse 2k-th root, anew every
    `interval` steps, with eps times the largest eigenvalue added. A tensor without such an axis takes the other step.

    Args:
      b2: decay of L; 1: sums, as in the first paper. eps: see above.
      graft: whose norm, "adagrad" (g over the root of the sum of squares) or "sgd" (g).
      interval: steps between roots. Under `jax.vmap` they are computed at every step, and used or not.
      most: length of an axis above which it gets no matrix.

    Reference: arXiv 1802.09568; grafting: arXiv 2002.11803.
    """

    def which(x: jax.Array) -> tuple[bool, ...]:
        return axes.chosen(x.shape, most, 1)

    def init(params: Any) -> ScaleByShampooState:
        leaves = jax.tree.leaves(params)
        grams = tuple(axes.made(x.shape, which(x), lambda n: jnp.zeros((n, n), jnp.float32)) for x in leaves)
        roots = tuple(axes.made(x.shape, which(x), lambda n: jnp.eye(n, dtype=jnp.float32)) for x in leaves)
        squares = optax.tree.zeros_like(params, dtype=jnp.float32)
        return ScaleByShampooState(jnp.zeros([], jnp.int32), squares, grams, roots)

    def update(updates: Any, state: ScaleByShampooState, params: Any = None) -> tuple[Any, ScaleByShampooState]:
        del params
        treedef: Any = jax.tree.structure(updates)
        grads = [jnp.asarray(g, jnp.float32) for g in jax.tree.leaves(updates)]
        share = jnp.where(b2 == 1, 1.0, 1 - b2)  # b2 may be traced
        grams = jax.tree.map(
            lambda old, new: b2 * old + share * new, state.grams, tuple(axes.grams(g, which(g)) for g in grads)
        )
        roots = jax.lax.cond(
            state.count % interval == 0,
            lambda: tuple(tuple(None if m is None else _root(m, 2 * _number(ms), eps) for m in ms) for ms in grams),
            lambda: state.roots,
        )
        squares = jax.tree.map(lambda s, g: s + g * g, jax.tree.leaves(state.squares), grads)
        steps = []
        for g, s, ms in zip(grads, squares, roots, strict=True):
            other = g if graft == "sgd" else g * jax.lax.rsqrt(s + _GRAFT_EPS)
            direction = axes.applied(g, ms)
            norm, wanted = (jnp.sqrt(jnp.sum(jnp.square(x))) for x in (direction, other))
            steps.append(direction * (wanted / jnp.maximum(norm, 1e-30)) if _number(ms) else other)
        steps = jax.tree.map(lambda s, u: s.astype(u.dtype), treedef.unflatten(steps), updates)
        new = ScaleByShampooState(optax.safe_increment(state.count), treedef.unflatten(squares), grams, roots)
        return steps, new

    return optax.GradientTransformation(init, update)


def _number(matrices: axes.Matrices) -> int:
    return sum(m is not None for m in matrices)


def _root(gram: jax.Array, order: int, eps: float) -> jax.Array:
    """gram^(-1/order)."""
    values, vectors = jnp.linalg.eigh(gram)
    values = jnp.maximum(values, 0) + eps * jnp.maximum(values[-1], 1e-20)
    return (vectors * values ** (-1 / order)) @ vectors.T


def shampoo(
    learning_rate: Any,
    *,
    graft: str = "adagrad",
    b1: float = 0.9,
    b2: float = 0.99,
    eps: float = 1e-6,
    interval: float = 10,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """`scale_by_shampoo`, Nesterov momentum b1 (heavy ball, as with `optax.sgd`), decoupled weight decay."""
    return optax.chain(
        scale_by_shampoo(b2, eps, graft, int(interval)),
        optax.trace(b1, nesterov=True),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
