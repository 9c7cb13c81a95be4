"""Reading and writing theta: the published formats, and the weights that ship with this package."""

import os
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from celo2 import checks
from celo2.baselines import flat
from celo2.files import parse_json, read_json, read_limited, write_atomic
from celo2.form import PUBLISHED, Form, from_card
from celo2.names import check_known

_WEIGHTS = "celo2.weights"
_SUFFIX, _CARD = ".theta", ".json"
# Files of the public VeLO hold these three, the weights under the first.
_WRAPPED = {"params", "gen_id", "step"}
# The largest published theta, VeLO's, has 10 MB.
MAX_BYTES = 16 << 20


class Weights(NamedTuple):
    """Weights with the form that they were trained in.

    Attributes:
      theta: the tree.
      form: see `Form`.
      card: how they were made, {} where nothing is known.
      name: as it was asked for them.
    """

    theta: Any
    form: Form = PUBLISHED
    card: dict[str, Any] = {}  # noqa: RUF012  # never changed
    name: str = "given as a tree"


# What an optimizer takes as its weights: a tree (in the published form), a name or a path (in that of the card).
ThetaLike = Any


def load_theta(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Weights as a bare tree: those that ship with this package, by name, or those of a file, published or ours.

    A bare tree is taken to be in the published form: give an optimizer the name or path itself, or what `load_weights`
    returns, and it uses the weights in the form that they were trained in.

    Args:
      source: a name among `packaged_weights()`, or else the path of a theta file of any rule: celo2, celo, celo-adam or
        a baseline; of OPEN a published vector (`.npy`) too.

    Returns:
      theta: a nested dict of float32 NumPy arrays in the published tree.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for an unknown name; the message lists the known ones, closest first. For a file that is no theta, is
        cut short or too large, or holds another tree, shape or non-finite numbers.
    """
    return load_weights(source).theta


# The published name.
load_checkpoint = load_theta


def _parse(data: bytes, origin: str) -> dict[str, Any]:
    try:
        theta = flat.parse(data) if flat.is_vector(data) else flax.serialization.msgpack_restore(data)
    except Exception as error:  # msgpack raises many types for foreign or truncated bytes
        if flat.is_vector(data):
            raise ValueError(f"{origin}: {error}") from error
        raise ValueError(f"{origin}: not a flax-msgpack theta file, or cut short ({error})") from error
    if isinstance(theta, dict) and set(theta) == _WRAPPED:
        theta = theta["params"]
    try:
        checks.check_theta(theta)
        with np.errstate(over="ignore"):
            theta = jax.tree.map(lambda x: np.asarray(x, np.float32), theta)
        checks.check_theta(theta)  # again: float64 may hold what is infinite in float32
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error
    return theta


def save_checkpoint(path: str | os.PathLike[str], theta: Any) -> None:
    """Writes theta so that both `load_checkpoint` and the published loader read it.

    The file appears whole or not at all: it is written beside its place and then renamed.

    Raises:
      ValueError: if theta is not a complete, finite theta of a known rule.
    """
    checks.check_theta(theta)
    data = flax.serialization.to_bytes(jax.tree.map(lambda x: np.asarray(x, np.float32), dict(theta)))
    write_atomic(path, data)


def packaged_weights() -> list[str]:
    """Names of the weights that ship with this package."""
    files = resources.files(_WEIGHTS).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def load_weights(source: ThetaLike) -> Weights:
    """Weights in the form that they were trained in.

    Args:
      source: the name of packaged weights, or else the path of a theta file: the card beside it (`NAME.json`) says the
        form. Or a tree, which is in the published form. Or `Weights`, which stay as they are.

    Raises:
      FileNotFoundError, ValueError: as `load_theta`; ValueError also for a tree that is no theta, and for a card that
        is damaged or records a form that this version does not know.
    """
    if isinstance(source, Weights):
        return source
    if not isinstance(source, str | os.PathLike):
        checks.rule_of(source)
        return Weights(source)
    name = os.fspath(source)
    card: dict[str, Any] = {}
    if name in packaged_weights():
        theta = _parse((resources.files(_WEIGHTS) / f"{name}{_SUFFIX}").read_bytes(), name)
        beside = resources.files(_WEIGHTS) / f"{name}{_CARD}"
        if beside.is_file():
            card = parse_json(beside.read_bytes())
    else:
        if name == Path(name).stem and not Path(name).exists():  # a name, not a path
            check_known("packaged weights", name, packaged_weights())
        theta = _parse(read_limited(name, MAX_BYTES), name)
        path = Path(name).with_suffix(_CARD)
        if path.is_file() and path != Path(name):
            card = read_json(path)
    try:
        return Weights(theta, from_card(card), card, name)
    except ValueError as error:
        raise ValueError(f"the card of {name}: {error}") from error
