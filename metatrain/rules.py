"""The learned rules as meta-training runs them.

Celo2: constant step size, the published Adam branch for biases. Celo: the update first (phase 1, without schedule),
then the schedule on top of it (phase 2), or both at once (an ablation). The baselines: all of theta, as published.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import celo2
from celo2 import Theta, rule_celo, scale_by_celo2
from celo2.baselines import thetas
from celo2.form import PUBLISHED, Form
from celo2.labels import ADAM, RULE, path_name
from celo2.names import check_known
from metatrain.config import BASELINES, Inner, MetaTrainConfig

STEP_MULT = 0.001
# Of steps that have Adam's size or a signal-to-noise ratio for theirs, which are smaller than 1.
SIZED_STEP_MULT = 0.003
MULT_1D = 20.0
ADAM_B1 = 0.9
ADAM_B2 = 0.95
ADAM_EPS = 1e-8
SIZED_ADAM_B2, SIZED_ADAM_EPS = 0.999, 1e-5
DEFAULT = Inner()


class Rule(NamedTuple):
    """What meta-training needs of a learned rule.

    init_theta(key) -> theta. optimizer(theta, num_steps) -> an optax transformation whose updates are added;
    num_steps (int32, may be traced) is the length of the unroll, for rules with a schedule.
    trained: top-level keys of theta that meta-training changes; the rest is frozen. rates: multiples of its step size
    among which a user would choose; 1 alone for rules with a schedule. step_mult: the step size, where it is a learning
    rate.
    """

    init_theta: Callable[[jax.Array], Theta]
    optimizer: Callable[[Theta, jax.Array], optax.GradientTransformationExtraArgs]
    trained: tuple[str, ...]
    rates: tuple[float, ...] = (1.0,)
    step_mult: float | None = None

    def split(self, theta: Theta) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parts of theta that are trained and that are frozen."""
        trained = {name: part for name, part in theta.items() if name in self.trained}
        return trained, {name: part for name, part in theta.items() if name not in self.trained}


class _MomentsState(NamedTuple):
    m: Any
    v: Any


def _scale_by_uncorrected_adam(b2: float) -> optax.GradientTransformation:
    """M * rsqrt(v + eps) without bias correction: the Adam of the published meta-training, not the textbook one."""

    def init_fn(params: Any) -> _MomentsState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _MomentsState(zeros, zeros)

    def update_fn(updates: Any, state: _MomentsState, params: Any = None) -> tuple[Any, _MomentsState]:
        del params
        m = jax.tree.map(lambda m, g: ADAM_B1 * m + (1 - ADAM_B1) * g, state.m, updates)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.v, updates)
        return jax.tree.map(lambda m, v: m * jax.lax.rsqrt(v + ADAM_EPS), m, v), _MomentsState(m, v)

    return optax.GradientTransformation(init_fn, update_fn)


def inner_celo2(
    theta: Theta,
    orthogonalize: bool,
    inner: Inner = DEFAULT,
    form: Form = PUBLISHED,
) -> optax.GradientTransformationExtraArgs:
    """Params <- params - step_mult * (step + weight_decay * params).

    With orthogonalize (celo2), tensors whose slash-joined name matches "/b$" take the Adam branch at 20 times
    the step; without (celo2_base) every tensor takes the learned rule. With another size than "unit", the biases of
    both take a textbook Adam at the same rate, as in RL. The step: 0.001, with another size than "unit" 0.003. inner:
    other settings than these.
    """
    sized = form.size != "unit"
    step_mult = _step_mult(inner, form)

    def scaled(rule: optax.GradientTransformation, step: float) -> optax.GradientTransformationExtraArgs:
        # An empty decay would still add a pass over the parameters to every inner step.
        decay = [optax.add_decayed_weights(inner.weight_decay)] if inner.weight_decay else []
        return optax.chain(rule, *decay, optax.scale(-step))

    learned = scaled(scale_by_celo2(celo2.Weights(theta, form), orthogonalize), step_mult)
    if not (orthogonalize or sized):
        return learned
    default_b2, default_mult = (SIZED_ADAM_B2, 1.0) if sized else (ADAM_B2, MULT_1D)
    b2 = default_b2 if inner.adam_b2 is None else inner.adam_b2
    direction = optax.scale_by_adam(b2=b2, eps=SIZED_ADAM_EPS) if sized else _scale_by_uncorrected_adam(b2)
    adam = scaled(direction, (default_mult if inner.mult_1d is None else inner.mult_1d) * step_mult)

    def labels(params: Any) -> Any:
        return jax.tree.map_with_path(
            lambda path, _: ADAM if re.search(inner.regex_1d, "/" + path_name(path)) else RULE, params
        )

    return optax.partition({RULE: learned, ADAM: adam}, labels)


UPDATE = ("ff_mod_stack",)
SCHEDULE = ("lstm_init_state", "rnn_params")
TUNABLE = (1.0, 3.0, 10.0, 30.0)
SIZED_TUNABLE = (0.3, 1.0, 3.0, 10.0)


def _step_mult(inner: Inner, form: Form) -> float:
    default = STEP_MULT if form.size == "unit" else SIZED_STEP_MULT
    return default if inner.step_mult is None else inner.step_mult


def _celo2_rule(form: Form, inner: Inner, orthogonalize: bool) -> Rule:
    def optimizer(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
        return inner_celo2(theta, orthogonalize, inner, form)

    tunable = TUNABLE if form.size == "unit" else SIZED_TUNABLE
    return Rule(partial(celo2.init_theta, "celo2"), optimizer, UPDATE, tunable, _step_mult(inner, form))


def _celo_rule(form: Form, inner: Inner, use_scheduler: bool) -> Rule:
    del inner
    sized_update = form.size != "unit" and not use_scheduler

    def optimizer(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
        weights = celo2.Weights(theta, form)
        rule = celo2.celo(num_steps, weights, use_scheduler=use_scheduler, still_without_gradient=False)
        # At the rate at which the update of Celo2 is trained.
        return optax.chain(rule, optax.scale(SIZED_STEP_MULT / rule_celo.SIZED_STEP_MULT)) if sized_update else rule

    init_theta = partial(celo2.init_theta, "celo")
    if use_scheduler:
        return Rule(init_theta, optimizer, SCHEDULE)
    return Rule(init_theta, optimizer, UPDATE, SIZED_TUNABLE if sized_update else TUNABLE)


def _celo_adam_rule(form: Form, inner: Inner) -> Rule:
    del inner

    def optimizer(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
        return celo2.celo_adam(num_steps, celo2.Weights(theta, form))

    return Rule(partial(celo2.init_theta, "celo_adam"), optimizer, SCHEDULE)


def _baseline_rule(name: str) -> Rule:
    def optimizer(theta: Theta, num_steps: Any) -> optax.GradientTransformationExtraArgs:
        return celo2.velo(num_steps, theta) if name == "velo" else getattr(celo2, name)(theta)

    trained = dict.fromkeys(path[0] for path in thetas.BASELINES[name].shapes())
    return Rule(partial(celo2.init_theta, name), optimizer, tuple(trained))


RULES: dict[str, Callable[[Form, Inner], Rule]] = {
    "celo2": partial(_celo2_rule, orthogonalize=True),
    "celo2_base": partial(_celo2_rule, orthogonalize=False),
    "celo_phase1": partial(_celo_rule, use_scheduler=False),
    "celo": partial(_celo_rule, use_scheduler=True),
    "celo_adam": _celo_adam_rule,
    **{name: lambda form, inner, name=name: _baseline_rule(name) for name in BASELINES},  # type: ignore[misc]
}


def get(name: str, form: Form = PUBLISHED, inner: Inner = DEFAULT) -> Rule:
    """A rule by name, in a form; inner: settings of celo2's and celo2_base's inner optimizer.

    Raises:
      ValueError: for an unknown name; the message lists what there is, closest first.
    """
    check_known("rule", name, RULES)
    return RULES[name](form, inner)


def of(config: MetaTrainConfig) -> Rule:
    """The rule of a configuration, with what it starts from and which parts of it are trained."""
    rule = get(config.rule, config.form, config.inner)
    if config.one_phase:
        rule = rule._replace(trained=(*UPDATE, *SCHEDULE))
    if config.tensor_features:
        rule = rule._replace(init_theta=partial(celo2.init_theta, config.rule, tensor_features=True))
    return rule
