"""What the loaders share: the names in an npz file, and a digest of arrays."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from celo2.files import size_of


def names(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an npz file.

    Raises:
      ValueError: for what is none.
    """
    size_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
    except Exception as error:  # foreign bytes raise many types
        raise ValueError(f"{path} is not an npz file: {error}") from error


def digest(*arrays: np.ndarray) -> str:
    """First digits of the BLAKE2b of arrays, their shapes and types."""
    found = hashlib.blake2b()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:8]
