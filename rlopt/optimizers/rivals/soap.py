"""SOAP: Adam in the eigenbases of Shampoo's matrices (Vyas et al., arXiv 2409.11321)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlopt.optimizers.rivals import axes

MOST = 1024


class ScaleBySoapState(NamedTuple):
    """count: int32 scalar. mu: momenta, a tree. nu: second moments in the bases, a tree.

    grams, bases: `axes.Matrices` of each tensor; the columns of a basis are its vectors.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    mu: Any
    nu: Any
    grams: tuple[axes.Matrices, ...]
    bases: tuple[axes.Matrices, ...]


def scale_by_soap(
    b1: float = 0.95, b2: float = 0.95, eps: float = 1e-8, interval: int = 10, most: int = MOST
) -> optax.GradientTransformation:
    r"""Adam's step of the gradient in the bases, turned back.

    Along each axis of 2 to `most` entries of a tensor of at least two axes: L <- b2 L + (1 - b2) g g^T; its basis is
    computed from the first gradient, which moves nothing, and every `interval` steps anew by one power iteration. All
    else is Adam, as are tensors below rank 2.

    Args:
      b1, b2, eps: Adam's; b2 also that of L. interval: see above; under `jax.vmap` bases are computed at every step,
        and used or not. most: length of an axis above which it gets no basis.

    Reference: arXiv 2409.11321.
    """

    def which(x: jax.Array) -> tuple[bool, ...]:
        return axes.chosen(x.shape, most, 2)

    def init(params: Any) -> ScaleBySoapState:
        mu, nu = (optax.tree.zeros_like(params, dtype=jnp.float32) for _ in range(2))
        leaves = jax.tree.leaves(params)
        grams = tuple(axes.made(x.shape, which(x), lambda n: jnp.zeros((n, n), jnp.float32)) for x in leaves)
        bases = tuple(axes.made(x.shape, which(x), lambda n: jnp.eye(n, dtype=jnp.float32)) for x in leaves)
        return ScaleBySoapState(jnp.zeros([], jnp.int32), mu, nu, grams, bases)

    def update(updates: Any, state: ScaleBySoapState, params: Any = None) -> tuple[Any, ScaleBySoapState]:
        del params
        treedef: Any = jax.tree.structure(updates)
        grads = [jnp.asarray(g, jnp.float32) for g in jax.tree.leaves(updates)]
        first = state.count == 0
        keep = jnp.where(first, 1.0, 0.0)  # moments begin with the second gradient
        mu = [m + (1 - keep) * (1 - b1) * (g - m) for m, g in zip(jax.tree.leaves(state.mu), grads, strict=True)]
        turned = [axes.applied(g, q, transpose=True) for g, q in zip(grads, state.bases, strict=True)]
        nu = [v + (1 - keep) * (1 - b2) * (g * g - v) for v, g in zip(jax.tree.leaves(state.nu), turned, strict=True)]
        t = jnp.maximum(state.count, 1).astype(jnp.float32)
        correction = jnp.sqrt(1 - jnp.float32(b2) ** t) / (1 - jnp.float32(b1) ** t)
        steps = []
        for m, v, q, like in zip(mu, nu, state.bases, jax.tree.leaves(updates), strict=True):
            step = correction * axes.applied(m, q, transpose=True) / (jnp.sqrt(v) + eps)
            steps.append(axes.applied(step, q).astype(like.dtype))
        grams = jax.tree.map(
            lambda old, new: jnp.where(first, new, b2 * old + (1 - b2) * new),
            *(state.grams, tuple(axes.grams(g, which(g)) for g in grads)),
        )
        bases, nu = jax.lax.cond(
            state.count % interval == 0,
            lambda: _refreshed(grams, state.bases, nu, first),
            lambda: (state.bases, nu),
        )
        new = ScaleBySoapState(
            optax.safe_increment(state.count), treedef.unflatten(mu), treedef.unflatten(nu), grams, bases
        )
        return treedef.unflatten(steps), new

    return optax.GradientTransformation(init, update)


def _refreshed(
    grams: tuple[axes.Matrices, ...], bases: tuple[axes.Matrices, ...], nu: list[jax.Array], first: jax.Array
) -> tuple[tuple[axes.Matrices, ...], list[jax.Array]]:
    """Bases after a power iteration (at first: the eigenvectors), and second moments in their new order."""
    found, moments = [], []
    for ms, qs, v in zip(grams, bases, nu, strict=True):
        own: list[jax.Array | None] = []
        for axis, (gram, basis) in enumerate(zip(ms, qs, strict=True)):
            if gram is None or basis is None:
                own.append(None)
                continue
            # The iteration goes on best with the directions of most variance in front.
            order = jnp.argsort(-jnp.einsum("ij,ik,kj->j", basis, gram, basis))
            iterated = jnp.linalg.qr(gram @ basis[:, order])[0]
            own.append(jnp.where(first, jnp.linalg.eigh(gram)[1][:, ::-1], iterated))
            v = jnp.where(first, v, jnp.take(v, order, axis=axis))
        found.append(tuple(own))
        moments.append(v)
    return tuple(found), moments


def soap(
    learning_rate: Any,
    *,
    b1: float = 0.95,
    b2: float = 0.95,
    eps: float = 1e-8,
    interval: float = 10,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """`scale_by_soap` and decoupled weight decay."""
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(scale_by_soap(b1, b2, eps, int(interval)), decay, optax.scale_by_learning_rate(learning_rate))
