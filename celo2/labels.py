"""Which tensor goes to the learned rule and which to AdamW."""

import dataclasses
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from celo2 import towers

RULE = "rule"
ADAM = "adam"

# What a path component that names such a layer looks like: a whole component, or its end after an underscore, with a
# number at most behind it, so that "MultiHeadAttention_0/out" and "overhead" stay with the rule, while "policy_head",
# "token_embedding" and "output_1" do not.
KINDS = {
    "embedding": r"emb(ed(ding|der|dings)?s?)?|unembed|wte|wpe",
    "head": r"head|logits",
    "input": r"input",
}
_INPUTS = ("embedding", "input")
# This counts where it is the layer's own name: BERT's "attention/output/dense" is a hidden layer.
_OUTPUT = re.compile(r"(.*/)?([^/]*_)?output(_?\d+)?/[^/]*", re.IGNORECASE)
# Biases, norm scales and the like, whatever their rank: those of attention are [heads, dim], of stacks [layers, dim].
_NO_MATRIX = re.compile(r"(.*/)?([^/]*_)?(bias(es)?|scale|offset|gamma|beta|log_std)", re.IGNORECASE)

LabelFn = Callable[[Any], Any]


def path_name(path: tuple[Any, ...]) -> str:
    """Slash-joined name of a leaf, e.g. "actor/hidden_0/kernel"; boxes of flax around tensors have no part in it."""
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")


class Decision(NamedTuple):
    """Where a tensor goes, and why.

    name: slash-joined path. kind: of layer, one of `KINDS`; "": none. guessed: its shape alone told the kind.
    """

    name: str
    shape: tuple[int, ...]
    label: str
    reason: str
    kind: str = ""
    guessed: bool = False


@dataclasses.dataclass(frozen=True)
class Routing:
    """A label function: tensors to "adam" by rank, by kind and by name; all others to "rule".

    Layers are recognised by their names; where no name in the tree tells an input or an output layer, and layers are
    only numbered (`Dense_0`, `linear3`, `layers/1`), the first or the last matrix of each tower is. Where neither
    tells, a matrix whose inputs or outputs fit no other one is: a guess, which is warned of.

    Attributes:
      min_rank: least number of axes for the learned rule. 2 keeps biases, norm scales and scalars (log_std) with Adam.
      kinds: layers that go to Adam: "embedding", "head" (output layers), "input" (input layers).
      pattern: regular expression, searched for in the slash-joined path of every tensor, ignoring case: to Adam.

    Raises:
      ValueError: for an unknown kind, a negative min_rank or a pattern that is no regular expression.
    """

    min_rank: int = 2
    kinds: tuple[str, ...] = ("embedding", "head")
    pattern: str | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - KINDS.keys())
        if unknown:
            raise ValueError(f"unknown kinds of layers {unknown}; there are {', '.join(KINDS)}")
        if self.min_rank < 0:
            raise ValueError(f"min_rank must be at least 0, got {self.min_rank}")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from error

    def __call__(self, params: Any) -> Any:
        """The tree of labels for a tree of parameters.

        Warns where layers were told by their size alone, where output layers are to go to Adam and none was
        recognised among three matrices or more, or where the pattern matches nothing: what was meant for Adam then
        goes to the rule.
        """
        decisions = self.decide(params)
        if guessed := [d for d in decisions if d.guessed]:
            kinds = ", ".join(f"{d.name} ({d.kind})" for d in guessed)
            warnings.warn(
                f"input and output layers were told by their size alone: {kinds}; name them (such as `policy_head`) or "
                "give label_fn= if that is wrong",
                stacklevel=2,
            )
        matrices = [d for d in decisions if len(d.shape) >= self.min_rank and _is_matrix(d.name, d.shape)]
        heads = any(d.kind == "head" for d in decisions)
        if "head" in self.kinds and len(matrices) > 2 and not heads and self.pattern is None:
            warnings.warn(
                "no output layer was recognised, so that the learned rule gets it: name it (such as `policy_head`) or "
                f"give label_fn=; celo2.routing_table shows what goes where. Matrices: {_few(matrices)}",
                stacklevel=2,
            )
        if self.pattern is not None and decisions and not any(_matches(self.pattern, d.name) for d in decisions):
            warnings.warn(f"the pattern {self.pattern!r} matches no parameter of {_few(decisions)}", stacklevel=2)
        return jax.tree.unflatten(jax.tree.structure(params), [decision.label for decision in decisions])

    def decide(self, params: Any) -> list[Decision]:
        """Where every tensor goes, and why, in the order of the tree; params may be shapes."""
        tensors = [(path_name(path), tuple(jnp.shape(leaf))) for path, leaf in jax.tree.leaves_with_path(params)]
        told = [self._by_name(name, shape) for name, shape in tensors]
        untold = {n: shape for (n, shape), decided in zip(tensors, told, strict=True) if not decided}
        places = _by_place(untold, dict(tensors))
        found = []
        for (name, shape), decided in zip(tensors, told, strict=True):
            place = places.get(name)
            if decided is None and place is not None and place.kind in self.kinds:
                decided = Decision(name, shape, ADAM, place.reason, place.kind, place.guessed)
            found.append(decided or Decision(name, shape, RULE, f"rank {len(shape)}, no exception applies"))
        return found

    def _by_name(self, name: str, shape: tuple[int, ...]) -> Decision | None:
        """What rank or name decide."""
        if len(shape) < self.min_rank:
            return Decision(name, shape, ADAM, f"rank {len(shape)} < {self.min_rank}")
        if self.min_rank > 1 and _NO_MATRIX.fullmatch(name):
            return Decision(name, shape, ADAM, "named as a bias or scale")
        for kind in self.kinds:
            if _is_kind(kind, name):
                return Decision(name, shape, ADAM, f"named as {kind}", kind)
        if self.pattern is not None and _matches(self.pattern, name):
            return Decision(name, shape, ADAM, f"matches {self.pattern!r}")
        return None


class _Place(NamedTuple):
    """What a layer is by its place in the network."""

    kind: str
    reason: str
    guessed: bool = False


def _by_place(untold: Mapping[str, tuple[int, ...]], tensors: Mapping[str, tuple[int, ...]]) -> dict[str, _Place]:
    """The input and output layers that no name tells, where no layer of the kind has a name.

    They are the ends of towers; where no tower tells one either, what fits no other matrix.
    A tower of one matrix is an output layer where it lies beside another tower, and an input layer where output layers
    have names. Where they have, a tower that another matrix may feed has no input layer.
    """
    inputs, heads = (any(_is_kind(kind, n) for kind in kinds for n in tensors) for kinds in (_INPUTS, ("head",)))
    first, last = set[str](), set[str]()
    for place in towers.find({name: shape for name, shape in untold.items() if len(shape) > 1}):
        for tower in place:
            if not heads and (len(tower) > 1 or len(place) > 1):
                last.add(tower[-1])
            fed = heads and any(towers.fits(untold, other, tower[0]) for other in untold if other not in tower)
            if not inputs and not fed and (len(tower) > 1 or heads):
                first.add(tower[0])
    found = dict.fromkeys(first, _Place("input", "first matrix of its tower, no name tells"))
    found |= dict.fromkeys(last, _Place("head", "last matrix of its tower, no name tells"))
    if (inputs or first) and (heads or last):
        return found
    unfed, unread = towers.by_size({name: shape for name, shape in tensors.items() if _is_matrix(name, shape)})
    for kind, known, ends, side in (
        ("input", inputs or first, unfed, "inputs"),
        ("head", heads or last, unread, "outputs"),
    ):
        if not known:
            guess = _Place(kind, f"no other matrix fits its {side}, told by size alone", guessed=True)
            found |= dict.fromkeys(ends - found.keys(), guess)
    return found


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and not _NO_MATRIX.fullmatch(name)


def _is_kind(kind: str, name: str) -> bool:
    if kind == "head" and _OUTPUT.fullmatch(name):
        return True
    return re.search(rf"(^|/)([^/]*_)?({KINDS[kind]})(_?\d+)?(/|$)", name, re.IGNORECASE) is not None


def _matches(pattern: str, name: str) -> bool:
    return re.search(pattern, name, re.IGNORECASE) is not None


def _few(decisions: Sequence[Decision], most: int = 8) -> str:
    names = ", ".join(decision.name for decision in decisions[:most])
    return names + (f" and {len(decisions) - most} more" if len(decisions) > most else "")


def labels_by_pattern(adam_pattern: str, min_rank: int = 2) -> Routing:
    """A label function: tensors below `min_rank`, or whose name matches, go to "adam", the rest to "rule".

    Args:
      adam_pattern: regular expression, searched for in the slash-joined path of each leaf, ignoring case.
      min_rank: least number of axes for the learned rule.
    """
    return Routing(min_rank=min_rank, kinds=(), pattern=adam_pattern)


# Default routing: rank >= 2 and, by name, no embedding or output head -> "rule"; the rest -> "adam".
matrix_labels = Routing()

# Routing for RL networks: input layers (by name) go to "adam" as well.
hidden_matrix_labels = Routing(kinds=("embedding", "head", "input"))


def routing_table(params: Any, label_fn: LabelFn = matrix_labels) -> str:
    """Which tensor goes where and why, as text.

    Args:
      params: tree of parameters (or of shapes, as `jax.eval_shape` gives it).
      label_fn: as the optimizer gets it; default: `matrix_labels`.

    Returns:
      One line per tensor: name, shape, label, reason; and the number of parameters under every label.
    """
    if isinstance(label_fn, Routing):
        decisions = label_fn.decide(params)
    else:
        labels = jax.tree.leaves(label_fn(params))
        decisions = [
            Decision(path_name(path), leaf.shape, label, "the label function says so")
            for (path, leaf), label in zip(jax.tree.leaves_with_path(params), labels, strict=True)
        ]
    rows, sizes = [("tensor", "shape", "goes to", "because")], dict[str, int]()
    for made in decisions:
        rows.append((made.name, "x".join(map(str, made.shape)) or "scalar", made.label, made.reason))
        sizes[made.label] = sizes.get(made.label, 0) + math.prod(made.shape)
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
    total = ", ".join(f"{label}: {size:,} parameters" for label, size in sorted(sizes.items()))
    return "\n".join([*lines, total])
