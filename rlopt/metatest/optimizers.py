"""What the supervised suite compares, ready to be made: its optimizer, the rates to try, the name of its results."""

import hashlib
import json
import re
from typing import Any, NamedTuple

import jax.numpy as jnp

import celo2
from agents import OptimizerFactory
from rlopt.metatest.config import SuiteConfig
from rlopt.metatest.trials import RATE, Trial, draws
from rlopt.optimizers import catalog, factory
from rlopt.optimizers.arms import Arm

# Half powers of ten from 1e-6 to 10.
LEARNING_RATES = tuple(10.0 ** (exponent / 2) for exponent in range(-12, 3))
PUBLISHED_RATE = 1e-3
# Options that came after cells were written, as they were then: so they change no file's name.
_LATER = {"scheduler": True}


class Contestant(NamedTuple):
    """factory: makes the optimizer, (learning_rate, num_steps) -> optimizer; the rate may be traced.

    rates: to choose from on each task; None: it takes none.
    file: part of the name of its cells' files, another one for other options, weights, forms or rates.
    form: of a learned rule, as its card has it.
    trials: what its rates are the numbers of, where more than the rate is tried.
    """

    factory: OptimizerFactory
    rates: tuple[float | None, ...]
    file: str
    form: dict[str, Any] | None = None
    trials: tuple[Trial, ...] = ()


def contestants(config: SuiteConfig) -> dict[str, Contestant]:
    """By name, in the order of the tables: learned rules, then hand-designed optimizers.

    Raises:
      ValueError: for unknown names or options, or weights of another rule.
      FileNotFoundError: for weights that are not there.
    """
    compared = config.arms
    factory.check_settings(compared.values(), config.options, config.theta)
    return {name: _contestant(arm, config) for name, arm in compared.items()}


def _contestant(arm: Arm, config: SuiteConfig) -> Contestant:
    settings = factory.own_settings(arm, config.options, config.theta)
    name, theta, options = settings["optimizer"], settings["theta"], settings["options"]
    # The objective of such a task never changes: optimizers that start anew with the next one never do.
    number = config.trials.get(arm.name, config.trials.get(arm.optimizer))
    drawn = () if number is None else draws(name, options, number)
    searched = [setting for setting in (drawn[0] if drawn else {}) if setting != RATE]
    made = factory.make(name, theta, options, updates_per_target=config.length, traced=searched)
    info = factory.look_up(name)
    weights = factory.load_weights(name, theta) if info.learned else None
    form = factory.form_of(name, theta, options)
    rates = _rates(config.rates.get(arm.name, config.rates.get(arm.optimizer)), info, weights, config)
    if drawn:
        rates = tuple(map(float, range(len(drawn))))
    told = {**info.defaults, **{key: info.read(key, value) for key, value in options.items() if info.options}}
    identity = {
        "options": {key: x for key, x in told.items() if key not in _LATER or x != _LATER[key]},
        "given": options if not info.options else {},
        "theta": factory.theta_sha256(name, theta),
        "form": form,
        "rates": rates,
        **({"trials": drawn} if drawn else {}),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    # Of one with a schedule its own steps, whole by default: what agents make of them (`presets.share`) is for RL.
    share = identity["options"].get(catalog.SHARE)
    make = (lambda _, num_updates: made(share, num_updates)) if info.scheduled else made
    if drawn:
        make = _by_number(made, drawn)
    return Contestant(make, rates, f"{re.sub('[^A-Za-z0-9._-]', '_', name)}-{digest}", form, drawn)


def _by_number(made: OptimizerFactory, drawn: tuple[Trial, ...]) -> OptimizerFactory:
    """The factory that takes, in place of a rate, the number of a trial, which may be traced."""

    def make(number: Any, num_updates: int) -> Any:
        place = jnp.asarray(number).astype(jnp.int32)
        values = {name: jnp.asarray([trial[name] for trial in drawn], jnp.float32)[place] for name in drawn[0]}
        return made(values.pop(RATE), num_updates, **values)

    return make


def _rates(
    given: float | None, info: catalog.OptimizerInfo, weights: celo2.Weights | None, config: SuiteConfig
) -> tuple[float | None, ...]:
    if info.scheduled:
        return (None,)
    if given is not None:
        return (given,)
    if weights is not None and not config.tune_learned:
        return (validated_rate(weights),)
    return LEARNING_RATES


def validated_rate(weights: celo2.Weights) -> float:
    """The rate at which a rule is tried on all tasks: the one that meta-validation found best for its weights.

    Where the card says none (version 1 of meta-validation), 1e-3, the rate of the published recipe.
    """
    try:
        return float(weights.card["validation"]["learning_rate"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return PUBLISHED_RATE
