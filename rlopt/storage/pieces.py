"""Trees of arrays in flax's msgpack form, in pieces: large arrays are not copied on their way to a file."""

import struct
from collections.abc import Iterator
from typing import Any

import flax.serialization
import msgpack
import numpy as np

# What is smaller is copied: many small pieces would cost more.
LARGE_BYTES = 2**20
# Flax cuts arrays of more, since no msgpack object may be longer than 2^31 - 1 bytes.
CHUNK_BYTES = flax.serialization.MAX_CHUNK_SIZE
_ARRAY = 1  # flax's number for arrays among msgpack's extensions
_BIN32, _EXT32 = b"\xc6", b"\xc9"


def serialized(tree: Any) -> list[Any]:
    """What `flax.serialization.msgpack_serialize(tree)` gives, in pieces that are bytes or views of the arrays.

    Args:
      tree: dicts with names for keys, lists of NumPy arrays and plain numbers, names and None. The arrays
        must stay as they are until the pieces have been written.
    """
    return list(_pieces(tree, msgpack.Packer(strict_types=True)))


def _pieces(tree: Any, packer: msgpack.Packer) -> Iterator[Any]:
    if isinstance(tree, dict):
        yield packer.pack_map_header(len(tree))
        for name, part in sorted(tree.items()):  # as flax has them
            yield packer.pack(name)
            yield from _pieces(part, packer)
    elif isinstance(tree, list):
        yield packer.pack_array_header(len(tree))
        for part in tree:
            yield from _pieces(part, packer)
    elif not isinstance(tree, np.ndarray) or tree.nbytes < LARGE_BYTES:
        yield flax.serialization.msgpack_serialize(tree)
    elif tree.nbytes > CHUNK_BYTES:
        yield from _pieces(_cut(tree), packer)
    else:
        data = np.ascontiguousarray(tree).reshape(-1).view(np.uint8).data
        head = packer.pack_array_header(3) + packer.pack(list(tree.shape)) + packer.pack(tree.dtype.name)
        head += _BIN32 + struct.pack(">I", data.nbytes)
        yield _EXT32 + struct.pack(">Ib", len(head) + data.nbytes, _ARRAY) + head
        yield data


def _cut(array: np.ndarray) -> dict[str, Any]:
    """The form that flax has for arrays of more than `CHUNK_BYTES`."""
    size = max(1, CHUNK_BYTES // array.dtype.itemsize)
    flat = array.reshape(-1)
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(axis): length for axis, length in enumerate(array.shape)},
        "chunks": {str(i): flat[start : start + size] for i, start in enumerate(range(0, flat.size, size))},
    }
