"""A head that scales the steps of any optimizer (`celo2.scale_by_step_head`), as an option of a run. Imports no jax.

As an option a head is a file that `rlopt metatrain returns` wrote, or its weights in words: "progress=-0.5 critic=0.2".
What is recorded is always the latter, so that a run needs no file to be made again.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlopt import typed

OPTION = "head"
_WORD = re.compile(r"[A-Za-z_]\w*=\S*")


def read(value: Any) -> dict[str, float]:
    """Weights by feature, from a file or from words; features that are not named have 0.

    Raises:
      ValueError: for a file that is not there or holds no head, or for words that are none.
    """
    if not isinstance(value, str):
        raise ValueError(
            f"option {OPTION} must be a file of `rlopt metatrain returns` or FEATURE=WEIGHT, got {value!r}"
        )
    if value.split() and all(map(_WORD.fullmatch, value.split())):
        pairs = [word.partition("=") for word in value.split()]
        found: Any = {name: number for name, _, number in pairs}
        if len(found) < len(pairs):
            raise ValueError(f"option {OPTION} names a feature twice: {value!r}")
    else:
        try:
            found = typed.glanced_at(Path(value))["weights"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"option {OPTION}: {value} is no head of `rlopt metatrain returns` ({error})") from error
    try:
        weights = {str(name): float(weight) for name, weight in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"option {OPTION}: weights must be numbers by feature, got {found!r:.200}") from error
    for name, weight in weights.items():
        if not (name.isidentifier() and math.isfinite(weight)):
            raise ValueError(f"option {OPTION}: weights must be finite numbers by feature, got {name}={weight}")
    return weights


def in_words(value: Any) -> str:
    """A head as it is recorded, exact in float32; the same for a file and for what it holds. ValueError as `read`."""
    return " ".join(f"{name}={weight:.9g}" for name, weight in read(value).items())


def settled(options: Any) -> Any:
    """Options with the weights of a head in the place of its file; what is no text is refused where it is used.

    Files hold anything, and what is no mapping is refused where types are checked.
    """
    if not isinstance(options, Mapping):
        return options
    return {
        name: in_words(value) if name == OPTION and isinstance(value, str) else value for name, value in options.items()
    }
