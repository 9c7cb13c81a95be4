"""Image sets at full size: the user's own files, or stand-ins made of the packaged 8x8 images.

A set NAME of a folder is NAME.npz with `x_train`, `y_train`, `x_test`, `y_test` (the names that Keras uses), or a
folder NAME with the files of its distribution: IDX for MNIST and Fashion-MNIST, the binary version for CIFAR.
"""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celo2.files import read_limited
from metatrain import image_files, npz
from rlopt.metatest.celo17 import arrays

# Of the images of a file that has no test images.
TEST_SHARE = 0.1
STAND_IN, MADE_UP = "stand-in: ", "stand-in"
_SEED = 0
_CIFAR_LIMIT = 256 << 20
HUES = 10
_PIXEL_NOISE = 20.0
_CHUNK = 500


class Kind(NamedTuple):
    """side, channels, classes: of the images. packaged: the 8x8 set that stands in."""

    side: int
    channels: int
    classes: int
    packaged: str


KINDS = {
    "mnist": Kind(28, 1, 10, "mnist"),
    "fashion_mnist": Kind(28, 1, 10, "fashion"),
    "cifar10": Kind(32, 3, 10, "fashion"),
    "cifar100": Kind(32, 3, 100, "fashion"),
}


class ImageSet(NamedTuple):
    """Images, uint8 [N, side, side, channels], and labels, int32 [N], to train and to test on; source: what it is."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str

    def digest(self) -> str:
        """Of all arrays; stand-ins are the same for everybody and need none."""
        return MADE_UP if self.source.startswith(STAND_IN) else arrays.digest(*self[:4])


def available(folder: Path) -> tuple[str, ...]:
    """Names of the sets that a folder has."""
    return tuple(name for name in KINDS if (folder / f"{name}.npz").exists() or (folder / name).is_dir())


def load(name: str, folder: Path | None = None) -> ImageSet:
    """A set by name: from the folder, if it has it, or else its stand-in.

    Raises:
      ValueError: naming the file, for damaged files, other shapes or types, labels out of range, counts that do not
        match.
    """
    if folder is None or name not in available(folder):
        return stand_in(name)
    single = folder / f"{name}.npz"
    where = single if single.exists() else folder / name
    parts = _npz(single) if single.exists() else _distributed(folder / name, name)
    checked = [_checked(where, KINDS[name], *part) for part in parts]
    if len(checked) == 1:
        ((images, labels),) = checked
        order = np.random.default_rng(_SEED).permutation(len(labels))
        images, labels = images[order], labels[order]
        kept = len(labels) - round(TEST_SHARE * len(labels))
        checked = [(images[:kept], labels[:kept]), (images[kept:], labels[kept:])]
    if not all(len(labels) for _, labels in checked):
        raise ValueError(f"{where}: no images to train or to test on")
    (images, labels), (test_images, test_labels) = checked
    return ImageSet(images, labels, test_images, test_labels, f"{name}, from {where.name}")


Part = tuple[np.ndarray, np.ndarray]


def _npz(path: Path) -> list[Part]:
    found = arrays.names(path)
    pairs = [pair for pair in (("x_train", "y_train"), ("x_test", "y_test")) if set(pair) & set(found)]
    if not pairs or pairs[0][0] != "x_train":
        there = ", ".join(found) or "nothing"
        raise ValueError(f"{path} must hold x_train and y_train (and x_test, y_test), got {there}")
    names = [name for pair in pairs for name in pair]
    loaded = npz.read(path, names)
    return [(loaded[x], loaded[y]) for x, y in pairs]


def _distributed(folder: Path, name: str) -> list[Part]:
    if name.startswith("cifar"):
        heads = {"cifar10": ("data_batch_[1-5].bin", "test_batch.bin"), "cifar100": ("train.bin", "test.bin")}[name]
        found = [sorted(folder.rglob(head)) for head in heads]
        needed = (5, 1) if name == "cifar10" else (1, 1)
        if tuple(map(len, found)) != needed:
            raise ValueError(f"{folder} must hold the binary version of {name}: {' and '.join(heads)}")
        return [_cifar(files, labels=1 if name == "cifar10" else 2) for files in found]
    parts = []
    for head in ("train", "t10k"):
        images, labels = (sorted(folder.rglob(f"{head}*{what}*")) for what in ("images*idx3", "labels*idx1"))
        if not images or not labels:
            raise ValueError(f"{folder} must hold {head}-images-idx3-ubyte and {head}-labels-idx1-ubyte (or .gz)")
        parts.append((image_files.read_idx(images[0], 3), image_files.read_idx(labels[0], 1)))
    return parts


def _cifar(files: list[Path], labels: int) -> Part:
    """Records of one or two labels, of which the last (the fine one) counts, and 3 x 32 x 32 pixels."""
    length = labels + 3 * 32 * 32
    parts = []
    for path in files:
        data = np.frombuffer(read_limited(path, _CIFAR_LIMIT), np.uint8)
        if not data.size or data.size % length:
            raise ValueError(f"{path} has {data.size:,} bytes, no multiple of {length:,} (labels and an image)")
        parts.append(data.reshape(-1, length))
    records = np.concatenate(parts)
    return records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), records[:, labels - 1]


def _checked(where: Path, kind: Kind, images: np.ndarray, labels: np.ndarray) -> Part:
    if images.ndim == 3:
        images = images[..., None]
    shape = (kind.side, kind.side, kind.channels)
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{where}: images must be uint8 [N, {wanted}], got {images.dtype} {list(images.shape)}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{where}: labels must be whole numbers [N], got {labels.dtype} {list(labels.shape)}")
    if len(labels) != len(images):
        raise ValueError(f"{where}: {len(images):,} images but {len(labels):,} labels")
    if len(labels) and not 0 <= labels.min() <= labels.max() < kind.classes:
        raise ValueError(f"{where}: labels must be 0 to {kind.classes - 1}, got {labels.min()} to {labels.max()}")
    return images, labels.astype(np.int32)


def stand_in(name: str) -> ImageSet:
    """The packaged 8x8 images, enlarged; those of CIFAR in two colours per image, with noise.

    CIFAR-100's hundred classes are the ten garments in ten hues each. A tenth of all images are for tests; up to 60,000
    as in the sets that are stood in for, and 5,000 of MNIST.
    """
    kind = KINDS[name]
    path = resources.files("metatrain.data") / f"{kind.packaged}.npz"
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as packaged:
        small, labels = packaged["images"], packaged["labels"].astype(np.int32)
    rng = np.random.default_rng(_SEED)
    about = f"packaged {kind.packaged} images, 8x8 enlarged to {kind.side}x{kind.side}"
    hues = rng.integers(0, HUES, len(labels))
    if kind.channels == 3:
        about += ", coloured, with noise"
    if kind.classes > 10:
        labels = (HUES * labels + hues).astype(np.int32)
        about += ", ten hues of each class"
    enlarging = _enlarging(kind.side)
    pixels = np.empty((len(labels), kind.side, kind.side, kind.channels), np.uint8)
    for start in range(0, len(labels), _CHUNK):  # all of them as floats would take a gigabyte
        chunk = slice(start, start + _CHUNK)
        images = (small[chunk].astype(np.float32) @ enlarging).reshape(-1, kind.side, kind.side, 1)
        images = _coloured(images, hues[chunk], rng) if kind.channels == 3 else images
        pixels[chunk] = np.clip(np.rint(images, out=images), 0, 255, out=images)
    kept = len(labels) - round(TEST_SHARE * len(labels))
    return ImageSet(pixels[:kept], labels[:kept], pixels[kept:], labels[kept:], STAND_IN + about)


def _enlarging(side: int) -> np.ndarray:
    """Bilinear interpolation at pixel centres as a matrix, float32 [64, side * side]."""
    small = image_files.SIDE
    centre = np.clip((np.arange(side) + 0.5) * small / side - 0.5, 0, small - 1)
    along = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(small)))
    return np.einsum("xi,yj->ijxy", along, along).reshape(small * small, side * side).astype(np.float32)


def _coloured(grey: np.ndarray, hues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey images [N, side, side, 1] over a plain background of any colour, in one of ten colours, with noise."""
    angles = 2 * np.pi * (hues[:, None] / HUES + np.arange(3) / 3)
    front = (0.6 + 0.4 * np.cos(angles)).astype(np.float32)[:, None, None, :]
    back = rng.uniform(0, 160, (len(hues), 1, 1, 3)).astype(np.float32)
    images = grey * (front - back / 255)
    images += back
    # One picture of noise, shifted: drawing a number for every pixel would take longer than all else.
    noise = (_PIXEL_NOISE * rng.standard_normal(2 * images[0].size)).astype(np.float32)
    starts = rng.integers(0, images[0].size, len(hues))
    for i, start in enumerate(starts):
        images[i] += noise[start : start + images[i].size].reshape(images[i].shape)
    return images
