"""Image sets from files: every format, the published reduction to 8x8, and what is wrong with bad files."""

import gzip
import pickle
import struct

import numpy as np
import pytest
import scipy.io

from metatrain import datasets, image_files

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.uint8) % 10


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, compress=gzip.compress, images=GREY, labels=LABELS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(compress(idx(images)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(compress(idx(labels)))


def colour_rows():
    return COLOUR.transpose(0, 3, 1, 2).reshape(30, -1)


def write_cifar_binary(folder):
    folder.mkdir()
    records = np.concatenate([LABELS[:, None], colour_rows()], axis=1)
    (folder / "data_batch_1.bin").write_bytes(records[:20].tobytes())
    (folder / "data_batch_2.bin").write_bytes(records[20:].tobytes())


def write_cifar_python(folder, protocol=2):
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    for i, part in enumerate((slice(0, 20), slice(20, 30)), start=1):
        batch = {
            b"batch_label": b"training batch",
            b"labels": LABELS[part].tolist(),
            b"data": colour_rows()[part],
            b"filenames": [b"a.png"] * 5,
        }
        (folder / "cifar-10-batches-py" / f"data_batch_{i}").write_bytes(pickle.dumps(batch, protocol=protocol))


def write_svhn(folder):
    folder.mkdir()
    labels = np.where(LABELS == 0, 10, LABELS)[:, None]
    scipy.io.savemat(folder / "train_32x32.mat", {"X": COLOUR.transpose(1, 2, 3, 0), "y": labels})


def write_npz(folder):
    np.savez(folder.with_suffix(".npz"), images=COLOUR, labels=LABELS)


def expected_colour():
    """32 -> 8 without antialiasing is the mean of the 2x2 pixels at 4i+1 and 4i+2, then of the colours."""
    picked = [COLOUR[:, a::4, b::4].astype(np.float64) for a in (1, 2) for b in (1, 2)]
    return (sum(picked) / 4).mean(-1).reshape(30, 64)


@pytest.mark.parametrize("write", [write_cifar_binary, write_cifar_python, write_svhn, write_npz])
def test_colour_sets_become_the_mean_of_four_pixels_and_three_colours(tmp_path, write):
    write(tmp_path / "own")
    images, labels = image_files.load(tmp_path, "own")
    np.testing.assert_allclose(images, expected_colour(), rtol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
def test_cifars_python_version_is_read_whatever_its_protocol(tmp_path, protocol):
    write_cifar_python(tmp_path / "own", protocol)
    np.testing.assert_array_equal(image_files.load(tmp_path, "own")[1], LABELS)


def test_more_labels_than_pickle_writes_at_once_are_all_read(tmp_path):
    labels = RNG.integers(0, 10, 2500)
    pixels = np.zeros((2500, 3072), np.uint8)
    (tmp_path / "own").mkdir()
    batch = {b"labels": labels.tolist(), b"data": pixels, b"filenames": [b"a.png"] * 2500}
    (tmp_path / "own" / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    np.testing.assert_array_equal(image_files.load(tmp_path, "own")[1], labels)


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_idx_sets_are_sampled_at_the_published_points(tmp_path, compress):
    write_idx(tmp_path / "mnist", compress)
    images, labels = image_files.load(tmp_path, "mnist")
    np.testing.assert_array_equal(labels, LABELS)
    # 28 -> 8 samples at 3.5 i + 1.25: pixel (0, 0) between rows and columns 1 and 2, three quarters of the way to 1.
    g = GREY.astype(np.float64)
    top = 0.75 * g[:, 1, 1] + 0.25 * g[:, 1, 2]
    bottom = 0.75 * g[:, 2, 1] + 0.25 * g[:, 2, 2]
    np.testing.assert_allclose(images[:, 0], 0.75 * top + 0.25 * bottom, rtol=1e-6)


def test_own_files_go_before_packaged_sets_keep_their_order_and_take_variants(tmp_path):
    write_idx(tmp_path / "mnist")
    plain = datasets.load("mnist", data_dir=tmp_path)
    assert plain.images.shape == (24, 64)
    assert plain.images.dtype == np.float32
    inverted = datasets.load("mnist_inverted", data_dir=tmp_path)
    np.testing.assert_allclose(inverted.images, 255 - plain.images)
    stacked = datasets.stack([plain, datasets.load("digits", data_dir=tmp_path)])
    assert stacked.images.dtype == np.float32


def test_sets_of_ones_own_may_have_underscores_and_are_shuffled_before_they_are_split(tmp_path):
    np.savez(tmp_path / "my_set.npz", images=GREY, labels=np.sort(LABELS))
    parts = [datasets.load("my_set_inverted", split, tmp_path) for split in datasets.SPLITS]
    assert [len(part.labels) for part in parts] == [24, 3, 3]
    assert sorted(np.concatenate([part.labels for part in parts])) == sorted(LABELS)
    assert len(set(parts[0].labels)) > 8


def test_a_fingerprint_follows_the_content(tmp_path):
    write_idx(tmp_path / "mnist")
    before = image_files.fingerprint(tmp_path, "mnist")
    assert before == image_files.fingerprint(tmp_path, "mnist")
    write_idx(tmp_path / "mnist", labels=LABELS[::-1])
    assert before != image_files.fingerprint(tmp_path, "mnist")


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def truncated_gzip(folder):
    write_idx(folder)
    cut(folder / "train-images-idx3-ubyte.gz")


def truncated_idx(folder):
    write_idx(folder, bytes)
    cut(folder / "train-images-idx3-ubyte.gz")


def another_format(folder):
    write_idx(folder, lambda data: b"%PDF-1.4 " + data)


def fewer_labels(folder):
    write_idx(folder, labels=LABELS[:-1])


def labels_too_large(folder):
    write_idx(folder, labels=LABELS + 1)


def no_labels(folder):
    write_idx(folder)
    (folder / "train-labels-idx1-ubyte.gz").unlink()


def truncated_binary(folder):
    write_cifar_binary(folder)
    cut(folder / "data_batch_2.bin")


def truncated_python(folder):
    write_cifar_python(folder)
    cut(folder / "cifar-10-batches-py" / "data_batch_2")


def truncated_mat(folder):
    write_svhn(folder)
    cut(folder / "train_32x32.mat")


def truncated_npz(folder):
    write_npz(folder)
    cut(folder.with_suffix(".npz"))


def empty_folder(folder):
    folder.mkdir()


def pixels_up_to_one(folder):
    np.savez(folder.with_suffix(".npz"), images=GREY / 255, labels=LABELS)


def pixels_not_finite(folder):
    images = GREY.astype(np.float32)
    images[3, 4, 5] = np.nan
    np.savez(folder.with_suffix(".npz"), images=images, labels=LABELS)


def no_square(folder):
    np.savez(folder.with_suffix(".npz"), images=GREY.reshape(30, -1)[:, 1:], labels=LABELS)


def labels_one_hot(folder):
    np.savez(folder.with_suffix(".npz"), images=GREY, labels=np.eye(10, dtype=np.int64)[LABELS])


def labels_in_words(folder):
    np.savez(folder.with_suffix(".npz"), images=GREY, labels=LABELS.astype(str))


def a_single_array(folder):
    with folder.with_suffix(".npz").open("wb") as file:
        np.save(file, GREY)


def damaged_gzip(folder):
    write_idx(folder)
    path = folder / "train-images-idx3-ubyte.gz"
    data = path.read_bytes()
    path.write_bytes(data[:40] + b"\xff" * 40 + data[80:])


def no_numbers(folder):
    np.savez(folder.with_suffix(".npz"), images=GREY.astype(str), labels=LABELS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated_gzip, "damaged or truncated gzip"),
        (truncated_idx, "should have 23536 bytes .* but has 23486"),
        (another_format, "not an IDX file of bytes"),
        (fewer_labels, "30 images but 29 labels"),
        (labels_too_large, r"labels must be integers in 0\.\.9, got 1\.\.10"),
        (no_labels, "no train-labels-idx1-ubyte beside it"),
        (truncated_binary, "no multiple of 3073"),
        (truncated_python, "not a complete CIFAR-10 batch|do not make a CIFAR-10 batch"),
        (truncated_mat, "not a complete MATLAB file"),
        (truncated_npz, "should be an npz file"),
        (empty_folder, "no known image files"),
        (pixels_up_to_one, r"pixels must lie in 0\.\.255 \(and not all in 0\.\.1\), got 0\.\.1"),
        (pixels_not_finite, r"pixels must lie in 0\.\.255 .* got nan\.\.nan"),
        (no_square, r"own\.npz: 783 pixels per image are no square"),
        (no_numbers, r"own\.npz .*: images must be numbers"),
        (labels_one_hot, r"labels must be one integer per image, got int64 of shape \(30, 10\)"),
        (labels_in_words, r"labels must be numbers, got <U\d+"),
        (a_single_array, "should be an npz file"),
        (damaged_gzip, "damaged or truncated gzip"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, damage, message):
    damage(tmp_path / "own")
    with pytest.raises(ValueError, match=message):
        image_files.load(tmp_path, "own")


@pytest.mark.parametrize("write", [write_cifar_binary, write_cifar_python])
def test_a_part_of_cifar10_is_refused(tmp_path, write):
    write(tmp_path / "cifar10")
    with pytest.raises(ValueError, match="lacks CIFAR-10's data_batch_3, data_batch_4, data_batch_5"):
        image_files.load(tmp_path, "cifar10")


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_missing_sets_say_what_to_fetch_and_where_to_put_it(tmp_path, name):
    with pytest.raises(ValueError, match=rf"put .*http.* into .*{name}"):
        datasets.load(name, data_dir=tmp_path)


class Trap:
    def __reduce__(self):
        return (open, ("trapped", "w"))


def test_a_pickle_that_would_run_code_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "data_batch_1").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(ValueError, match="do not make a CIFAR-10 batch"):
        image_files.load(tmp_path, "own")
    assert not (tmp_path / "trapped").exists()
