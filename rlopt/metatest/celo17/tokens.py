"""Texts as token numbers below 32,000: the user's own files, or a generated one that stands in.

A text NAME of a folder is NAME.txt (UTF-8), NAME.npy (token numbers) or NAME.npz (token numbers `tokens`).
"""

import collections
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celo2.files import read_limited, size_of
from metatrain import npz
from rlopt.metatest.celo17 import arrays
from rlopt.metatest.celo17.images import MADE_UP, STAND_IN, TEST_SHARE

VOCABULARY = 32_000
UNKNOWN = 0
# So that the last tenth has windows of the longest sequence to draw from.
FEWEST = 1_000
TEXT_LIMIT = 1 << 30
_WORDS = re.compile(r"\w+|[^\w\s]")
_ENDINGS = (".txt", ".npy", ".npz")
# Of the generated texts: seeds, and how often a word is followed by one of its own eight successors.
_STAND_INS = {"lm1b": (0, 0.6), "wikipedia": (1, 0.75)}
NAMES = tuple(_STAND_INS)
_CHAINS, _LENGTH, _SUCCESSORS = 1000, 2000, 8


class Text(NamedTuple):
    """Token numbers, int32 [N] to train and [M] to test on; source: what the text is."""

    train: np.ndarray
    test: np.ndarray
    source: str

    def digest(self) -> str:
        """Of both arrays; stand-ins are the same for everybody and need none."""
        return MADE_UP if self.source.startswith(STAND_IN) else arrays.digest(self.train, self.test)


def available(folder: Path) -> tuple[str, ...]:
    """Names of the texts that a folder has."""
    return tuple(name for name in NAMES if _files(folder, name))


def _files(folder: Path, name: str) -> list[Path]:
    return [path for ending in _ENDINGS if (path := folder / f"{name}{ending}").exists()]


def load(name: str, folder: Path | None = None) -> Text:
    """A text by name: from the folder, if it has it, or else its stand-in. The last tenth is to test on.

    Raises:
      ValueError: naming the file, for two files of one name, damaged ones, fewer than 1,000 tokens, or token numbers
        that are none below 32,000.
    """
    files = [] if folder is None else _files(folder, name)
    if not files:
        return stand_in(name)
    if len(files) > 1:
        raise ValueError(f"{folder} has {' and '.join(path.name for path in files)}: keep one of them")
    (path,) = files
    if path.suffix == ".txt":
        train, test, known = _numbered(path)
        return Text(train, test, f"{name}, from {path.name}, its {known:,} most frequent words")
    tokens = _npy(path) if path.suffix == ".npy" else npz.read(path, ("tokens",))["tokens"]
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ValueError(f"{path}: tokens must be whole numbers [N], got {tokens.dtype} {list(tokens.shape)}")
    _check_length(path, len(tokens))
    if not 0 <= tokens.min() <= tokens.max() < VOCABULARY:
        raise ValueError(f"{path}: tokens must be 0 to {VOCABULARY - 1:,}, got {tokens.min()} to {tokens.max()}")
    return Text(*_split(tokens.astype(np.int32)), f"{name}, from {path.name}")


def _check_length(path: Path, length: int) -> None:
    if length < FEWEST:
        raise ValueError(f"{path} has {length} tokens; at least {FEWEST:,} are needed")


def _split(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = len(tokens) - round(TEST_SHARE * len(tokens))
    return tokens[:kept], tokens[kept:]


def _npy(path: Path) -> np.ndarray:
    if (size := size_of(path)) > npz.LIMIT:
        raise ValueError(f"{path} has {size:,} bytes; at most {npz.LIMIT:,} are read")
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except Exception as error:  # foreign bytes raise many types
        raise ValueError(f"{path} is not a npy file of numbers: {error}") from error


def _numbered(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Words and signs as numbers, by how often they come in what is trained on; all others are 0.

    Returns:
      tokens to train and to test on, and how many different ones have a number of their own.
    """
    try:
        text = read_limited(path, TEXT_LIMIT).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    words = _WORDS.findall(text)
    _check_length(path, len(words))
    kept = len(words) - round(TEST_SHARE * len(words))
    counted = collections.Counter(words[:kept])
    # Equally frequent ones in the order of the alphabet, so that numbers depend on nothing but the text.
    ranked = sorted(counted, key=lambda word: (-counted[word], word))[: VOCABULARY - 1]
    number = {word: i for i, word in enumerate(ranked, UNKNOWN + 1)}
    tokens = np.asarray([number.get(word, UNKNOWN) for word in words], np.int32)
    return tokens[:kept], tokens[kept:], len(ranked)


def stand_in(name: str) -> Text:
    """A generated text: words as frequent as Zipf's law has it, many of them after one of eight of their own.

    There is something to learn for a table of word pairs, and nothing beyond that: no grammar.
    """
    seed, share = _STAND_INS[name]
    rng = np.random.default_rng(seed)
    total = np.cumsum(1 / (np.arange(VOCABULARY) + 2.7))

    def words(*shape: int) -> np.ndarray:
        return np.searchsorted(total, rng.random(shape) * total[-1]).astype(np.int32)

    successors = words(VOCABULARY, _SUCCESSORS)
    chains = words(_LENGTH, _CHAINS)
    which = np.minimum(rng.geometric(0.4, chains.shape) - 1, _SUCCESSORS - 1)
    follows = rng.random(chains.shape) < share
    for t in range(1, _LENGTH):
        chains[t] = np.where(follows[t], successors[chains[t - 1], which[t]], chains[t])
    about = f"generated, {_CHAINS * _LENGTH:,} words by Zipf's law, {share:.0%} after one of eight of their own"
    return Text(*_split(chains.T.ravel()), STAND_IN + about)
