"""What a schedule may know of each tensor: twelve numbers that hardly change with the tensor's scale.

VeLO's LSTM reads them (Metz et al., arXiv 2211.09760); Celo's does in an ablation (arXiv 2501.12670, Table 3d).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from celo2 import features, trees
from celo2.scheduler import NUM_TENSOR_FEATURES

MOST_AXES = 4
_SCALE_FLOOR = 1e-9


def of_tensor(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
    """float32 [12]: mean of v, rank, variances of momenta, of v about momenta.

    Measured in the parameter's root mean square, v too; the last as published, with the means of the momenta.

    Args:
      p: parameter of shape S. m: its momenta, [3, *S]. v: its second moment, S; float32, before this update.
    """
    unit = jax.lax.rsqrt(jnp.maximum(_SCALE_FLOOR, jnp.mean(jnp.square(p))))
    axes = tuple(range(1, m.ndim))
    m, v = unit * m, unit * v
    mean = jnp.mean(m, axis=axes, keepdims=True)
    var_m = jnp.mean(jnp.square(m - mean), axis=axes)
    var_v = jnp.mean(jnp.square(v - mean), axis=axes)
    rank = min(int(np.sum(np.asarray(p.shape) > 1)), MOST_AXES)
    known = jax.nn.one_hot(rank, MOST_AXES + 1, dtype=jnp.float32)

    def log(x: jax.Array) -> jax.Array:
        return 0.5 * features.log_size(10.0 * x)

    return jnp.concatenate([log(jnp.mean(v))[None], known, log(var_m), log(var_v)])


def of_tree(params: Any, m: Any, v: Any) -> jax.Array:
    """`of_tensor` of every tensor of a tree, in the order of its leaves, float32 [n, 12]."""
    tensors = zip(trees.floats(params), jax.tree.leaves(m), jax.tree.leaves(v), strict=True)
    found = [of_tensor(*tensor) for tensor in tensors]
    return jnp.stack(found) if found else jnp.zeros((0, NUM_TENSOR_FEATURES), jnp.float32)
