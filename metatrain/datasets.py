"""Image sets for the inner tasks: 8x8 grey images with ten classes, stacked so that one program serves them all."""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celo2.names import check_known
from metatrain import image_files

NUM_PIXELS = 64
NUM_CLASSES = image_files.NUM_CLASSES
PACKAGED = ("digits", "mnist", "fashion")
# Harder problems on the same images. "noisy" keeps the loss from falling to zero, as natural images do at this size;
# "inverted" is bright, hence badly conditioned; "binary" has lost most of its grey values.
VARIANTS = ("binary", "inverted", "noisy")
NOISE = 0.5
_NOISE_SEED = 0
_ORDER_SEED = 0
# Shares of the images, as in the published recipe: 80 % to learn on, 10 % to choose, 10 % to judge. The packaged
# sets and those of the user are in random order; the four published ones keep that of their files, as in the paper.
SPLITS = {"train": (0.0, 0.8), "inner_valid": (0.8, 0.9), "outer_valid": (0.9, 1.0)}


class Dataset(NamedTuple):
    """images: uint8 or float32 [N, 64], in 0..255; labels: int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


class StackedDatasets(NamedTuple):
    """F sets padded to the longest: images [F, N, 64] (uint8 if all are), labels int32 [F, N], sizes int32 [F]."""

    images: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray


def names() -> tuple[str, ...]:
    """The packaged sets and their variants, one variant at a time; `load` takes several, in any order."""
    return PACKAGED + tuple(f"{name}_{variant}" for name in PACKAGED for variant in VARIANTS)


def base_name(name: str, data_dir: Path | None = None) -> str:
    """The name of the set without its variants; names of the user's sets may have underscores themselves."""
    own = () if data_dir is None else image_files.available(data_dir)
    fitting = [found for found in own if f"{name}_".startswith(f"{found}_")]
    return max(fitting, key=len, default=name.split("_")[0])


def load(name: str, split: str = "train", data_dir: Path | None = None) -> Dataset:
    """A packaged set ("digits", "mnist", "fashion") or a variant of it ("fashion_binary", "mnist_inverted_noisy").

    A set found in data_dir goes before a packaged one of the same name; see `image_files.load`. Unless it is one of the
    published four, its images are shuffled (always in the same way), so that sets sorted by label are split fairly.

    Variants: "binary", pixels above half the range are white, the others black; "inverted", 255 minus the pixel;
    "noisy", every label is, with probability 0.5, replaced by a random one (once and for all).

    Raises:
      ValueError: for an unknown name or split (the message lists what there is), or files that cannot be read.
    """
    check_known("split", split, SPLITS)
    own = () if data_dir is None else image_files.available(data_dir)
    base = base_name(name, data_dir)
    variants = name.removeprefix(base).split("_")[1:]
    if base not in own and base not in PACKAGED and base in image_files.DOWNLOADS:
        where = f"{data_dir or 'DATA'}/{base}" + ("" if data_dir else " and say --data-dir DATA")
        raise ValueError(f"no image set {base!r}: put {image_files.DOWNLOADS[base]} into {where}")
    if base not in own + PACKAGED or any(variant not in VARIANTS for variant in variants):
        check_known("data set", name, own + names())
    if data_dir is not None and base in own:
        images, labels = image_files.load(data_dir, base)
        if base not in image_files.DOWNLOADS:
            order = np.random.default_rng(_ORDER_SEED).permutation(len(labels))
            images, labels = images[order], labels[order]
    else:
        file = resources.files("metatrain.data") / f"{base}.npz"
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"].astype(np.int32)
    for variant in variants:
        if variant == "binary":
            images = np.where(images > 127, np.uint8(255), np.uint8(0))
        elif variant == "inverted":
            images = 255 - images
        else:
            rng = np.random.default_rng(_NOISE_SEED)
            random_labels = rng.integers(0, NUM_CLASSES, len(labels), dtype=np.int32)
            labels = np.where(rng.random(len(labels)) < NOISE, random_labels, labels)
    start, stop = (round(share * len(images)) for share in SPLITS[split])
    return Dataset(images[start:stop], labels[start:stop])


def stack(datasets: list[Dataset]) -> StackedDatasets:
    """Pads with zeros to the longest set; `sizes` says where each one ends."""
    if not datasets:
        raise ValueError("at least one data set is needed")
    longest = max(len(d.labels) for d in datasets)
    dtype = np.result_type(*(d.images for d in datasets))
    images = np.zeros((len(datasets), longest, NUM_PIXELS), dtype)
    labels = np.zeros((len(datasets), longest), np.int32)
    for i, dataset in enumerate(datasets):
        images[i, : len(dataset.labels)] = dataset.images
        labels[i, : len(dataset.labels)] = dataset.labels
    return StackedDatasets(images, labels, np.asarray([len(d.labels) for d in datasets], np.int32))
