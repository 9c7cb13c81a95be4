"""Newton-Schulz orthogonalisation of matrices (the quintic iteration of Muon, as used by Celo2)."""

import jax
import jax.numpy as jnp

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def newton_schulz(x: jax.Array, steps: int = 5, eps: float = 1e-8) -> jax.Array:
    """Pushes the singular values of every trailing matrix of x towards 1.

    With X = x / (||x||_F + eps), transposed where that makes it wide, repeats
    A = X X^T;  X <- a X + (b A + c A A) X.  An all-zero matrix stays zero.

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
    a, b, c = COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True)) + eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x
