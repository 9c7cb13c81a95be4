"""What an agent is: a bundle of pure functions that take any optax optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from envs import Discrete, VectorEnv

# (learning_rate, num_updates) -> optimizer. learning_rate is a traced scalar, that of the current iteration;
# num_updates is the number of updates over the whole training, for rules with a schedule of their own.
OptimizerFactory = Callable[[Any, int], optax.GradientTransformation]


class Agent(NamedTuple):
    """An agent on one vectorised environment.

    init(key, hyperparams) -> state. hyperparams: a NamedTuple of scalars, traced, so that `jax.vmap` over
      keys and hyperparams makes a population.
    step(state) -> (state, metrics): one iteration of rollout and learning.
    act(policy, obs, key, greedy=True) -> action: obs [N, *shape] -> [N, ...], in the environment's units.
    policy(state) -> what `act` needs: the network's parameters and whatever else acting depends on.
    unsaved: names of the state's fields that no file can hold, since an emulator's memory belongs to them; a run that
      is continued takes them from a new state, and so starts new episodes.
    """

    init: Callable[[jax.Array, Any], Any]
    step: Callable[[Any], tuple[Any, Any]]
    act: Callable[..., jax.Array]
    policy: Callable[[Any], Any]
    unsaved: tuple[str, ...] = ()


def check_environment(env: VectorEnv, config: Any) -> None:
    """Refuses an environment of another size than the configuration's."""
    if env.spec.num_envs != config.num_envs:
        raise ValueError(f"the environment has num_envs {env.spec.num_envs}, the configuration {config.num_envs}")


def check_discrete(env: VectorEnv, agent: str) -> Discrete:
    """The actions to choose from; refuses an environment with others."""
    space = env.spec.action_space
    if not isinstance(space, Discrete):
        raise ValueError(f"{agent} needs discrete actions; {env.spec.id} has {space}; use ppo")
    return space


def make_optimizer(
    optimizer: OptimizerFactory, config: Any, hyper: Any, progress: Any
) -> optax.GradientTransformationExtraArgs:
    """The agent's optimizer, with the gradient clipped before it and the learning rate annealed if asked for.

    Args:
      optimizer: see `OptimizerFactory`.
      config: has `anneal` (linearly to 0) and `num_updates`.
      hyper: has `learning_rate` and `max_grad_norm`, traced.
      progress: share of the training's learning iterations that are done, traced. It does not come from the
        optimizer's own count, which stands still where a KL stop drops updates.
    """
    rate = hyper.learning_rate * jnp.maximum(1 - progress, 0.0) if config.anneal else hyper.learning_rate
    return optax.with_extra_args_support(
        optax.chain(optax.clip_by_global_norm(hyper.max_grad_norm), optimizer(rate, config.num_updates))
    )
