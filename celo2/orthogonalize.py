"""Newton-Schulz orthogonalisation of matrices (the quintic iteration of Muon, as used by Celo2)."""

import jax
import jax.numpy as jnp

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
GRAM_RATIO = 2
GRAM_SIZE = 32  # below, the products are too small to matter


def newton_schulz(x: jax.Array, steps: int = 5, eps: float = 1e-8) -> jax.Array:
    """Pushes the singular values of every trailing matrix of x towards 1.

    With X = x / (||x||_F + eps), transposed where that makes it wide, repeats
    A = X X^T;  P = a I + b A + c A A;  X <- P X.  An all-zero matrix stays zero.

    If one side is at least twice the other (and the shorter at least 32), the small Gram matrix is iterated instead,
    A <- P A P, and the product of all P is applied to X once: the same polynomial, less than half the work at 1 : 6.

    Args:
      x: [..., n, m]; leading axes are a batch of matrices.
      steps: number of iterations; the default leaves singular values in about [0.7, 1.2].
      eps: added to the Frobenius norm.

    Returns:
      An array of x's shape and dtype.

    Raises:
      ValueError: if x has fewer than two axes.

    Reference: K. Jordan et al., "Muon", 2024; Celo2, arXiv 2602.19142.
    """
    if x.ndim < 2:
        raise ValueError(f"newton_schulz needs at least two axes, got shape {x.shape}")
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True)) + eps)
    rows, columns = x.shape[-2:]
    if rows >= GRAM_SIZE and columns >= GRAM_RATIO * rows:
        x = _gram_product(x, steps) @ x
    else:
        for _ in range(steps):
            x = _times_polynomial(x @ x.mT, x)
    return x.mT if tall else x


def _times_polynomial(gram: jax.Array, x: jax.Array) -> jax.Array:
    """(a I + b A + c A A) x."""
    a, b, c = COEFFICIENTS
    return a * x + (b * gram + c * (gram @ gram)) @ x


def _gram_product(x: jax.Array, steps: int) -> jax.Array:
    """The product of the polynomials of all steps, [..., n, n].

    All factors are polynomials of one symmetric matrix and commute. Rounding in the Gram matrix is relative to its
    largest eigenvalue (at most 1), so P is as accurate for small singular values as for large ones, and they are
    multiplied only once.
    """
    a, b, c = COEFFICIENTS
    gram = x @ x.mT
    product = jnp.broadcast_to(jnp.eye(gram.shape[-1], dtype=x.dtype), gram.shape)
    for step in range(steps):
        polynomial = b * gram + c * (gram @ gram)
        product = a * product + polynomial @ product
        if step < steps - 1:
            half = a * gram + polynomial @ gram
            gram = a * half + polynomial @ half
    return product
