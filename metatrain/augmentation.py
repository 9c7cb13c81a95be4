"""Task augmentation by re-parametrisation (Celo, arXiv 2501.12670, section on task augmentation).

The inner problem is shown to the rule in other units: it sees params / scale and gradients * scale, while
the function that is trained stays the same.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from celo2.names import check_known
from metatrain.tasks import Batch, Params, Task

LEVELS = ("none", "global")


def check(level: str, scale_range: tuple[float, float]) -> None:
    """Refuses unknown levels and ranges that are not 0 < low <= high < inf."""
    check_known("augmentation level", level, LEVELS)
    low, high = scale_range
    if not (0 < low <= high < math.inf):
        raise ValueError(f"scale_range must satisfy 0 < low <= high < inf, got {scale_range}")


def draw_scale(key: jax.Array, params: Params, level: str, scale_range: tuple[float, float]) -> Any:
    """One scale per tensor, a tree shaped like params of float32 scalars; log-uniform over scale_range.

    Level "global" draws one number for all tensors; "none" gives ones.
    """
    check(level, scale_range)
    if level == "none":
        return jax.tree.map(lambda _: jnp.ones([], jnp.float32), params)
    low, high = map(math.log, scale_range)
    scale = jnp.exp(jax.random.uniform(key, (), jnp.float32, low, high))
    return jax.tree.map(lambda _: scale, params)


def to_rule(params: Params, scale: Any) -> Params:
    """The task's parameters as the rule sees them: params / scale."""
    return jax.tree.map(lambda p, s: p / s, params, scale)


def loss(task: Task, scaled: Params, scale: Any, batch: Batch) -> jax.Array:
    """The task's loss as a function of the scaled parameters; its gradient carries the factor `scale`."""
    return task.loss(jax.tree.map(lambda p, s: p * s, scaled, scale), batch)
