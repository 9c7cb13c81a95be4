"""Image sets from the files in which they are distributed, reduced to 8x8 grey pixels as the published tasks are.

Reads IDX (MNIST, Fashion-MNIST), CIFAR-10 (binary and Python version), MATLAB (SVHN) and npz. No file is executed: the
pickle files of CIFAR's Python version are only scanned for their numbers.
"""

import gzip
import hashlib
import math
import pickletools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from metatrain import npz

NUM_CLASSES = 10
SIDE = 8
Arrays = tuple[np.ndarray, np.ndarray]

# What to fetch for the sets of the published recipe; a set of that name lies in a folder of that name.
DOWNLOADS = {
    "mnist": "train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz of MNIST "
    "(https://storage.googleapis.com/cvdf-datasets/mnist/)",
    "fashion": "train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz of Fashion-MNIST "
    "(https://github.com/zalandoresearch/fashion-mnist)",
    "cifar10": "data_batch_1 to data_batch_5 of CIFAR-10, the Python or the binary version, unpacked "
    "(https://www.cs.toronto.edu/~kriz/cifar.html)",
    "svhn": "train_32x32.mat of SVHN, format 2 (http://ufldl.stanford.edu/housenumbers)",
}


def load(folder: Path, name: str) -> Arrays:
    """The set `name` of a folder: the file `name.npz` or a subfolder `name` with files in one of the known formats.

    Returns:
      images, float32 [N, 64] in 0..255, and labels, int32 [N], in the order of the files.

    Raises:
      ValueError: for missing files (saying what to fetch, and where to put it), truncated files, other formats, counts
        that do not match, labels outside 0..9.
    """
    single, several = folder / f"{name}.npz", folder / name
    if single.is_file():
        images, labels = _npz(single)
    elif several.is_dir():
        images, labels = _from_folder(several, name)
    else:
        what = DOWNLOADS.get(name, "its files, in IDX, CIFAR-10, MATLAB or npz format")
        raise ValueError(f"no image set {name!r} in {folder}: put {what} into {several}")
    where = single if single.is_file() else several
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{where}: labels must be one integer per image, got {labels.dtype} of shape {labels.shape}")
    if len(images) != len(labels):
        raise ValueError(f"{where}: {len(images)} images but {len(labels)} labels")
    if not len(images):
        raise ValueError(f"{where}: no images")
    if images.dtype != np.uint8:
        low, high = (float(f(images)) for f in (np.min, np.max))
        if not (low >= 0 and 1 < high <= 255):  # also catches NaN
            raise ValueError(f"{where}: pixels must lie in 0..255 (and not all in 0..1), got {low:g}..{high:g}")
    if labels.min() < 0 or labels.max() >= NUM_CLASSES:
        raise ValueError(f"{where}: labels must be integers in 0..9, got {labels.min()}..{labels.max()}")
    return reduce(images), labels.astype(np.int32)


def fingerprint(folder: Path, name: str) -> str:
    """SHA-256 of the files of a set, as found by `load`."""
    single = folder / f"{name}.npz"
    files = [single] if single.is_file() else sorted(path for path in (folder / name).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def available(folder: Path) -> tuple[str, ...]:
    """Names of the sets in a folder; ValueError if there is no such folder."""
    if not folder.is_dir():
        raise ValueError(f"data_dir: there is no folder {folder}")
    found = [p.stem if p.suffix == ".npz" else p.name for p in folder.iterdir() if p.is_dir() or p.suffix == ".npz"]
    return tuple(sorted(found))


def reduce(images: np.ndarray) -> np.ndarray:
    """Square images [N, side, side] or [N, side, side, 3] to float32 [N, 64].

    Bilinear interpolation at half-pixel centres without antialiasing (TensorFlow 2's default resize), then the mean
    over the colours.
    """
    if images.ndim not in (3, 4) or images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be [N, side, side] or [N, side, side, colours], got shape {images.shape}")
    side = images.shape[1]
    centre = (np.arange(SIDE) + 0.5) * side / SIDE - 0.5
    low = np.clip(np.floor(centre).astype(int), 0, side - 1)
    weight = np.clip(centre - low, 0, 1)
    high = np.minimum(low + 1, side - 1)

    def grey(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        # Only the pixels that are read, so that a whole set at full size need not become floating point.
        pixels = images[:, rows][:, :, columns].astype(np.float64)
        return pixels.mean(-1) if pixels.ndim == 4 else pixels

    down, right = weight[:, None], weight
    top = grey(low, low) * (1 - right) + grey(low, high) * right
    bottom = grey(high, low) * (1 - right) + grey(high, high) * right
    return (top * (1 - down) + bottom * down).astype(np.float32).reshape(len(images), SIDE * SIDE)


def _from_folder(folder: Path, name: str) -> Arrays:
    readers: tuple[tuple[str, Callable[[list[Path]], Arrays]], ...] = (
        ("train*images*idx3*", _idx),
        ("data_batch_[0-9].bin", _cifar_binary),
        ("data_batch_[0-9]", _cifar_python),
        ("train*.mat", _matlab),
        ("*.npz", lambda files: _npz(files[0])),
    )
    for pattern, reader in readers:
        files = sorted(folder.rglob(pattern))
        if files:
            missing = sorted(set("12345") - {path.stem[-1] for path in files})
            if name == "cifar10" and pattern.startswith("data_batch") and missing:
                raise ValueError(f"{files[0].parent} lacks CIFAR-10's data_batch_{', data_batch_'.join(missing)}")
            return reader(files)
    raise ValueError(f"no known image files in {folder}: put {DOWNLOADS.get(name, 'IDX, .mat or .npz files')} there")


def _idx(files: list[Path]) -> Arrays:
    images = read_idx(files[0], 3)
    labels = sorted(files[0].parent.glob("train*labels*idx1*"))
    if not labels:
        raise ValueError(f"{files[0]} has no train-labels-idx1-ubyte beside it")
    return images, read_idx(labels[0], 1)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An IDX file of bytes, plain or gzipped: uint8 of the given number of dimensions."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    header = 4 + 4 * dimensions
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            start = file.read(header)
            if len(start) < header or start[:4] != bytes((0, 0, 8, dimensions)):
                raise ValueError(f"{path} is not an IDX file of bytes with {dimensions} dimensions")
            shape = struct.unpack(f">{dimensions}I", start[4:])
            expected = math.prod(shape)
            if expected > npz.LIMIT:
                raise ValueError(f"{path} says that it has {expected:,} pixels; at most {npz.LIMIT:,} are read")
            data = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged or truncated gzip file: {error}") from error
    if len(data) != expected:
        found = "more" if len(data) > expected else len(data) + header
        raise ValueError(f"{path} should have {expected + header} bytes for shape {shape}, but has {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)


_CIFAR_PIXELS = 3 * 32 * 32


def _colours_last(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _cifar_binary(files: list[Path]) -> Arrays:
    batches = []
    for path in files:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        if not data.size or data.size % (1 + _CIFAR_PIXELS):
            raise ValueError(
                f"{path} has {data.size} bytes, no multiple of {1 + _CIFAR_PIXELS} (a label and an image): truncated?"
            )
        batches.append(data.reshape(-1, 1 + _CIFAR_PIXELS))
    records = np.concatenate(batches)
    return _colours_last(records[:, 1:]), records[:, 0]


def _cifar_python(files: list[Path]) -> Arrays:
    parts = [_scan_pickle(path) for path in files]
    return _colours_last(np.concatenate([p for p, _ in parts])), np.concatenate([labels for _, labels in parts])


def _scan_pickle(path: Path) -> Arrays:
    """Pixels and labels of one CIFAR batch, read from the pickle's opcodes without carrying them out."""
    pixels, labels, reading = b"", [], False
    try:
        for opcode, argument, _ in pickletools.genops(path.read_bytes()):
            if argument == "latin1":
                continue  # how Python 3 writes bytes under an old protocol: a text and this
            if isinstance(argument, str | bytes):
                reading = argument in ("labels", b"labels")
                raw = argument.encode("latin-1", "replace") if isinstance(argument, str) else argument
                pixels = raw if len(raw) > len(pixels) else pixels
            elif reading and opcode.name in ("BININT", "BININT1", "BININT2", "INT"):
                labels.append(argument)  # in portions of 1,000: only the next text ends the list
    except Exception as error:
        raise ValueError(f"{path} is not a complete CIFAR-10 batch of the Python version: {error}") from error
    if not pixels or len(pixels) % _CIFAR_PIXELS or len(pixels) // _CIFAR_PIXELS != len(labels):
        raise ValueError(f"{path}: {len(pixels)} bytes of pixels and {len(labels)} labels do not make a CIFAR-10 batch")
    return np.frombuffer(pixels, np.uint8).reshape(-1, _CIFAR_PIXELS), np.asarray(labels)


def _matlab(files: list[Path]) -> Arrays:
    import scipy.io

    path = files[0]
    try:
        content = scipy.io.loadmat(path, variable_names=("X", "y"))
    except Exception as error:
        raise ValueError(f"{path} is not a complete MATLAB file: {error}") from error
    if not {"X", "y"} <= content.keys() or content["X"].ndim != 4:
        raise ValueError(f"{path} should hold X [side, side, 3, N] and y, as SVHN's format 2 does")
    labels = content["y"].ravel().astype(np.int64)
    return content["X"].transpose(3, 0, 1, 2), np.where(labels == NUM_CLASSES, 0, labels)  # SVHN writes 10 for "0"


def _npz(path: Path) -> Arrays:
    images, labels = npz.read(path, ("images", "labels")).values()
    if images.ndim == 2:
        side = math.isqrt(images.shape[1])
        if side * side != images.shape[1]:
            raise ValueError(f"{path}: {images.shape[1]} pixels per image are no square")
        images = images.reshape(len(images), side, side)
    if images.dtype.kind not in "uif" or images.ndim not in (3, 4) or images.shape[1] != images.shape[2]:
        raise ValueError(
            f"{path}: images must be numbers [N, side, side], [N, side * side] or [N, side, side, colours], "
            f"got {images.dtype} {images.shape}"
        )
    return images, labels
