"""Where in its network a tensor lies, as a share: 0 in the first layer, 1 in the last. OPEN reads it."""

import re
from collections.abc import Sequence
from typing import Any

import jax

from celo2.labels import Routing, path_name

# Names of the tensors of one layer; what is named otherwise is a layer by itself.
_OF_LAYER = frozenset({"kernel", "bias", "scale", "weight", "w", "b", "embedding"})
_KINDS = Routing(kinds=("embedding", "head", "input"))
_INPUT, _CONVOLUTION, _HIDDEN, _HEAD, _FREE = range(5)
_Key = tuple[int, tuple[int, ...]]


def shares(params: Any, is_actor: Sequence[bool]) -> list[float]:
    """Every tensor's layer, i / (layers - 1), in the order of the tree; 0 where there is one layer.

    Layers come in the order input, convolutions, hidden ones by the numbers in their names, heads, numbers that belong
    to no layer (such as `log_std`); those of equal rank side by side. What kind a layer is, its name says or its place,
    see `Routing`. Actor and critic are counted apart where both have several layers.

    Args:
      params: tree of parameters. is_actor: of every tensor, in the order of the tree.
    """
    decisions = _KINDS.decide(params)
    names = [_layer_of(path_name(path)) for path, _ in jax.tree.leaves_with_path(params)]
    kinds = {name: made.kind for name, made in zip(names, decisions, strict=True) if made.kind}
    matrices = {name for name, made in zip(names, decisions, strict=True) if len(made.shape) > 1}
    keys = [_key(name, kinds.get(name, ""), name in matrices) for name in names]
    sides = [{key for key, acts in zip(keys, is_actor, strict=True) if acts is side} for side in (False, True)]
    apart = all(len(side) > 1 for side in sides)
    orders = [sorted(side) if apart else sorted(set(keys)) for side in sides]
    return [orders[acts].index(key) / max(len(orders[acts]) - 1, 1) for key, acts in zip(keys, is_actor, strict=True)]


def _layer_of(name: str) -> str:
    folders, _, last = name.rpartition("/")
    return folders if last in _OF_LAYER else name


def _key(layer: str, kind: str, has_matrix: bool) -> _Key:
    numbers = tuple(map(int, re.findall(r"\d+", layer)))
    if kind == "head":
        return _HEAD, ()
    if kind:
        return _INPUT, ()
    if not has_matrix and not numbers:
        return _FREE, ()
    return (_CONVOLUTION if "conv" in layer.lower() else _HIDDEN), numbers
