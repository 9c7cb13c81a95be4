"""The networks of agents as pure functions: ours by name, or a user's own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from agents import dormancy, networks
from agents.base import NetworkLike
from envs import own_code


class Model(NamedTuple):
    """A network as pure functions of its parameters.

    init(key, obs) -> params. apply(params, obs [B, *shape]) -> action values [B, A]; of an actor-critic, actor outputs
      [B, A or 2 A] and values [B].
    policy(params, obs), value(params, obs): the halves of what an actor-critic's apply returns.
    is_shared: both halves come from one torso, so that acting gives the value with the policy.
    dormancy(params, obs) -> see `dormancy.score`.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    apply: Callable[[Any, jax.Array], Any]
    policy: Callable[[Any, jax.Array], jax.Array]
    value: Callable[[Any, jax.Array], jax.Array]
    is_shared: bool
    dormancy: Callable[[Any, jax.Array], Any]


def actor_critic(config: Any, shape: Sequence[int], num_outputs: int, log_std: bool, own: NetworkLike | None) -> Model:
    """The network of an agent with a policy and a critic.

    Args:
      config: has `network` (a name, or `module:name` of a user's own), `hidden`, `activation`.
      shape: of one observation. num_outputs: of the actor, log_std left out. log_std: the actor appends a vector of
        num_outputs logarithms of standard deviations, whatever the observation.
      own: takes the place of what the configuration names, see `NetworkLike`.

    Raises:
      ValueError: for an unknown name, or a network that does not fit the observation or the actions.
    """
    total = num_outputs * (1 + log_std)
    if own is not None or ":" in config.network:
        return _own(own or config.network, shape, total, actor_critic=True)
    made: Any = networks.actor_critic(config.network, shape, num_outputs, config.hidden, config.activation, log_std)
    return Model(
        made.init,
        made.apply,
        lambda params, obs: made.apply(params, obs, method="policy"),
        lambda params, obs: made.apply(params, obs, method="value"),
        isinstance(made, networks.SharedActorCritic),
        lambda params, obs: dormancy.score(made, params, obs),
    )


def action_values(
    config: Any, shape: Sequence[int], num_actions: int, layer_norm: bool, own: NetworkLike | None
) -> Model:
    """The network of an agent that learns action values; arguments and errors as of `actor_critic`.

    layer_norm: before every activation; a user's own network says for itself.
    """
    if own is not None or ":" in config.network:
        return _own(own or config.network, shape, num_actions, actor_critic=False)
    made: Any = networks.q_network(config.network, shape, num_actions, config.hidden, config.activation, layer_norm)
    return Model(
        made.init, made.apply, _no_half, _no_half, False, lambda params, obs: dormancy.score(made, params, obs)
    )


def _own(own: Any, shape: Sequence[int], num_outputs: int, actor_critic: bool) -> Model:
    """A user's network, tried on one observation without computing anything."""
    what, init, apply = functions(own, num_outputs)
    obs = jax.ShapeDtypeStruct((3, *shape), "float32")
    try:
        params = jax.eval_shape(init, jax.random.key(0), obs)
        found = jax.tree.map(lambda x: x.shape, jax.eval_shape(apply, params, obs))
    except Exception as error:  # a user's own code may raise anything
        raise ValueError(f"{what} does not take observations [B, {', '.join(map(str, shape))}]: {error}") from error
    wanted = ((3, num_outputs), (3,)) if actor_critic else (3, num_outputs)
    if found != wanted:
        outputs = (
            f"(actor outputs [B, {num_outputs}], values [B])" if actor_critic else f"action values [B, {num_outputs}]"
        )
        raise ValueError(f"{what} must return {outputs}; for B = 3 the shapes were {found}")
    return Model(
        init,
        apply,
        lambda params, obs: apply(params, obs)[0],
        lambda params, obs: apply(params, obs)[1],
        actor_critic,
        dormancy.of_unknown,
    )


def functions(own: Any, num_outputs: int) -> tuple[str, Any, Any]:
    """What messages call a user's network, and its init and apply; ValueError for what is no network."""
    what = repr(own) if isinstance(own, str) else "the network"
    if isinstance(own, str):
        own = imported(own, num_outputs)
    if isinstance(own, nn.Module):
        return what, own.init, own.apply
    if isinstance(own, tuple) and len(own) == 2 and all(map(callable, own)):
        return what, *own
    raise ValueError(f"{what} must be a flax linen module or a pair of functions (init, apply), got {own!r}")


def imported(path: str, num_outputs: int) -> Any:
    """What `module:name` makes when it is called with the number of outputs."""
    module, _, name = path.partition(":")
    try:
        with own_code.current_folder():
            return own_code.imported(module, name)(num_outputs)
    except Exception as error:  # a user's own code may raise anything
        raise ValueError(f"cannot make a network from {path!r} with {num_outputs} outputs: {error}") from error


def _no_half(params: Any, obs: jax.Array) -> jax.Array:
    raise NotImplementedError("action values have neither policy nor critic")
