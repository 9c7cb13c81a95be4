"""Which tensor goes to the learned rule and which to AdamW."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

RULE = "rule"
ADAM = "adam"

# What a path component that names such a layer looks like: a whole component, or its end after an underscore, with a
# number at most behind it, so that "MultiHeadAttention_0/out" and "overhead" stay with the rule, while "policy_head",
# "token_embedding" and "output_1" do not.
KINDS = {
    "embedding": r"embed(ding|der|dings)?s?|unembed|wte|wpe",
    "head": r"head|logits|output",
    "input": r"input",
}

LabelFn = Callable[[Any], Any]


def path_name(path: tuple[Any, ...]) -> str:
    """Slash-joined name of a leaf, e.g. "actor/hidden_0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


@dataclasses.dataclass(frozen=True)
class Routing:
    """A label function: tensors to "adam" by rank, by kind and by name; all others to "rule".

    Attributes:
      min_rank: least number of axes for the learned rule. 2 keeps biases, norm scales and scalars (log_std) with Adam.
      kinds: layers that go to Adam, recognised by name: "embedding", "head" (output layers), "input" (input layers).
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
        """The tree of labels for a tree of parameters."""
        return jax.tree.map_with_path(lambda path, leaf: self.decide(path_name(path), jnp.ndim(leaf))[0], params)

    def decide(self, name: str, rank: int) -> tuple[str, str]:
        """The label of one tensor, and why."""
        if rank < self.min_rank:
            return ADAM, f"rank {rank} < {self.min_rank}"
        for kind in self.kinds:
            if re.search(rf"(^|/)([^/]*_)?({KINDS[kind]})(_?\d+)?(/|$)", name, re.IGNORECASE):
                return ADAM, f"named as {kind}"
        if self.pattern is not None and re.search(self.pattern, name, re.IGNORECASE):
            return ADAM, f"matches {self.pattern!r}"
        return RULE, f"rank {rank}, no exception applies"


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
    routing = label_fn if isinstance(label_fn, Routing) else None
    labels = jax.tree.leaves(label_fn(params))
    rows, sizes = [("tensor", "shape", "goes to", "because")], dict[str, int]()
    for (path, leaf), label in zip(jax.tree.leaves_with_path(params), labels, strict=True):
        name = path_name(path)
        reason = routing.decide(name, len(leaf.shape))[1] if routing is not None else "the label function says so"
        rows.append((name, "x".join(map(str, leaf.shape)) or "scalar", label, reason))
        sizes[label] = sizes.get(label, 0) + leaf.size
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
    total = ", ".join(f"{label}: {size:,} parameters" for label, size in sorted(sizes.items()))
    return "\n".join([*lines, total])
