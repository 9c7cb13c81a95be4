"""Published vectors of OPEN: all of theta in one array of NumPy's own format, without names."""

import io
import math
from typing import Any

import numpy as np

from celo2.baselines import thetas

# Of the published files: ant, asterix, breakout, freeway, gridworld, spaceinvaders the first, multi the second.
SIZES = ({"gru": 8, "hidden": 16}, {"gru": 16, "hidden": 32})


def is_vector(data: bytes) -> bool:
    """Whether a file is in NumPy's format."""
    return data.startswith(np.lib.format.MAGIC_PREFIX)


def parse(data: bytes) -> dict[str, Any]:
    """OPEN's theta of the bytes of a `.npy` file: arrays in the sorted order of their paths, one after the other.

    Raises:
      ValueError: for a damaged file, one of Python objects, or one that does not hold as many floating-point numbers as
        a published vector.
    """
    values = _array(data)
    known = {sum(map(math.prod, thetas.open_shapes(**sizes).values())): sizes for sizes in SIZES}
    if values.ndim != 1 or len(values) not in known:
        allowed = " or ".join(f"{count:,} (GRU {x['gru']}, MLP {x['hidden']})" for count, x in known.items())
        raise ValueError(f"a vector of OPEN holds {allowed} numbers in one row, this array has shape {values.shape}")
    theta: dict[str, Any] = {}
    place = 0
    for path, shape in sorted(thetas.open_shapes(**known[len(values)]).items()):
        node = theta
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = values[place : place + math.prod(shape)].reshape(shape)
        place += math.prod(shape)
    return theta


def _array(data: bytes) -> np.ndarray:
    """The array in a `.npy` file; its header is read first, for it may claim more than there is."""
    file = io.BytesIO(data)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, _, dtype = read_header[np.lib.format.read_magic(file)](file)
    except (ValueError, KeyError) as error:
        raise ValueError(f"not a readable .npy file ({error})") from error
    if not np.issubdtype(dtype, np.floating):
        raise ValueError(f"a theta must hold floating-point numbers, this .npy file has {dtype}")
    rest = data[file.tell() :]
    if math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"the .npy file is cut short or damaged: {len(rest):,} bytes of numbers for shape {shape}")
    # The order of the axes makes no difference to one row, and others are refused.
    return np.frombuffer(rest, dtype).reshape(shape)
