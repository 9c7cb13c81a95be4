"""What agents tell their optimizers besides gradient and parameters; `docs/optimizers.md` is the contract."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

# Keys of the optimizer's own are folded from the agent's, so that a rule that draws nothing changes no other number.
_STREAM = 0x6F7074
# Parts of an actor-critic that its policy does not read.
_CRITIC = {"critic", "value_head", "temperature"}


def key_of(agent_key: jax.Array, update: jax.Array) -> jax.Array:
    """The key for an update, out of the agent's at the start of an iteration; update: int32, within it."""
    return jax.random.fold_in(jax.random.fold_in(agent_key, _STREAM), update)


def is_actor(params: Any) -> Any:
    """A tree like params of True and False: whether the tensor has a part in how the agent acts.

    Told by names: what lies under `critic`, `value_head` or `temperature` has none. In a network that names none of
    them, everything has.
    """

    def has_part(path: tuple[Any, ...], _: Any) -> bool:
        return not {str(getattr(entry, "key", getattr(entry, "name", ""))) for entry in path} & _CRITIC

    return jax.tree.map_with_path(has_part, params)


def extra_args(
    params: Any,
    *,
    value: jax.Array,
    progress: jax.Array,
    epoch: jax.Array,
    key: jax.Array,
    dormancy: Callable[[], Any],
) -> Mapping[str, Any]:
    """The keywords of `update` that every agent gives.

    Args:
      params: before the update.
      value: the loss. progress, epoch: float32 scalars in [0, 1]. key: PRNG key of this update.
      dormancy: costs nothing unless the optimizer calls it.
    """
    return {
        "value": value,
        "progress": progress,
        "epoch": epoch,
        "is_actor": is_actor(params),
        "key": key,
        "dormancy": dormancy,
    }
