"""What is in a theta file."""

import hashlib
from typing import Any, NamedTuple

import flax.serialization
import numpy as np

import celo2
from celo2 import checks
from celo2.baselines.thetas import BASELINES
from celo2.form import to_card
from rlopt import escape


class Loaded(NamedTuple):
    """theta: the weights. rule: of `celo2.checks.RULES`. name: as given. card: {} if there is none.

    form: the one that the card records, or else the published one.
    """

    theta: dict[str, Any]
    rule: str
    name: str
    card: dict[str, Any]
    form: celo2.Form


def load(source: str) -> Loaded:
    """Packaged weights by name, or a theta file, with the card beside it.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for an unknown name, for what is no theta of a known rule, or if the card is damaged.
    """
    found = celo2.load_weights(source)
    return Loaded(found.theta, checks.rule_of(found.theta), source, found.card, found.form)


def sha256(theta: Any) -> str:
    """The hash of a theta's file, as its card gives it."""
    return hashlib.sha256(flax.serialization.to_bytes(theta)).hexdigest()


def info(loaded: Loaded, probed: str = "") -> str:
    """Rule, numbers, hash, size of every part, form, what was found out by trying the rule, and the card, as text."""
    paths = checks.flatten_paths(loaded.theta)
    sizes: dict[str, list[int]] = {}
    for path, value in paths.items():
        sizes.setdefault("/".join(path[:2]), []).append(value.size)
    norm = float(np.sqrt(sum(np.sum(np.square(x)) for x in paths.values())))
    digest = sha256(loaded.theta)
    form = ", ".join(f"{name} {value}" for name, value in to_card(loaded.form).items())
    theirs = loaded.card.get("sha256", digest)
    lines = [
        f"{loaded.name}: theta of {loaded.rule}, {sum(x.size for x in paths.values()):,} numbers, norm {norm:.4g}",
        f"sha256 {digest}",
        *([] if theirs == digest else [f"the card beside it is of other weights, sha256 {theirs}"]),
        *(f"  {name:28} {sum(parts):7,} numbers in {len(parts)} arrays" for name, parts in sorted(sizes.items())),
        *([f"form: {form}"] if loaded.rule not in BASELINES else []),
        *probed.splitlines(),
        "card:" if loaded.card else "no card beside it",
        *(f"  {key}: {_short(key, value)}" for key, value in loaded.card.items() if key != "config"),
    ]
    return "\n".join(escape.terminal(line.replace("\n", "\\n")) for line in lines)


def _short(key: str, value: Any) -> Any:
    """An entry of a card in one line; of a long curve its ends, of returns the score over all environments."""
    if key == "loss_curve" and value:
        try:
            ends = [f"{point['loss']:.4g} at iteration {point['iteration']:,}" for point in (value[0], value[-1])]
        except (KeyError, TypeError, ValueError, OverflowError):  # a card of somebody else's
            return value
        return " to ".join(ends)
    if key == "returns":
        try:
            score = "{:.2f} [{:.2f}, {:.2f}]".format(*value["score"])
            environments = ", ".join(value["environments"])
            return f"score {score} (adam 1) after {value['steps']:,} steps of {environments}, {value['seeds']} seeds"
        except (KeyError, TypeError, ValueError, OverflowError, IndexError):
            return value
    return value
