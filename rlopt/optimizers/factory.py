"""Optimizers by name, made for agents: (learning_rate, num_updates, **options) -> optax optimizer."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import celo2
from agents import OptimizerFactory
from celo2 import checks
from celo2.form import to_card
from celo2.names import check_known
from envs import own_code
from rlopt.optimizers import catalog, heads, routed, schedules
from rlopt.optimizers.arms import Arm, check_options
from rlopt.optimizers.theta import sha256


def look_up(name: str) -> catalog.OptimizerInfo:
    """What the catalog knows of an optimizer; ValueError for an unknown name."""
    info = catalog.find(name)
    if info is None:
        check_known("optimizer", name, catalog.OPTIMIZERS)
        raise AssertionError(name)
    return info


def make(
    name: str,
    theta: Path | None = None,
    options: Mapping[str, Any] | None = None,
    updates_per_target: int = 1,
    traced: Collection[str] = (),
    epochs_per_target: int = 1,
) -> OptimizerFactory:
    """A factory by name.

    Args:
      name: of the catalog, or `module:function`, called as function(learning_rate, **options); see
        `catalog.OptimizerInfo` for what else it may ask for.
      theta: a weight file in place of the packaged weights (learned rules only).
      options: in place of the catalog's.
      updates_per_target: updates of the agent until its objective changes.
      epochs_per_target: passes over the data of one objective.
      traced: names of options that the factory will be given as traced scalars (`rlopt.training.trials`).

    Raises:
      ValueError: for an unknown name or option, a theta given to a rule without weights, a foreign theta file, or a
        function that cannot be imported or makes no optax optimizer.
    """
    info = look_up(name)
    options = dict(options or {})
    own = name in catalog.OPTIMIZERS
    if own:
        for option, value in options.items():
            check_known(f"option of {name}", option, (*info.options, *catalog.SHARED))
            try:
                options[option] = info.read(option, value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    shared = {option: options.pop(option) for option in catalog.SHARED if own and option in options}
    if theta is not None and not info.learned:
        raise ValueError(f"optimizer {name!r} has no weights to load from {theta}")
    function = _import(info.factory)
    asked = inspect.signature(function).parameters
    # The share comes as the learning rate of others does.
    keywords = {name: value for name, value in {**info.defaults, **options}.items() if name != catalog.SHARE or not own}
    if info.learned:
        keywords["theta"] = weights = load_weights(name, theta)
        checks.check_theta(weights.theta, info.rule)
        _check_form(name, weights, keywords)

    def factory(learning_rate: Any, num_updates: int, **traced: Any) -> optax.GradientTransformation:
        told = {
            "num_updates": num_updates,
            "updates_per_target": updates_per_target,
            "epochs_per_target": epochs_per_target,
        }
        with own_code.current_folder():
            settings = {**keywords, **traced, **{word: told[word] for word in told if word in asked}}
            made = function(learning_rate, **settings)
        return made if own else _with_name(name, made)

    if not own:
        _check_made(name, functools.partial(factory, 1e-3, 100))
        if traced:
            _check_traced(name, factory, traced, asked)
    made = factory
    if heads.OPTION in shared:
        made = headed(made, _head_weights(shared[heads.OPTION]))
    if {*shared} & {*catalog.SCHEDULE}:
        made = schedules.scheduled(made, shared.get("schedule", "constant"), shared.get("warmup", 0.0))
    return made


def headed(factory: OptimizerFactory, weights: Any) -> OptimizerFactory:
    """The factory of an optimizer whose steps, those at a rate of 1, are multiplied by a head and then by the rate.

    weights: float [len(celo2.STEP_FEATURES)], may be traced; see `celo2.scale_by_step_head`.
    """

    def make(learning_rate: Any, num_updates: int, **traced: Any) -> optax.GradientTransformation:
        head = celo2.scale_by_step_head(weights, num_updates)
        return optax.chain(factory(1.0, num_updates, **traced), head, optax.scale(learning_rate))

    return make


def _head_weights(weights: Mapping[str, float]) -> np.ndarray:
    """In the order of the features; ValueError for one that there is not."""
    for name in weights:
        check_known("feature of a head", name, celo2.STEP_FEATURES)
    return np.asarray([weights.get(name, 0.0) for name in celo2.STEP_FEATURES], np.float32)


def option_names(name: str) -> tuple[str, ...]:
    """The options that an optimizer takes; of a user's function, all its named parameters but the first.

    Raises:
      ValueError: for an unknown name, or a function that cannot be imported.
    """
    info = look_up(name)
    if name in catalog.OPTIMIZERS:
        return (*info.options, *catalog.SHARED)
    return tuple(inspect.signature(_import(info.factory)).parameters)[1:]


def own_settings(arm: Arm, options: Mapping[str, float | str], theta: Mapping[str, Path]) -> dict[str, Any]:
    """An arm's part of what was given for several: `optimizer`, `arm`, `options` and `theta` of its configuration.

    theta: by arm, or else by optimizer.

    Raises:
      ValueError: as `option_names`.
    """
    takes = option_names(arm.optimizer)
    shared = {key: value for key, value in options.items() if key in takes}
    return {
        "optimizer": arm.optimizer,
        "arm": None if arm.name == arm.optimizer else arm.name,
        "options": {**shared, **arm.options},
        "theta": theta.get(arm.name, theta.get(arm.optimizer)),
    }


def check_settings(arms: Collection[Arm], options: Mapping[str, float | str], theta: Mapping[str, Path]) -> None:
    """Refuses options and weights that would be of none of several optimizers; ValueError."""
    check_options(options)
    optimizers = [arm.optimizer for arm in arms]
    names = {*optimizers, *(arm.name for arm in arms)}
    taken = list(dict.fromkeys(option for name in optimizers for option in option_names(name)))
    among = ", ".join(dict.fromkeys(arm.name for arm in arms))
    for option in options:
        if option not in taken:
            raise ValueError(f"none of {among} has an option {option!r}; there are {', '.join(taken) or 'none'}")
    for name in theta:
        if name not in names:
            raise ValueError(f"theta was given for {name!r}, which is not compared; there are {among}")


def theta_sha256(name: str, theta: Path | None = None) -> str | None:
    """SHA-256 of the weights that `make` would use, as on their card; None for a rule without weights."""
    if not look_up(name).learned:
        return None
    return sha256(load_weights(name, theta).theta)


def form_of(name: str, theta: Path | None, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The form in which `make` would use the weights, as cards have it; None for a rule without weights."""
    info = look_up(name)
    if not info.learned:
        return None
    given = {part: info.read(part, value) for part, value in options.items() if part in ("odd", "size")}
    return to_card(load_weights(name, theta).form.changed(**routed.explicit_form(**given)))


def load_weights(name: str, theta: Path | None) -> celo2.Weights:
    """The weights of a learned rule, in the form that their card records.

    Args:
      name: of the optimizer, whose packaged weights they are where theta is None.
      theta: a file, or the name of other packaged weights.

    Raises:
      ValueError: where theta is None and no weights are packaged.
    """
    info = look_up(name)
    source = info.weights if theta is None else theta
    if source is None:
        meta_trained = "" if info.told else f", from `rlopt metatrain {info.rule}` or"
        raise ValueError(
            f"{name} has no packaged weights: give a file with --theta (in comparisons: --theta {name} FILE)"
            f"{meta_trained} as published"
        )
    return celo2.load_weights(source)


def _check_form(name: str, weights: celo2.Weights, options: Mapping[str, Any]) -> None:
    """Refuses steps of unit size where a rate made for Adam's would be used: they would be some ten times too long."""
    if "routing" in options and options["size"] == catalog.CARD and weights.form.size == "unit":
        raise ValueError(
            f"the weights {weights.name} have no card that says that their steps have Adam's size, which {name} needs "
            "at Adam's rate: give them that size (--options odd true size adam), or use them as they are (--options "
            f"size unit multiplier 5, at a rate of their own; the usage of the paper is {name}_published)"
        )


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        found = own_code.imported(module, name)
    except Exception as error:  # a user's own module may raise anything
        raise ValueError(f"cannot import the optimizer {path!r}: {error}") from error
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the optimizer {path!r} must be a function with named parameters: {error}") from error
    return found


def _with_name(name: str, made: Any) -> Any:
    """A user's optimizer whose faults say that they are its own; ValueError from what it raises."""
    if not isinstance(made, optax.GradientTransformation):
        return made  # refused by `_check_made`

    def told(function: Callable[..., Any], what: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*arguments: Any, **more: Any) -> Any:
            try:
                return function(*arguments, **more)
            except Exception as error:
                raise ValueError(f"{what} of the optimizer {name!r} fails: {error!r:.500}") from error

        return called

    return made._replace(init=told(made.init, "the init"), update=told(made.update, "an update"))


def _check_traced(name: str, factory: OptimizerFactory, traced: Collection[str], asked: Collection[str]) -> None:
    """Refuses options that a user's function does not take, or that it cannot take as traced numbers."""
    for option in traced:
        check_known(f"option of {name}", option, list(asked)[1:])

    def make(values: Mapping[str, Any]) -> Any:
        return factory(1e-3, 100, **values).init({"kernel": jnp.zeros((2, 2))})

    try:
        jax.eval_shape(make, dict.fromkeys(traced, jnp.float32(0.5)))
    except jax.errors.ConcretizationTypeError as error:
        raise ValueError(
            f"{name!r} compares or branches on {' or '.join(traced)} in Python, so that trials cannot differ in it"
        ) from error


def _check_made(name: str, make: Callable[[], Any]) -> None:
    """Refuses a user's function that cannot be called so, or makes something else."""
    try:
        made = make()
    except Exception as error:
        raise ValueError(f"cannot make an optimizer from {name!r}: {error}") from error
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"{name!r} makes a {type(made).__name__}, not an optax optimizer")
