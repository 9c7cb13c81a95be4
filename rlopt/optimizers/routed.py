"""Optimizers of our own making, as `catalog` names them: (learning_rate, options) -> optax optimizer.

"Routed" means: hidden matrices get the named rule; input layers, output heads and tensors below rank 2 get Adam at a
multiple of the rate. Routing alone changes results in RL, so a learned rule is to be compared with hand-designed rules
under the same routing.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import celo2 as rules
from celo2.labels import ADAM, RULE
from rlopt.optimizers.catalog import CARD

ADAM_EPS = 1e-5
MULTIPLIER = 5.0
ROUTINGS = {"hidden": rules.hidden_matrix_labels, "matrices": rules.matrix_labels, "all": rules.Routing(kinds=())}


def adam_routed(learning_rate: Any, *, multiplier: float = MULTIPLIER) -> optax.GradientTransformation:
    """Adam on every tensor, with the rates of the routed rules."""
    return routed(optax.adam(learning_rate, eps=ADAM_EPS), learning_rate, multiplier)


def muon_routed(
    learning_rate: Any, *, multiplier: float = MULTIPLIER, size: str = "unit", routing: str = "hidden"
) -> optax.GradientTransformation:
    """Muon whose updates have the size that those of the learned rules have: see `celo2.scale_by_celo2`.

    Args:
      learning_rate: of the hidden matrices. multiplier: that of everything else, over it.
      size: "unit", a root mean square of 1; "adam" or "snr", see `celo2.graft`.
      routing: which matrices Muon takes, see `ROUTINGS`.
    """
    direction = (_scale_by_muon(), _to_unit_rms()) if size == "unit" else (rules.graft(_scale_by_muon(), size),)
    return routed(
        optax.chain(*direction, optax.scale_by_learning_rate(learning_rate)), learning_rate, multiplier, routing
    )


def muon(
    learning_rate: Any, *, beta: float = 0.95, multiplier: float = 1.0, routing: str = "hidden"
) -> optax.GradientTransformation:
    """Muon as `optax.contrib.scale_by_muon` has it, without the scaling by shape of `optax.contrib.muon`."""
    hidden = optax.chain(_scale_by_muon(beta), optax.scale_by_learning_rate(learning_rate))
    return routed(hidden, learning_rate, multiplier, routing)


def adam_rel(
    learning_rate: Any, *, updates_per_target: int, b1: float = 0.9, b2: float = 0.999, eps: float = ADAM_EPS
) -> optax.GradientTransformation:
    """Adam whose step count starts again with each new objective, while its moments stay.

    Updates are counted as they come: where a KL stop drops some, or where DQN begins to learn between two targets
    (learning_starts no multiple of target_interval), the new starts are not those of the objective.

    Args:
      learning_rate, b1, b2, eps: Adam's.
      updates_per_target: updates until the objective changes: the updates of one batch, or of one target network.

    Reference: Ellis et al., "Adam on Local Time", arXiv 2412.17113.
    """
    inner = optax.scale_by_adam(b1, b2, eps)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        state = state._replace(count=state.count % updates_per_target)
        return inner.update(updates, state, params)

    return optax.chain(optax.GradientTransformation(inner.init, update), optax.scale_by_learning_rate(learning_rate))


def celo2(learning_rate: Any, *, theta: Any, **options: Any) -> optax.GradientTransformation:
    """`celo2.celo2(learning_rate, theta, **celo2.RL)`; the options are those of `catalog`."""
    return rules.celo2(learning_rate, theta, **_for_rl(**options))


def celo2_base(learning_rate: Any, *, theta: Any, **options: Any) -> optax.GradientTransformation:
    """`celo2.celo2_base(learning_rate, theta, **celo2.RL)`; the options are those of `catalog`."""
    return rules.celo2_base(learning_rate, theta, **_for_rl(**options))


def celo2_published(
    learning_rate: Any, *, theta: Any, multiplier: float, odd: Any, size: str, matrix_axes: str, **options: Any
) -> optax.GradientTransformation:
    """`celo2.celo2(learning_rate, theta)`, the usage of the paper; the options are those of `catalog`."""
    form = explicit_form(odd, size) | _dimensions(matrix_axes)
    return rules.celo2(learning_rate, theta, mult_1d=multiplier, **form, **options)


def celo2_base_published(
    learning_rate: Any, *, theta: Any, odd: Any, size: str, matrix_axes: str, **options: Any
) -> optax.GradientTransformation:
    """`celo2.celo2_base(learning_rate, theta)`, the usage of the paper; the options are those of `catalog`."""
    return rules.celo2_base(learning_rate, theta, **explicit_form(odd, size), **_dimensions(matrix_axes), **options)


def _for_rl(multiplier: float, routing: str, odd: Any, size: str, matrix_axes: str, **options: Any) -> dict[str, Any]:
    form = explicit_form(odd, size) | _dimensions(matrix_axes)
    return {"label_fn": ROUTINGS[routing], "mult_1d": multiplier, **form, **options}


def _dimensions(matrix_axes: str) -> dict[str, Any]:
    return {"weight_dimension_numbers": {"last_two": None, "fan_in_fan_out": rules.fan_in_fan_out}[matrix_axes]}


def explicit_form(odd: Any = CARD, size: str = CARD) -> dict[str, Any]:
    """The parts of a form that options set, as `celo2.Form.changed` takes them; None: as on the card."""
    return {"odd": None if odd == CARD else odd, "size": None if size == CARD else size}


def celo(
    share: Any,
    *,
    theta: Any,
    num_updates: int,
    scaled: bool | str,
    odd: Any = CARD,
    size: str = CARD,
    scheduler: bool = True,
) -> optax.GradientTransformation:
    """`celo2.celo(num_updates, theta, multiplier=share)`; the share counts where `scaled` or the weights' form says so.

    share: the agent's, annealed as a learning rate is (`presets.share`). scheduler: False is the update rule alone.
    """
    form = theta.form.changed(**explicit_form(odd, size))
    if scaled == CARD:
        scaled = form.size != "unit"
    form_given = explicit_form(odd, size)
    return rules.celo(num_updates, theta, multiplier=share if scaled else 1.0, use_scheduler=scheduler, **form_given)


def celo_adam(share: Any, *, theta: Any, num_updates: int, scaled: bool) -> optax.GradientTransformation:
    """`celo2.celo_adam(num_updates, theta, multiplier=share)`; share: as of `celo`, if `scaled`."""
    return rules.celo_adam(num_updates, theta, multiplier=share if scaled else 1.0)


def nnadam(share: Any, *, theta: Any, scaled: bool) -> optax.GradientTransformation:
    """`celo2.nnadam(theta, multiplier=share)`; share: as of `celo`, if `scaled`."""
    return rules.nnadam(theta, multiplier=share if scaled else 1.0)


def adafac_mlp(share: Any, *, theta: Any, scaled: bool) -> optax.GradientTransformation:
    """`celo2.adafac_mlp(theta, multiplier=share)`; share: as of `celo`, if `scaled`."""
    return rules.adafac_mlp(theta, multiplier=share if scaled else 1.0)


def rnn_mlp(share: Any, *, theta: Any, scaled: bool) -> optax.GradientTransformation:
    """`celo2.rnn_mlp(theta, multiplier=share)`; share: as of `celo`, if `scaled`."""
    return rules.rnn_mlp(theta, multiplier=share if scaled else 1.0)


def velo(
    share: Any, *, theta: Any, num_updates: int, scaled: bool, mlp_mult: float = 1.0
) -> optax.GradientTransformation:
    """`celo2.velo(num_updates, theta, multiplier=share)`; share: as of `celo`, if `scaled`."""
    return rules.velo(num_updates, theta, multiplier=share if scaled else 1.0, mlp_mult=mlp_mult)


def open_rule(
    share: Any, *, theta: Any, num_updates: int, updates_per_target: int, epochs_per_target: int, scaled: bool
) -> optax.GradientTransformation:
    """`celo2.open_rule(theta, multiplier=share)` that counts iterations; share: as of `celo`, if `scaled`."""
    course = {"num_steps": max(num_updates, 1), "steps_per_batch": updates_per_target, "epochs": epochs_per_target}
    return rules.open_rule(theta, multiplier=share if scaled else 1.0, **course)


def routed(
    hidden: optax.GradientTransformation, learning_rate: Any, multiplier: float, routing: str = "hidden"
) -> optax.GradientTransformation:
    """A rule for the matrices of a routing, Adam at multiplier times the rate for everything else."""
    fast = optax.adam(multiplier * learning_rate, eps=ADAM_EPS)
    return optax.partition({RULE: hidden, ADAM: fast}, ROUTINGS[routing])


def _scale_by_muon(beta: float = 0.95) -> optax.GradientTransformation:
    return optax.contrib.scale_by_muon(beta=beta, weight_dimension_numbers=rules.fan_in_fan_out)


def _to_unit_rms() -> optax.GradientTransformation:
    """Scales every tensor's update to a root mean square of 1, as the learned rules do with theirs."""

    def normalise(update: jax.Array) -> jax.Array:
        return update * jax.lax.rsqrt(jnp.mean(jnp.square(update)) + 1e-9)

    return optax.stateless(lambda updates, params: jax.tree.map(normalise, updates))
