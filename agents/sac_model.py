"""The networks of SAC: an actor whose standard deviations follow the state, and twin critics; ours or a user's own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import dormancy, models, networks
from agents.base import NetworkLike

# Between which logarithms of standard deviations are kept, by a tanh: a clip would pass no gradient where the policy
# has run into it, and so not let it come back.
LOG_STD = (-5.0, 2.0)
TWINS = ("first", "second")


class SACModel(NamedTuple):
    """Actor and critics as pure functions of their parameters.

    init(key, obs, action) -> {"actor": params, "critic": {"first": params, "second": params}}.
    actor(params, obs [B, *shape]) -> means and logarithms of standard deviations, [B, 2 A].
    critic(params, obs [B, *shape], action [B, A], from -1 to 1) -> values of both, [2, B].
    actor_dormancy(params, obs), critic_dormancy(params, obs, action) -> see `dormancy.score`.
    """

    init: Callable[[jax.Array, jax.Array, jax.Array], Any]
    actor: Callable[[Any, jax.Array], jax.Array]
    critic: Callable[[Any, jax.Array, jax.Array], jax.Array]
    actor_dormancy: Callable[[Any, jax.Array], Any]
    critic_dormancy: Callable[[Any, jax.Array, jax.Array], Any]


def make(config: Any, shape: Sequence[int], num_actions: int, own: tuple[NetworkLike, NetworkLike] | None) -> SACModel:
    """The networks for actions of num_actions dimensions.

    Args:
      config: has `network` (a name, or `module:name` of a user's own), `hidden`, `activation`.
      shape: of one observation.
      own: takes the place of what the configuration names: actor and critic, each a flax linen module or functions
        (init, apply). The actor is called with obs [B, *shape] and returns [B, 2 A], means and, before the tanh,
        logarithms of standard deviations; the critic with (obs, action [B, A]) and returns values [B]. There are two
        critics of one kind.

    Raises:
      ValueError: for an unknown name, or networks that do not fit the observation or the actions.
    """
    if own is not None or ":" in config.network:
        pair = own or models.imported(config.network, 2 * num_actions)
        actor, critic = _own(pair, shape, num_actions, config.network if own is None else "the network")
        return _model(actor, critic, num_actions, dormancy.of_unknown, dormancy.of_unknown)
    if config.activation not in networks.ACTIVATIONS:
        known = ", ".join(networks.ACTIVATIONS)
        raise ValueError(f"unknown activation {config.activation!r}; there are {known}")
    activation = networks.ACTIVATIONS[config.activation]
    layers = networks.MLP(config.hidden, 2 * num_actions, activation, 0.01)
    q_layers = networks.MLP(config.hidden, 1, activation, 1.0)
    return _model(
        (lambda key, obs: layers.init(key, _flat(obs)), lambda params, obs: layers.apply(params, _flat(obs))),
        (
            lambda key, obs, action: q_layers.init(key, _both(obs, action)),
            lambda params, obs, action: jnp.asarray(q_layers.apply(params, _both(obs, action)))[:, 0],
        ),
        num_actions,
        lambda params, obs: dormancy.score(layers, params, _flat(obs)),
        lambda params, obs, action: dormancy.score(q_layers, params, _both(obs, action)),
    )


def _model(actor: Any, critic: Any, num_actions: int, actor_dormancy: Any, critic_dormancy: Any) -> SACModel:
    (init_actor, apply_actor), (init_critic, apply_critic) = actor, critic

    def init(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
        actor_key, *keys = jax.random.split(key, 3)
        twins = {name: init_critic(key, obs, action) for name, key in zip(TWINS, keys, strict=True)}
        return {"actor": init_actor(actor_key, obs), "critic": twins}

    def outputs(params: Any, obs: jax.Array) -> jax.Array:
        mean, spread = jnp.split(apply_actor(params, obs), [num_actions], axis=-1)
        low, high = LOG_STD
        return jnp.concatenate([mean, low + (high - low) * (jnp.tanh(spread) + 1) / 2], axis=-1)

    def values(params: Any, obs: jax.Array, action: jax.Array) -> jax.Array:
        return jnp.stack([apply_critic(params[name], obs, action) for name in TWINS])

    def twins_dormancy(params: Any, obs: jax.Array, action: jax.Array) -> Any:
        return {name: critic_dormancy(params[name], obs, action) for name in TWINS}

    return SACModel(init, outputs, values, actor_dormancy, twins_dormancy)


def _own(pair: Any, shape: Sequence[int], num_actions: int, what: str) -> tuple[Any, Any]:
    """A user's actor and critic as (init, apply), tried on one observation without computing anything."""
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise ValueError(f"{what} must be a pair of networks, actor and critic, got {pair!r}")
    wanted = {"actor": (3, 2 * num_actions), "critic": (3,)}
    obs, action = (jax.ShapeDtypeStruct((3, *x), "float32") for x in (shape, (num_actions,)))
    made = []
    for (name, expected), own in zip(wanted.items(), pair, strict=True):
        _, init, apply = models.functions(own, 2 * num_actions)
        inputs = (obs,) if name == "actor" else (obs, action)
        try:
            params = jax.eval_shape(init, jax.random.key(0), *inputs)
            found = jax.eval_shape(apply, params, *inputs).shape
        except Exception as error:  # a user's own code may raise anything
            raise ValueError(f"the {name} of {what} does not take {[x.shape for x in inputs]}: {error}") from error
        if found != expected:
            raise ValueError(f"the {name} of {what} must return {expected} for 3 observations, got {found}")
        made.append((init, apply))
    return made[0], made[1]


def _flat(obs: jax.Array) -> jax.Array:
    return jnp.asarray(obs, jnp.float32).reshape(obs.shape[0], -1)


def _both(obs: jax.Array, action: jax.Array) -> jax.Array:
    return jnp.concatenate([_flat(obs), action], axis=-1)
