"""What the supervised suite compares: hand-designed optimizers, each tuned per task, and learned rules, untuned."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optax

import celo2
from celo2 import checks
from celo2.form import PUBLISHED, to_card
from celo2.names import check_known
from rlopt.catalog import OPTIMIZERS
from rlopt.optimizers import load_weights
from rlopt.rules import fan_in_by_fan_out
from rlopt.theta import sha256

# (learning_rate, num_steps) -> optimizer; the rate may be traced.
Factory = Callable[[Any, int], optax.GradientTransformationExtraArgs]
# Half powers of ten from 1e-6 to 10.
LEARNING_RATES = tuple(10.0 ** (exponent / 2) for exponent in range(-12, 3))
REFERENCE = "adam"
PUBLISHED_RATE = 1e-3


def _muon(learning_rate: Any) -> optax.GradientTransformation:
    """Muon on hidden matrices and AdamW elsewhere, routed as `celo2.celo2` does."""
    muon = optax.chain(
        optax.contrib.scale_by_muon(weight_dimension_numbers=fan_in_by_fan_out),
        optax.scale_by_learning_rate(learning_rate),
    )
    return optax.partition({"rule": muon, "adam": optax.adamw(learning_rate)}, celo2.matrix_labels)


_HAND_DESIGNED: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamw": lambda rate: optax.adamw(rate, weight_decay=1e-2),
    "nadam": optax.nadam,
    "radam": optax.radam,
    "adabelief": optax.adabelief,
    "rmsprop": lambda rate: optax.rmsprop(rate, decay=0.99),
    "adagrad": optax.adagrad,
    "sgd": optax.sgd,
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "lion": optax.lion,
    "lamb": optax.lamb,
    "muon": _muon,
}
HAND_DESIGNED = tuple(_HAND_DESIGNED)

_LEARNED: dict[str, Callable[[Any, Any, int], optax.GradientTransformation]] = {
    "celo2": lambda theta, rate, steps: celo2.celo2(rate, theta=theta),
    "celo2_base": lambda theta, rate, steps: celo2.celo2_base(rate, theta=theta),
    "celo": lambda theta, rate, steps: celo2.celo(steps, theta),
    "celo_adam": lambda theta, rate, steps: celo2.celo_adam(steps, theta),
}
LEARNED = tuple(_LEARNED)
# Rules with a schedule of their own ignore the rate.
SELF_SCHEDULED = tuple(name for name in _LEARNED if OPTIMIZERS[name].scheduled)


def hand_designed(name: str) -> Factory:
    """A hand-designed optimizer by name; ValueError for an unknown one."""
    check_known("optimizer", name, HAND_DESIGNED)
    return lambda rate, steps: optax.with_extra_args_support(_HAND_DESIGNED[name](rate))


def learned(name: str, theta: Path | None = None) -> tuple[Factory, celo2.Weights]:
    """A learned rule by name, and its weights in their form: the packaged ones, or those of a file.

    Raises:
      ValueError: for an unknown name, or weights of another rule.
    """
    check_known("learned rule", name, LEARNED)
    weights = load_weights(name, theta)
    checks.check_theta(weights.theta, name.removesuffix("_base"))
    return lambda rate, steps: optax.with_extra_args_support(_LEARNED[name](weights, rate, steps)), weights


def learning_rate(name: str, weights: celo2.Weights) -> float:
    """The rate at which a rule is tried on all tasks: the one that meta-validation found best for its weights.

    Where the card says none (version 1 of meta-validation), 1e-3, the rate of the published recipe.
    """
    try:
        return float(weights.card["validation"]["learning_rate"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return PUBLISHED_RATE


def tag(weights: celo2.Weights) -> str:
    """What tells weights and form from others in file names."""
    digest = sha256(weights.theta)[:8]
    if weights.form == PUBLISHED:
        return digest
    return f"{digest}-{hashlib.sha256(json.dumps(to_card(weights.form)).encode()).hexdigest()[:8]}"
