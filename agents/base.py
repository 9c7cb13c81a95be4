"""What an agent is: a bundle of pure functions that take any optax optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from agents.hyperparameters import Hyperparams
from envs import Box, Discrete, VectorEnv

# (learning_rate, num_updates, **options) -> optimizer. learning_rate is a traced scalar, that of the current iteration;
# num_updates is the number of updates over the whole training, for rules with a schedule of their own; options are
# traced scalars, and there are none but where members of a population differ in them (`hyperparameters.with_options`).
OptimizerFactory = Callable[..., optax.GradientTransformation]
# A user's own network: a flax linen module, or functions (init, apply) with init(key, obs) -> params and
# apply(params, obs [B, *shape]) -> action values [B, A], or for ppo (actor outputs [B, A], values [B]).
NetworkLike = nn.Module | tuple[Callable[..., Any], Callable[..., Any]]


class Recurrence(NamedTuple):
    """How an agent acts that remembers earlier steps.

    Attributes:
      start: start(num_envs) -> memory: tree, leaves [N, ...] of zeros: nothing is remembered yet.
      act: act(policy, memory, obs, key, greedy=True) -> (memory, action). Between episodes, see `rollout.forget`.
    """

    start: Callable[[int], Any]
    act: Callable[..., tuple[Any, jax.Array]]


class Agent(NamedTuple):
    """An agent on one vectorised environment.

    Attributes:
      init: init(key, hyperparams) -> state. The scalars are traced, so that `jax.vmap` over keys and hyperparams makes
        a population.
      step: step(state) -> (state, metrics): one iteration of rollout and learning.
      act: act(policy, obs, key, greedy=True) -> action: obs [N, *shape] -> [N, ...], in the environment's units; of an
        agent that remembers, as at the first step of an episode.
      policy: policy(state) -> what `act` needs: the network's parameters and whatever else acting depends on.
      hyperparams: hyperparams(learning_rate, **overrides) -> what `init` takes: a NamedTuple of the learning rate and
        the scalars of the agent's configuration, see `hyperparameters.maker`.
      unsaved: names of the state's fields that no file can hold, since an emulator's memory belongs to them; a run that
        is continued takes them from a new state, and so starts new episodes.
      recurrence: how to act with a memory; None for agents that act on the observation alone.
    """

    init: Callable[[jax.Array, Any], Any]
    step: Callable[[Any], tuple[Any, Any]]
    act: Callable[..., jax.Array]
    policy: Callable[[Any], Any]
    hyperparams: Callable[..., Hyperparams]
    unsaved: tuple[str, ...] = ()
    recurrence: Recurrence | None = None


def recurrence(agent: Agent) -> Recurrence:
    """How to act through an episode, of any agent; the memory of one that has none is None."""
    if agent.recurrence is not None:
        return agent.recurrence

    def act(policy: Any, memory: Any, obs: jax.Array, key: jax.Array, greedy: bool = True) -> tuple[Any, jax.Array]:
        return memory, agent.act(policy, obs, key, greedy)

    return Recurrence(lambda num_envs: None, act)


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


def check_continuous(env: VectorEnv, agent: str) -> None:
    """Refuses an environment whose actions are not continuous."""
    space = env.spec.action_space
    if not isinstance(space, Box):
        raise ValueError(f"{agent} needs continuous actions; {env.spec.id} has {space}; use ppo, dqn or pqn")


def start(
    env: VectorEnv, init_network: Callable[[jax.Array, jax.Array], Any], key: jax.Array, hyperparams: Hyperparams
) -> tuple[jax.Array, Any, Any, jax.Array, Hyperparams]:
    """What every agent begins with: its key, the environments' state, params, what it sees, and float32 scalars."""
    hyperparams = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyperparams)
    key, params_key, env_key = jax.random.split(key, 3)
    env_state, obs = env.reset(env_key)
    return key, env_state, init_network(params_key, obs), obs, hyperparams


def unsaved_fields(env: VectorEnv, *more: str) -> tuple[str, ...]:
    """See `Agent.unsaved`. more: fields that belong to the episodes under way as well."""
    return () if env.spec.restorable else ("env_state", "obs", *more)


def make_optimizer(
    optimizer: OptimizerFactory, config: Any, hyperparams: Hyperparams, progress: Any
) -> optax.GradientTransformationExtraArgs:
    """The agent's optimizer, with the gradient clipped before it and the learning rate annealed if asked for.

    Args:
      optimizer: see `OptimizerFactory`.
      config: has `anneal` (linearly to 0) and `num_updates`.
      hyperparams: has `learning_rate` and `max_grad_norm`, traced; perhaps `options`, of the optimizer.
      progress: share of the training's learning iterations that are done, traced. It does not come from the
        optimizer's own count, which stands still where a KL stop drops updates.
    """
    rate = hyperparams.learning_rate * jnp.maximum(1 - progress, 0.0) if config.anneal else hyperparams.learning_rate
    made = optimizer(rate, config.num_updates, **getattr(hyperparams, "options", {}))
    return optax.with_extra_args_support(optax.chain(optax.clip_by_global_norm(hyperparams.max_grad_norm), made))
