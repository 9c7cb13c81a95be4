"""Task augmentation by re-parametrisation (Celo, arXiv 2501.12670, section on task augmentation).

The inner problem is shown to the rule in other units: it sees params / scale and gradients * scale, while
the function that is trained stays the same.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from celo2.names import check_known
from metatrain.tasks import Params

SIGNS = ("none", "tensor", "parameter", "mixed")
LEVELS = ("none", "global", "tensor", "parameter", "mixed")
# How often "mixed" draws each level (of seven), and which shares of the range, in logarithms, it draws from.
MIXED_LEVELS = ("none", "none", "global", "global", "tensor", "tensor", "parameter")
MIXED_RANGES = (1.0, 2 / 3, 1 / 3)


def check(level: str, scale_range: tuple[float, float]) -> None:
    """Refuses unknown levels and ranges that are not 0 < low <= high < inf."""
    check_known("augmentation level", level, LEVELS)
    low, high = scale_range
    if not (0 < low <= high < math.inf):
        raise ValueError(f"scale_range must satisfy 0 < low <= high < inf, got {scale_range}")


def draw_scale(key: jax.Array, params: Params, level: str, scale_range: tuple[float, float]) -> Any:
    """Log-uniform scales over scale_range, a tree shaped like params.

    Level "none" gives ones, "global" one number for all tensors, "tensor" one per tensor: float32 scalars. "parameter"
    draws one per parameter: float32 arrays of their shapes. "mixed" draws, every time anew, one of these levels
    (2 : 2 : 2 : 1) and the whole range or, in logarithms, two thirds or one third of it (1e-3..1e3, 1e-2..1e2,
    1e-1..1e1), and gives arrays too.
    """
    check(level, scale_range)
    if level == "none":
        return jax.tree.map(lambda _: jnp.ones([], jnp.float32), params)
    logs = _log_scales(key, params, level, *map(math.log, scale_range))
    return jax.tree.map(jnp.exp, logs)


def check_signs(signs: str) -> None:
    """Refuses an unknown kind of random signs."""
    check_known("kind of signs", signs, SIGNS)


def with_signs(key: jax.Array, params: Params, scale: Any, signs: str) -> Any:
    """Scales with random signs: "tensor", one for each tensor; "parameter", one for each parameter; "mixed", either.

    A network whose weights are shown with the other sign is the same network. A rule that is not odd by its form can
    learn from this to move only when the gradient says so.
    """
    check_signs(signs)
    treedef: Any
    leaves, treedef = jax.tree.flatten(params)
    kind_key, *keys = list(jax.random.split(key, len(leaves) + 1))
    each = jax.random.bernoulli(kind_key) if signs == "mixed" else jnp.asarray(signs == "parameter")

    def sign(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        one, all_of_them = jax.random.rademacher(key, (), jnp.float32), jax.random.rademacher(key, shape, jnp.float32)
        return one if signs == "tensor" else jnp.where(each, all_of_them, one)

    return jax.tree.map(
        lambda s, x: s * x, scale, treedef.unflatten([sign(k, x.shape) for k, x in zip(keys, leaves, strict=True)])
    )


def _log_scales(key: jax.Array, params: Params, level: str, low: float, high: float) -> Any:
    treedef: Any
    leaves, treedef = jax.tree.flatten(params)
    keys: Any
    if level == "global":
        one = jax.random.uniform(key, (), jnp.float32, low, high)
        return treedef.unflatten([one] * len(leaves))
    if level in ("tensor", "parameter"):
        shapes = [jnp.shape(x) if level == "parameter" else () for x in leaves]
        keys = jax.random.split(key, len(leaves))
        return treedef.unflatten(
            [jax.random.uniform(k, s, jnp.float32, low, high) for k, s in zip(keys, shapes, strict=True)]
        )
    level_key, range_key, *keys = list(jax.random.split(key, 5))
    chosen = jax.random.randint(level_key, (), 0, len(MIXED_LEVELS))
    share = jax.random.choice(range_key, jnp.asarray(MIXED_RANGES, jnp.float32))
    drawn = dict(zip(("global", "tensor", "parameter"), keys, strict=True))
    logs = {name: jax.tree.leaves(_log_scales(k, params, name, low, high)) for name, k in drawn.items()}

    def pick(i: int) -> jax.Array:
        shape = jnp.shape(leaves[i])
        options = [
            jnp.broadcast_to(logs[name][i], shape) if name in logs else jnp.zeros(shape) for name in MIXED_LEVELS
        ]
        return share * jnp.select([chosen == j for j in range(len(options))], options)

    return treedef.unflatten([pick(i) for i in range(len(leaves))])


def to_rule(params: Params, scale: Any) -> Params:
    """The task's parameters as the rule sees them: params / scale."""
    return jax.tree.map(lambda p, s: p / s, params, scale)


def to_task(scaled: Params, scale: Any) -> Params:
    """The rule's parameters as the task has them. A loss of these has a gradient with the factor `scale`."""
    return jax.tree.map(lambda p, s: p * s, scaled, scale)
