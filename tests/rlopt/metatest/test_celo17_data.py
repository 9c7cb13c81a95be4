"""Data of the Celo paper's tasks: files of the user, good and bad, and the stand-ins."""

import io
import struct

import numpy as np
import pytest

from helpers import by_default
from rlopt.metatest.celo17 import images, tasks, tokens

RNG = np.random.default_rng(0)


def pictures(count, *shape):
    return RNG.integers(0, 256, (count, *shape)).astype(np.uint8)


def labels(count, classes=10):
    return (np.arange(count) % classes).astype(np.int64)


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_an_npz_file_as_keras_names_it(tmp_path):
    x, y = pictures(30, 28, 28), labels(30)
    np.savez(tmp_path / "mnist.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    found = images.load("mnist", tmp_path)
    np.testing.assert_array_equal(found.train_images[..., 0], x[:20])
    np.testing.assert_array_equal(found.test_labels, y[20:])
    assert found.train_labels.dtype == np.int32
    assert found.source == "mnist, from mnist.npz"


def test_without_test_images_a_tenth_is_held_out(tmp_path):
    x, y = pictures(50, 32, 32, 3), labels(50)[:, None]
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y)
    found = images.load("cifar10", tmp_path)
    assert (len(found.train_labels), len(found.test_labels)) == (45, 5)
    there = {image.tobytes() for image in (*found.train_images, *found.test_images)}
    assert there == {image.tobytes() for image in x}
    for image, label in zip(found.test_images, found.test_labels, strict=True):
        assert label == y[next(i for i in range(50) if np.array_equal(x[i], image)), 0]


def test_files_as_they_are_distributed(tmp_path):
    for name in ("fashion_mnist", "cifar10", "cifar100"):
        (tmp_path / name).mkdir()
    for head, count in (("train", 6), ("t10k", 4)):
        (tmp_path / "fashion_mnist" / f"{head}-images-idx3-ubyte").write_bytes(idx(pictures(count, 28, 28)))
        (tmp_path / "fashion_mnist" / f"{head}-labels-idx1-ubyte").write_bytes(idx(labels(count).astype(np.uint8)))
    found = images.load("fashion_mnist", tmp_path)
    assert found.train_images.shape == (6, 28, 28, 1)
    np.testing.assert_array_equal(found.test_labels, [0, 1, 2, 3])

    record = np.zeros(3073, np.uint8)
    record[0], record[1], record[1 + 1024 + 33] = 7, 250, 99  # label; first red pixel; green at row 1, column 1
    for number in range(1, 6):
        (tmp_path / "cifar10" / f"data_batch_{number}.bin").write_bytes(record.tobytes() * number)
    (tmp_path / "cifar10" / "test_batch.bin").write_bytes(record.tobytes() * 2)
    found = images.load("cifar10", tmp_path)
    assert (len(found.train_labels), len(found.test_labels)) == (15, 2)
    assert set(found.train_labels) == {7}
    assert found.train_images[0, 0, 0, 0] == 250
    assert found.train_images[0, 1, 1, 1] == 99

    for name in ("train", "test"):
        (tmp_path / "cifar100" / f"{name}.bin").write_bytes(bytes((3, 42)) + bytes(3072))
    assert images.load("cifar100", tmp_path).train_labels == [42]  # the fine one of the two


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("mnist", {"x_train": pictures(5, 27, 28), "y_train": labels(5)}, r"uint8 \[N, 28, 28, 1\], got uint8 \[5, 27"),
        ("mnist", {"x_train": np.ones((5, 28, 28)), "y_train": labels(5)}, "images must be uint8 .* got float64"),
        ("mnist", {"x_train": pictures(5, 28, 28), "y_train": labels(4)}, "5 images but 4 labels"),
        ("mnist", {"x_train": pictures(5, 28, 28), "y_train": labels(5) + 6}, "labels must be 0 to 9, got 6 to 10"),
        ("mnist", {"x_train": pictures(5, 28, 28), "y_train": np.ones(5)}, "labels must be whole numbers"),
        ("mnist", {"images": pictures(5, 28, 28)}, "must hold x_train and y_train .* got images"),
        ("mnist", {"x_train": pictures(5, 28, 28)}, "should be an npz file with x_train and y_train"),
        ("mnist", {"x_train": pictures(0, 28, 28), "y_train": labels(0)}, "no images to train or to test on"),
        ("cifar100", {"x_train": pictures(5, 32, 32, 3), "y_train": labels(5) - 1}, "labels must be 0 to 99, got -1"),
    ],
)
def test_bad_image_arrays_are_refused(tmp_path, name, arrays, message):
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(ValueError, match=rf"{name}\.npz.*{message}"):
        images.load(name, tmp_path)


def test_bad_image_files_are_refused(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"no archive at all")
    with pytest.raises(ValueError, match=r"mnist\.npz is not an npz file"):
        images.load("mnist", tmp_path)
    for name in ("cifar10", "fashion_mnist"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="must hold the binary version of cifar10: data_batch_"):
        images.load("cifar10", tmp_path)
    for number in range(1, 6):
        (tmp_path / "cifar10" / f"data_batch_{number}.bin").write_bytes(bytes(3072))
    (tmp_path / "cifar10" / "test_batch.bin").write_bytes(bytes(3073))
    with pytest.raises(ValueError, match=r"data_batch_1\.bin has 3,072 bytes, no multiple of 3,073"):
        images.load("cifar10", tmp_path)
    with pytest.raises(ValueError, match="must hold train-images-idx3-ubyte and train-labels-idx1-ubyte"):
        images.load("fashion_mnist", tmp_path)


def test_a_folder_must_be_there_and_have_something(tmp_path):
    with pytest.raises(ValueError, match="data: there is no folder"):
        tasks.make(("LOpt_AdafacMLPLOpt_FashionMnist_50",), tmp_path / "missing")
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="has none of the sets mnist, fashion_mnist, cifar10, cifar100, lm1b, wiki"):
        tasks.make(("LOpt_AdafacMLPLOpt_FashionMnist_50",), tmp_path)


def test_words_are_numbered_by_how_often_they_come(tmp_path):
    text = "b a. " * 300 + "a c a " * 100  # a: 500, b: 300, ".": 300, c: 100, of 1,200 tokens
    (tmp_path / "lm1b.txt").write_text(text)
    found = tokens.load("lm1b", tmp_path)
    assert (len(found.train), len(found.test)) == (1080, 120)
    # In the first 1,080: "a" 420 times, "." and "b" 300 times, in the order of the alphabet.
    assert found.train[:3].tolist() == [3, 1, 2]
    assert found.test[:3].tolist() == [1, 4, 1]
    assert found.source == "lm1b, from lm1b.txt, its 4 most frequent words"
    (tmp_path / "lm1b.txt").write_text(text.replace("c", "c") + " never " * 60)
    assert tokens.load("lm1b", tmp_path).test[-1] == tokens.UNKNOWN, "what only the test part has is unknown"


def test_no_more_words_than_the_vocabulary_has(tmp_path):
    (tmp_path / "wikipedia.txt").write_text(" ".join(f"w{i}" for i in range(40_000)))
    found = tokens.load("wikipedia", tmp_path)
    assert found.train.max() == tokens.VOCABULARY - 1
    assert len(set(found.train.tolist())) == tokens.VOCABULARY


def test_token_numbers_as_arrays(tmp_path):
    numbers = RNG.integers(0, 32_000, 2000)
    np.save(tmp_path / "lm1b.npy", numbers)
    np.savez(tmp_path / "wikipedia.npz", tokens=numbers.astype(np.uint16))
    for name in ("lm1b", "wikipedia"):
        found = tokens.load(name, tmp_path)
        np.testing.assert_array_equal(np.concatenate([found.train, found.test]), numbers)
        assert (found.train.dtype, len(found.test)) == (np.int32, 200)


def objects():
    buffer = io.BytesIO()
    np.save(buffer, np.asarray([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("lm1b.txt", b"\xff\xfe broken", "lm1b.txt is not UTF-8"),
        ("lm1b.txt", b"too few words", "lm1b.txt has 3 tokens; at least 1,000 are needed"),
        ("lm1b.npy", b"no array", "lm1b.npy is not a npy file of numbers"),
        ("lm1b.npy", objects(), "lm1b.npy is not a npy file of numbers"),
        ("lm1b.npy", np.full(2000, 32_000), r"tokens must be 0 to 31,999, got 32000 to 32000"),
        ("lm1b.npy", np.full(2000, -1), "tokens must be 0 to 31,999, got -1"),
        ("lm1b.npy", np.ones(2000), r"tokens must be whole numbers \[N\], got float64"),
        ("lm1b.npy", np.ones((100, 20), int), r"tokens must be whole numbers \[N\], got int64 \[100, 20\]"),
        ("lm1b.npy", np.ones(20, int), "has 20 tokens"),
        ("lm1b.npz", b"no archive", "should be an npz file with tokens"),
    ],
)
def test_bad_texts_are_refused(tmp_path, file, content, message):
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    else:
        np.save(tmp_path / file, content)
    with pytest.raises(ValueError, match=message):
        tokens.load("lm1b", tmp_path)


def test_two_texts_of_one_name_are_refused(tmp_path):
    (tmp_path / "lm1b.txt").write_text("a " * 2000)
    np.save(tmp_path / "lm1b.npy", np.ones(2000, int))
    with pytest.raises(ValueError, match=r"has lm1b\.txt and lm1b\.npy: keep one of them"):
        tokens.load("lm1b", tmp_path)


def test_texts_are_read_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "TEXT_LIMIT", 100)
    (tmp_path / "lm1b.txt").write_text("a " * 2000)
    with pytest.raises(ValueError, match="has 4,000 bytes; at most 100 are read"):
        tokens.load("lm1b", tmp_path)


@pytest.mark.parametrize("name", by_default(["mnist", "cifar100"], "mnist"))
def test_images_that_stand_in_have_the_shapes_and_say_so(name):
    found = images.load(name)
    kind = images.KINDS[name]
    assert found.train_images.shape[1:] == (kind.side, kind.side, kind.channels)
    assert found.train_images.dtype == np.uint8
    assert len(found.train_labels) == 9 * len(found.test_labels) > 4000
    assert set(found.train_labels.tolist()) == set(range(kind.classes))
    assert found.source.startswith("stand-in: packaged ")
    # Neither nothing nor noise: pixels vary, and the mean pictures of classes differ by more than chance.
    assert found.train_images.std() > 30
    means = [found.train_images[found.train_labels == c].mean(axis=0) for c in (0, kind.classes - 1)]
    assert np.abs(means[0] - means[1]).max() > 30


def test_enlarging_keeps_plain_images_and_ramps():
    matrix = images._enlarging(32)
    assert matrix.shape == (64, 1024)
    np.testing.assert_allclose(np.ones(64) @ matrix, 1, atol=1e-6)
    ramp = (np.tile(np.arange(8.0), (8, 1)).ravel() @ matrix).reshape(32, 32)
    # Pixel centres: the fourfold ramp, level beyond the outermost centres.
    np.testing.assert_allclose(ramp[5], np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7), atol=1e-5)


def test_the_text_that_stands_in_is_fixed_and_half_of_it_can_be_foreseen():
    found = tokens.load("lm1b")
    assert (len(found.train), len(found.test)) == (1_800_000, 200_000)
    assert 0 <= found.train.min() <= found.train.max() < tokens.VOCABULARY
    assert found.source.startswith("stand-in: generated, 2,000,000 words")
    # Zipf's law: the first word of the order comes about 1 / (2.7 ln 32,000) of the time.
    assert 0.02 < np.mean(found.train == 0) < 0.1
    # A frequent word's eight successors make up the share that was asked for, and what comes there by chance.
    after = found.train[1:][found.train[:-1] == 50]
    counts = np.sort(np.bincount(after))[::-1] / len(after)
    assert 0.6 <= counts[:8].sum() < 0.85
    assert found.digest() == images.stand_in("mnist").digest() == "stand-in", (
        "names of results have no hash to wait for"
    )
