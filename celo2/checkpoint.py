"""Reading and writing theta: the published flax-msgpack format, and the weights that ship with this package."""

import os
from importlib import resources
from typing import Any

import flax.serialization
import jax
import numpy as np

from celo2 import checks
from celo2.files import read_limited, write_atomic
from celo2.names import check_known

_WEIGHTS = "celo2.weights"
_SUFFIX = ".theta"
# The largest published theta has 150 KB.
MAX_BYTES = 16 << 20


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a theta file, published or ours, of celo2, celo or celo-adam.

    Returns:
      theta: a nested dict of float32 NumPy arrays in the published tree.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not such a file, is cut short or too large, or holds another tree, shape or non-finite
        numbers.
    """
    data = read_limited(path, MAX_BYTES)
    return _parse(data, str(path))


def _parse(data: bytes, origin: str) -> dict[str, Any]:
    try:
        theta = flax.serialization.msgpack_restore(data)
    except Exception as error:  # msgpack raises many types for foreign or truncated bytes
        raise ValueError(f"{origin}: not a flax-msgpack theta file, or cut short ({error})") from error
    try:
        checks.check_theta(theta)
        with np.errstate(over="ignore"):
            theta = jax.tree.map(lambda x: np.asarray(x, np.float32), theta)
        checks.check_theta(theta)  # again: float64 may hold what is infinite in float32
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error
    return theta


def save_checkpoint(path: str | os.PathLike[str], theta: Any) -> None:
    """Writes theta so that both `load_checkpoint` and the published loader read it.

    The file appears whole or not at all: it is written beside its place and then renamed.

    Raises:
      ValueError: if theta is not a complete, finite theta of a known rule.
    """
    checks.check_theta(theta)
    data = flax.serialization.to_bytes(jax.tree.map(lambda x: np.asarray(x, np.float32), dict(theta)))
    write_atomic(path, data)


def packaged_weights() -> list[str]:
    """Names that `load_theta` knows."""
    files = resources.files(_WEIGHTS).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def load_theta(name: str) -> dict[str, Any]:
    """The weights that ship with this package, by name ("celo2", "celo2_base").

    Raises:
      ValueError: for an unknown name; the message lists the known ones, closest first.
    """
    check_known("packaged weights", name, packaged_weights())
    return _parse((resources.files(_WEIGHTS) / f"{name}{_SUFFIX}").read_bytes(), name)
