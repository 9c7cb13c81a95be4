"""The tasks by the paper's names: network, data, batch size, loss."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from celo2.names import check_known
from metatrain import datasets
from rlopt.metatest.celo17 import images, learning, networks, tokens
from rlopt.metatest.config import CELO17_TASKS
from rlopt.metatest.task import Samplers, Task, cross_entropy, of_network
from rlopt.metatest.tasks import Dense

# To be raised with every change of a task, a stand-in, or an optimizer: results of two versions do not mix.
VERSION = 1
# Runs per device and call: of these tasks, one fills a processor, and a run to fill up a call would take hours.
ALONE = 1


class _Data(NamedTuple):
    """By name: image sets, texts, and digests of either, each made once."""

    images: Callable[[str], images.ImageSet]
    text: Callable[[str], tokens.Text]
    digest: Callable[[str], str]


Make = Callable[[str, _Data], Task]


def make(names: Sequence[str], folder: Path | None = None) -> dict[str, Task]:
    """Tasks by name.

    folder: with data sets of the user; what it lacks is made up.

    Raises:
      ValueError: for unknown names, a folder that is none or has none of the sets, or files that cannot be read.
    """
    for name in names:
        check_known("task", name, CELO17_TASKS)
    if folder is not None:
        if not folder.is_dir():
            raise ValueError(f"data: there is no folder {folder}")
        if not (*images.available(folder), *tokens.available(folder)):
            known = ", ".join((*images.KINDS, *tokens.NAMES))
            raise ValueError(f"data: {folder} has none of the sets {known}; docs/metatest.md says what files they are")
    pictures, text = cache(partial(images.load, folder=folder)), cache(partial(tokens.load, folder=folder))
    data = _Data(pictures, text, cache(lambda name: (pictures if name in images.KINDS else text)(name).digest()))
    return {name: _MAKERS[name](name, data) for name in names}


def _batch(
    side: str, batch_size: int, key: jax.Array, sets: dict[str, tuple[jax.Array, jax.Array]]
) -> tuple[jax.Array, jax.Array]:
    pictures, labels = sets[side]
    rows = jax.random.randint(key, (batch_size,), 0, len(labels))
    return pictures[rows].astype(jnp.float32) / 255, labels[rows]


def _same(side: str, batch_size: int, key: jax.Array, sets: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    pictures, _ = _batch(side, batch_size, key, sets)
    flat = pictures.reshape(batch_size, -1)
    return flat, flat


def _arrays(found: images.ImageSet) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"train": (found.train_images, found.train_labels), "test": (found.test_images, found.test_labels)}


class _Flat(nn.Module):
    """Dense layers on flattened images."""

    dense: Dense

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(x.reshape(len(x), -1))


def _classifier(set_name: str, about: str, network: Callable[[int], nn.Module]) -> Make:
    def made(name: str, data: _Data) -> Task:
        found = data.images(set_name)
        samplers = Samplers(partial(_batch, "train", 128), partial(_batch, "test", 128))
        return of_network(
            name,
            f"{about}, batch 128",
            network(images.KINDS[set_name].classes),
            samplers,
            cross_entropy,
            arrays=_arrays(found),
            source=found.source,
            digest=data.digest(set_name),
            side_by_side=ALONE,
        )

    return made


def _autoencoder(set_name: str, batch_size: int) -> Make:
    def made(name: str, data: _Data) -> Task:
        found = data.images(set_name)
        pixels = int(np.prod(found.train_images.shape[1:]))
        samplers = Samplers(partial(_same, "train", batch_size), partial(_same, "test", batch_size))
        return of_network(
            name,
            f"{pixels}-128-32-128-{pixels}, ReLU, sigmoid, squared error, batch {batch_size}",
            Dense((128, 32, 128), pixels),
            samplers,
            lambda outputs, targets: jnp.mean(jnp.square(jax.nn.sigmoid(outputs) - targets)),
            arrays=_arrays(found),
            source=found.source,
            digest=data.digest(set_name),
            side_by_side=ALONE,
        )

    return made


def _windows(
    batch_size: int, length: int, side: str, key: jax.Array, texts: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    text = texts[side]
    starts = jax.random.randint(key, (batch_size, 1), 0, len(text) - length)
    window = text[starts + jnp.arange(length + 1)]
    return window[:, :-1], window[:, 1:]


def token_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross-entropy, without a second array as large as the logits, which may have half a gigabyte."""
    chosen = jnp.where(jnp.arange(logits.shape[-1]) == targets[..., None], logits, 0)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.sum(chosen, axis=-1))


def _language(text_name: str, about: str, network: nn.Module, batch_size: int, length: int) -> Make:
    def made(name: str, data: _Data) -> Task:
        found = data.text(text_name)
        draw = partial(_windows, batch_size, length)
        samplers = Samplers(partial(draw, "train"), partial(draw, "test"))
        return of_network(
            name,
            f"{about}, {length} tokens, batch {batch_size}",
            network,
            samplers,
            token_loss,
            arrays={"train": found.train, "test": found.test},
            source=found.source,
            digest=data.digest(text_name),
            side_by_side=ALONE,
        )

    return made


def _transformer(layers: int, heads: int, width: int, batch_size: int, length: int) -> Make:
    about = f"transformer, {layers} layer{'s' if layers > 1 else ''} of width {width}, {heads} heads"
    network = networks.TransformerLM(tokens.VOCABULARY, width, layers, heads)
    return _language("lm1b", about, network, batch_size, length)


def _lstm(text_name: str) -> Make:
    network = networks.LSTMLM(tokens.VOCABULARY)
    return _language(text_name, "LSTM of 256 on embeddings of 128", network, 128, 32)


def _learned(name: str, data: _Data) -> Task:
    del data
    parts = (datasets.load("fashion", "train"), datasets.load("fashion", "outer_valid"))
    return Task(
        name,
        "Adafac-MLP's weights; it trains 64-32-10, ReLU, for 50 steps of batch 128; two problems, evolution strategies",
        learning.init,
        lambda key, sets: learning.sample(key, sets["train"]),
        learning.loss,
        lambda key, sets: learning.sample(key, sets["test"]),
        arrays={side: (part.images, part.labels) for side, part in zip(("train", "test"), parts, strict=True)},
        source="packaged Fashion-MNIST, 8x8",
        side_by_side=ALONE,
    )


def _cnn(norm: Any, classes: int) -> nn.Module:
    return networks.Convolutional(classes, norm)


def _vit(layers: int, heads: int, width: int) -> Make:
    about = f"vision transformer, {layers} layers of width {width}, {heads} heads, 16x16 patches"
    network = partial(networks.VisionTransformer, width=width, layers=layers, heads=heads)
    return _classifier("cifar100", about, network)


_CNN = "3x3 convolutions of 32, 64, 64, ReLU"
_MAKERS: dict[str, Make] = dict(
    zip(
        CELO17_TASKS,
        (
            _classifier("fashion_mnist", "784-128-128-10, ReLU", lambda n: _Flat(Dense((128,) * 2, n))),
            _classifier(
                "cifar10", "3072-128-128-128-10, layer norm, ReLU", lambda n: _Flat(Dense((128,) * 3, n, norm=True))
            ),
            _classifier("cifar10", "3072-128-128-128-10, tanh", lambda n: _Flat(Dense((128,) * 3, n, nn.tanh))),
            _classifier("cifar10", _CNN, partial(_cnn, "none")),
            _classifier("cifar10", f"{_CNN}, batch norm", partial(_cnn, "batch")),
            _classifier("cifar10", f"{_CNN}, layer norm", partial(_cnn, "layer")),
            _classifier("cifar100", _CNN, partial(_cnn, "none")),
            _vit(layers=6, heads=6, width=384),
            _vit(layers=10, heads=4, width=128),
            _transformer(layers=1, heads=5, width=20, batch_size=4, length=8),
            _transformer(layers=2, heads=4, width=32, batch_size=8, length=8),
            _transformer(layers=1, heads=4, width=32, batch_size=8, length=32),
            _autoencoder("cifar10", 256),
            _autoencoder("mnist", 128),
            _lstm("lm1b"),
            _lstm("wikipedia"),
            _learned,
        ),
        strict=True,
    )
)
