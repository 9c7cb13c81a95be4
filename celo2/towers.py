"""The towers of networks whose layers are only numbered: their first and last matrices are input and output layers."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Shape = tuple[int, ...]

# Names that say nothing of a layer's place but its number.
_NUMBERED = re.compile(r"(dense|linear|fc|lin|layers?|conv|mlp)?_?\d*", re.IGNORECASE)
_REVERSED = re.compile(r"weight", re.IGNORECASE)  # PyTorch's and equinox's kernels are [out, in, ...]


class _Layer(NamedTuple):
    """A matrix under the name of its tensor, and what goes in and comes out of it (channels, of a convolution)."""

    name: str
    fan_in: int
    fan_out: int
    is_convolution: bool


def find(matrices: Mapping[str, Shape]) -> list[list[list[str]]]:
    """Towers, as far as numbered names and shapes tell, those of one place (that lie side by side) together.

    A tower is a chain of layers under one name (such as `actor/Dense_0`, `actor/Dense_1`), each as wide as the one
    before it; where a flat list of layers holds several towers, they are told apart by their widths. Names that say
    more than a number, lists with other things under the same name, and residual blocks are left alone.

    Args:
      matrices: shapes of tensors of rank >= 2, by slash-joined name.

    Returns:
      For every place its towers, each the names of its matrices from the first to the last.
    """
    lists: dict[str, list[_Layer]] = {}
    for name, shape in matrices.items():
        if len(parts := name.split("/")) >= 2 and _NUMBERED.fullmatch(parts[-2]):
            lists.setdefault("/".join(parts[:-2]), []).append(_layer(name, shape))
    found = []
    for root, layers in lists.items():
        if any(
            name.startswith(f"{root}/" if root else "") for name in matrices if name not in {x.name for x in layers}
        ):
            continue
        towers = _towers(sorted(layers, key=lambda layer: _natural(layer.name)))
        # `Block_0/Dense_0`: a part of a network, whose width at the end is that at the start.
        if re.search(r"\d(/|$)", root) and any(tower[0].fan_in == tower[-1].fan_out for tower in towers):
            continue
        found.append([[layer.name for layer in tower] for tower in towers])
    return found


def by_size(matrices: Mapping[str, Shape]) -> tuple[set[str], set[str]]:
    """A guess from shapes alone: what no other matrix can come before or behind is an input or an output layer.

    Blocks have projections that fit no other matrix, too (fused queries, keys and values; gates): they occur many
    times. So of several candidates those count whose shape occurs once; where there are none, those with the
    narrowest end of the whole network, such as the outputs of twin critics. Matrices of rank 2 only.

    Args:
      matrices: shapes of tensors of rank >= 2, by name.

    Returns:
      Names of input and of output layers; empty where there are fewer than three matrices.
    """
    if len(matrices) < 3:
        return set(), set()
    layers = {name: _layer(name, shape) for name, shape in matrices.items()}
    # Of attention kernels, [in, heads, dim], any axis or all may be what another matrix fits.
    wide = {size for shape in matrices.values() if len(shape) > 2 for size in (*shape, math.prod(shape[1:]))}
    flat = [layer for layer in layers.values() if len(matrices[layer.name]) == 2]
    ins, outs = {x.fan_in for x in flat} | wide, {x.fan_out for x in flat} | wide
    convolved = {layer.fan_out for layer in layers.values() if layer.is_convolution}
    first = {x.name: x.fan_in for x in flat if x.fan_in not in outs and all(x.fan_in % size for size in convolved)}
    last = {x.name: x.fan_out for x in flat if x.fan_out not in ins}
    return _likeliest(first, matrices), _likeliest(last, matrices)


def _likeliest(candidates: Mapping[str, int], matrices: Mapping[str, Shape]) -> set[str]:
    once = {name for name in candidates if list(matrices.values()).count(matrices[name]) == 1}
    narrowest = min(size for shape in matrices.values() for size in shape)
    return once or {name for name, size in candidates.items() if size == narrowest}


def fits(matrices: Mapping[str, Shape], before: str, layer: str) -> bool:
    """Whether a matrix could come right before another one: its outputs are as many as the other's inputs."""
    if len(matrices[before]) < 2 or len(matrices[layer]) < 2:
        return False
    return _layer(before, matrices[before]).fan_out == _layer(layer, matrices[layer]).fan_in


def _layer(name: str, shape: Shape) -> _Layer:
    if _REVERSED.fullmatch(name.rsplit("/", 1)[-1]):
        return _Layer(name, shape[1], shape[0], len(shape) > 2)
    return _Layer(name, shape[-2] if len(shape) > 2 else math.prod(shape[:-1]), shape[-1], len(shape) > 2)


def _natural(name: str) -> tuple[tuple[str, int], ...]:
    """Sorts layer 10 behind layer 2."""
    return tuple((text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name))


def _towers(layers: Sequence[_Layer]) -> list[list[_Layer]]:
    towers: list[list[_Layer]] = []
    for layer in layers:
        if towers and _follows(layer, towers[-1]):
            towers[-1].append(layer)
        else:
            towers.append([layer])
    return towers


def _follows(layer: _Layer, tower: Sequence[_Layer]) -> bool:
    before, start = tower[-1], tower[0]
    flattened = before.is_convolution and not layer.is_convolution and layer.fan_in % before.fan_out == 0
    # As many actions as observations: a layer like the tower's first one begins another tower.
    again = len(tower) > 1 and layer[1:] == start[1:] and start.fan_in != start.fan_out
    return (layer.fan_in == before.fan_out or flattened) and not again
