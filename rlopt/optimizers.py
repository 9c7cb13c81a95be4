"""The optimizers that a run can name. Each is made for agents: (learning_rate, num_updates) -> optax optimizer.

"Routed" means: hidden matrices get the named rule; input layers, output heads and tensors below rank 2 get Adam at
`ROUTED_MULTIPLIER` times the rate. Routing alone changes results in RL, so a learned rule is to be compared with
hand-designed rules under the same routing.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

import celo2
from agents import OptimizerFactory
from celo2 import checks
from celo2.labels import ADAM, RULE
from celo2.names import check_known
from rlopt.catalog import OPTIMIZERS
from rlopt.theta import sha256

ADAM_EPS = 1e-5
ROUTED_MULTIPLIER = 5.0


def make(name: str, theta: Path | None = None) -> OptimizerFactory:
    """A factory by name; theta: a weight file in place of the packaged weights (learned rules only).

    Raises:
      ValueError: for an unknown name, a theta given to a rule without weights, or a foreign theta file.
    """
    check_known("optimizer", name, OPTIMIZERS)
    if theta is not None and not OPTIMIZERS[name].learned:
        raise ValueError(f"optimizer {name!r} has no weights to load from {theta}")
    if name in _SCHEDULED:
        return _scheduled(name, load_weights(name, theta))
    if OPTIMIZERS[name].learned:
        return learned(load_weights(name, theta), orthogonalize=name == "celo2")
    return _HAND_DESIGNED[name]


def theta_sha256(name: str, theta: Path | None = None) -> str | None:
    """SHA-256 of the weights that `make` would use, as on their card; None for a rule without weights."""
    if not OPTIMIZERS[name].learned:
        return None
    return sha256(load_weights(name, theta))


def load_weights(name: str, theta: Path | None) -> Any:
    """The weights of a learned rule: those of a file, or the packaged ones."""
    return celo2.load_theta(name) if theta is None else celo2.load_checkpoint(theta)


def _adam(learning_rate: Any, num_updates: int) -> optax.GradientTransformation:
    del num_updates
    return optax.adam(learning_rate, eps=ADAM_EPS)


def _adamw(learning_rate: Any, num_updates: int) -> optax.GradientTransformation:
    del num_updates
    return optax.adamw(learning_rate, eps=ADAM_EPS, weight_decay=1e-2)


def _rmsprop(learning_rate: Any, num_updates: int) -> optax.GradientTransformation:
    del num_updates
    return optax.rmsprop(learning_rate, decay=0.99, eps=ADAM_EPS)


def _routed(
    hidden: optax.GradientTransformation, learning_rate: Any, multiplier: float = ROUTED_MULTIPLIER
) -> optax.GradientTransformation:
    fast = optax.adam(multiplier * learning_rate, eps=ADAM_EPS)
    return optax.partition({RULE: hidden, ADAM: fast}, celo2.hidden_matrix_labels)


def _adam_routed(learning_rate: Any, num_updates: int) -> optax.GradientTransformation:
    del num_updates
    return _routed(optax.adam(learning_rate, eps=ADAM_EPS), learning_rate)


def _to_unit_rms() -> optax.GradientTransformation:
    """Scales every tensor's update to a root mean square of 1, as the learned rules do with theirs."""

    def normalise(update: jax.Array) -> jax.Array:
        return update * jax.lax.rsqrt(jnp.mean(jnp.square(update)) + 1e-9)

    return optax.stateless(lambda updates, params: jax.tree.map(normalise, updates))


def fan_in_by_fan_out(params: Any) -> Any:
    """Every tensor as a matrix: all axes but the last against the last (kernels are [..., in, out])."""

    def axes(x: jax.Array) -> optax.contrib.MuonDimensionNumbers:
        return optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1)

    return jax.tree.map(axes, params)


def _muon_routed(learning_rate: Any, num_updates: int) -> optax.GradientTransformation:
    del num_updates
    muon = optax.contrib.scale_by_muon(weight_dimension_numbers=fan_in_by_fan_out)
    return _routed(optax.chain(muon, _to_unit_rms(), optax.scale_by_learning_rate(learning_rate)), learning_rate)


def learned(theta: Any, orthogonalize: bool, multiplier: float = ROUTED_MULTIPLIER) -> OptimizerFactory:
    """Celo2's rule on hidden matrices, Adam elsewhere.

    Args:
      theta: weights of the rule. orthogonalize: Celo2 (True) or Celo2-base.
      multiplier: Adam's rate over that of the rule.
    """

    def factory(learning_rate: Any, num_updates: int) -> optax.GradientTransformation:
        del num_updates
        rule = celo2.scale_by_celo2(theta, orthogonalize=orthogonalize, still_without_gradient=True)
        return _routed(optax.chain(rule, optax.scale_by_learning_rate(learning_rate)), learning_rate, multiplier)

    return factory


def _scheduled(name: str, theta: Any) -> OptimizerFactory:
    """Rules with a step size of their own, on every tensor: what they are told of a learning rate does not count."""
    checks.check_theta(theta, name)
    rule = _SCHEDULED[name]
    return lambda learning_rate, num_updates: rule(num_updates, theta)


_SCHEDULED = {"celo": celo2.celo, "celo_adam": celo2.celo_adam}
_HAND_DESIGNED: dict[str, OptimizerFactory] = {
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "adam_routed": _adam_routed,
    "muon_routed": _muon_routed,
}
