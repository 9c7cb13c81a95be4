"""Reading npz files that may be anybody's: sizes are checked before anything is unpacked, and no code is run."""

import io
import math
import os
import zipfile
from collections.abc import Sequence

import numpy as np

from celo2.files import size_of

LIMIT = 2 << 30


def read(path: str | os.PathLike[str], names: Sequence[str], limit: int = LIMIT) -> dict[str, np.ndarray]:
    """Some arrays of an npz file.

    Args:
      path: of the file.
      names: of the arrays; others stay unread.
      limit: bytes that these arrays may have together once unpacked.

    Raises:
      ValueError: naming the file, for a damaged one, an array that is missing, not numbers, or not of the size that
        its header gives, and for more than `limit` bytes.
      FileNotFoundError: if there is nothing.
    """
    size_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [archive.getinfo(f"{name}.npy") for name in names]
            if (size := sum(member.file_size for member in members)) > limit:
                raise ValueError(f"unpacked it has {size:,} bytes; at most {limit:,} are read")
            return {name: _array(name, _unpacked(archive, x)) for name, x in zip(names, members, strict=True)}
    except Exception as error:  # zipfile, zlib and numpy raise many types for foreign or truncated bytes
        raise ValueError(f"{os.fspath(path)} should be an npz file with {' and '.join(names)}: {error}") from error


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # Without a number, `read` unpacks all that there is, and then cuts it to what the entry says.
    with archive.open(member) as file:
        return file.read(member.file_size)


def _array(name: str, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"npy format {version} is not read")
    shape, by_columns, dtype = readers[version](file)
    if dtype.kind not in "biuf" or dtype.subdtype is not None:
        raise ValueError(f"{name} must be numbers, got {dtype}")
    start = file.tell()
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start:,} bytes where the header gives {dtype} of shape {shape}")
    flat = np.frombuffer(data, dtype, offset=start)
    return flat.reshape(shape, order="F" if by_columns else "C").copy()
