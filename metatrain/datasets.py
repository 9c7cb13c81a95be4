"""Image sets for the inner tasks: 8x8 grey images with ten classes, stacked so that one program serves them all."""

from importlib import resources
from typing import NamedTuple

import numpy as np

from celo2.names import check_known

NUM_PIXELS = 64
NUM_CLASSES = 10
PACKAGED = ("digits", "mnist", "fashion")
# Pixels above half the range; a harder problem on the same images, since most of the grey values are gone.
BINARY_SUFFIX = "_binary"
# Shares of the shuffled images, as in the published recipe: 80 % to learn on, 10 % to choose, 10 % to judge.
SPLITS = {"train": (0.0, 0.8), "inner_valid": (0.8, 0.9), "outer_valid": (0.9, 1.0)}


class Dataset(NamedTuple):
    """images: uint8 [N, 64]; labels: int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


class StackedDatasets(NamedTuple):
    """F sets padded to the longest: images uint8 [F, N, 64], labels int32 [F, N], sizes int32 [F]."""

    images: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray


def names() -> tuple[str, ...]:
    """Every name that `load` knows."""
    return PACKAGED + tuple(name + BINARY_SUFFIX for name in PACKAGED)


def load(name: str, split: str = "train") -> Dataset:
    """A packaged set ("digits", "mnist", "fashion") or its binarised variant ("fashion_binary", ...).

    Raises:
      ValueError: for an unknown name or split; the message lists what there is.
    """
    check_known("data set", name, names())
    check_known("split", split, SPLITS)
    file = resources.files("metatrain.data") / f"{name.removesuffix(BINARY_SUFFIX)}.npz"
    with file.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int32)
    if name.endswith(BINARY_SUFFIX):
        images = np.where(images > 127, np.uint8(255), np.uint8(0))
    start, stop = (round(share * len(images)) for share in SPLITS[split])
    return Dataset(images[start:stop], labels[start:stop])


def stack(datasets: list[Dataset]) -> StackedDatasets:
    """Pads with zeros to the longest set; `sizes` says where each one ends."""
    if not datasets:
        raise ValueError("at least one data set is needed")
    longest = max(len(d.labels) for d in datasets)
    images = np.zeros((len(datasets), longest, NUM_PIXELS), np.uint8)
    labels = np.zeros((len(datasets), longest), np.int32)
    for i, dataset in enumerate(datasets):
        images[i, : len(dataset.labels)] = dataset.images
        labels[i, : len(dataset.labels)] = dataset.labels
    return StackedDatasets(images, labels, np.asarray([len(d.labels) for d in datasets], np.int32))
