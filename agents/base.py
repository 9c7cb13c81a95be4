"""What an agent is: a bundle of pure functions that take any optax optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from envs import VectorEnv

# (learning_rate, num_updates) -> optimizer. learning_rate is a traced scalar or a schedule of the update count;
# num_updates is the number of updates over the whole training, for rules with a schedule of their own.
OptimizerFactory = Callable[[Any, int], optax.GradientTransformation]


class Agent(NamedTuple):
    """An agent on one vectorised environment.

    init(key, hyperparams) -> state. hyperparams: a NamedTuple of scalars, traced, so that `jax.vmap` over
      keys and hyperparams makes a population.
    step(state) -> (state, metrics): one iteration of rollout and learning.
    act(policy, obs, key, greedy=True) -> action: obs [N, *shape] -> [N, ...], in the environment's units.
    policy(state) -> what `act` needs: the network's parameters and whatever else acting depends on.
    """

    init: Callable[[jax.Array, Any], Any]
    step: Callable[[Any], tuple[Any, Any]]
    act: Callable[..., jax.Array]
    policy: Callable[[Any], Any]


def check_environment(env: VectorEnv, config: Any) -> None:
    """Refuses an environment of another size than the configuration's."""
    if env.spec.num_envs != config.num_envs:
        raise ValueError(f"the environment has num_envs {env.spec.num_envs}, the configuration {config.num_envs}")


def make_optimizer(
    optimizer: OptimizerFactory, config: Any, hyper: Any, updates_per_decay: int = 1
) -> optax.GradientTransformationExtraArgs:
    """The agent's optimizer, with the gradient clipped before it and the learning rate annealed if asked for.

    Args:
      optimizer: see `OptimizerFactory`.
      config: has `anneal` (linearly to 0) and `num_updates`.
      hyper: has `learning_rate` and `max_grad_norm`, traced.
      updates_per_decay: the rate falls once in so many updates.
    """

    def schedule(count: jax.Array) -> jax.Array:
        progress = (count // updates_per_decay) / (config.num_updates // updates_per_decay)
        return hyper.learning_rate * jnp.maximum(1 - progress, 0.0)

    rate = schedule if config.anneal else hyper.learning_rate
    return optax.with_extra_args_support(
        optax.chain(optax.clip_by_global_norm(hyper.max_grad_norm), optimizer(rate, config.num_updates))
    )
