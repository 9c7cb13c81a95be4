"""Which tensor goes to the learned rule and which to AdamW."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

RULE = "rule"
ADAM = "adam"

# A whole path component, or its end after an underscore, with a number at most behind it, so that
# "MultiHeadAttention_0/out" and "overhead" stay with the rule, while "policy_head", "token_embedding" and "output_1"
# do not.
EMBEDDING_OR_HEAD = r"(^|/)([^/]*_)?(embed(ding|der|dings)?s?|head|logits|output|unembed)(_?\d+)?(/|$)"
INPUT = r"(^|/)input(_?\d+)?(/|$)"


def path_name(path: tuple[Any, ...]) -> str:
    """Slash-joined name of a leaf, e.g. "actor/hidden_0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def labels_by_pattern(adam_pattern: str, min_rank: int = 2) -> Callable[[Any], Any]:
    """A label function: tensors below `min_rank`, or whose name matches, go to "adam", the rest to "rule".

    Args:
      adam_pattern: regular expression, searched for in the slash-joined path of each leaf, ignoring case.
      min_rank: least number of axes for the learned rule.
    """
    pattern = re.compile(adam_pattern, re.IGNORECASE)

    def label_fn(params: Any) -> Any:
        def label(path: tuple[Any, ...], leaf: Any) -> str:
            return ADAM if jnp.ndim(leaf) < min_rank or pattern.search(path_name(path)) else RULE

        return jax.tree.map_with_path(label, params)

    return label_fn


def matrix_labels(params: Any) -> Any:
    """Default routing: rank >= 2 and, by name, no embedding or output head -> "rule"; the rest -> "adam"."""
    return labels_by_pattern(EMBEDDING_OR_HEAD)(params)


def hidden_matrix_labels(params: Any) -> Any:
    """Routing for RL networks: as `matrix_labels`, and input layers (by name) go to "adam" as well."""
    return labels_by_pattern(rf"{EMBEDDING_OR_HEAD}|{INPUT}")(params)
