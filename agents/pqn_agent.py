"""PQN: Q-learning on fresh rollouts, layer norm in place of replay and target network (Gallici et al., 2407.04811)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import exploration, learning, losses, metrics, models
from agents.base import (
    Agent,
    NetworkLike,
    OptimizerFactory,
    check_discrete,
    check_environment,
    make_optimizer,
    start,
    unsaved_fields,
)
from agents.dqn_config import PQNConfig
from agents.hyperparameters import Hyperparams, maker, type_of
from agents.models import Model
from agents.returns import lambda_returns
from agents.rollout import Rollout, next_values, rollout
from envs import VectorEnv

PQNHyperparams = type_of("PQNHyperparams", PQNConfig)


class PQNState(NamedTuple):
    """Everything an agent carries between iterations.

    Attributes:
      iteration: int32, iterations done.
      params: tree.
      opt_state: of the optimizer.
      env_state: of the environments.
      obs: [N, *shape], what the agent sees next.
      key: PRNG key.
      hyperparams: traced scalars.
    """

    iteration: jax.Array
    params: Any
    opt_state: Any
    env_state: Any
    obs: jax.Array
    key: jax.Array
    hyperparams: Hyperparams


class Batch(NamedTuple):
    """What is learned from, leaves [T, N, ...] or [B, ...]."""

    obs: jax.Array
    action: jax.Array
    target: jax.Array
    valid: jax.Array


def pqn(env: VectorEnv, config: PQNConfig, optimizer: OptimizerFactory, network: NetworkLike | None = None) -> Agent:
    """PQN with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the minibatch's
    loss.

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes, switches and scalars; `hyperparams` of the result gives the scalars to `init`.
      optimizer: (learning_rate, num_updates) -> optax optimizer.
      network: your own instead of the configuration's, see `NetworkLike`.

    Returns:
      An `Agent`; `init` takes `PQNHyperparams`.

    Raises:
      ValueError: for impossible settings, an environment that this agent cannot act in, or a network that does not fit.
    """
    config.check()
    check_environment(env, config)
    num_actions = check_discrete(env, "pqn").n
    model = models.action_values(config, env.spec.observation_shape, num_actions, True, network)

    def init(key: jax.Array, hyperparams: Hyperparams) -> PQNState:
        key, env_state, params, obs, hyperparams = start(env, model.init, key, hyperparams)
        opt_state = make_optimizer(optimizer, config, hyperparams, 0.0).init(params)
        return PQNState(jnp.zeros([], jnp.int32), params, opt_state, env_state, obs, key, hyperparams)

    def step(state: PQNState) -> tuple[PQNState, metrics.QMetrics]:
        key, rollout_key, noise_key, resets_key, shuffle_key = jax.random.split(state.key, 5)
        epsilon = exploration.epsilon(config, state.hyperparams, state.iteration)

        def act(obs: jax.Array, noise: exploration.Noise) -> tuple[jax.Array, jax.Array]:
            q = model.apply(state.params, obs)
            return exploration.epsilon_greedy(q, noise, epsilon), jnp.max(q, axis=-1)

        noise = exploration.draw(noise_key, (config.rollout_length, config.num_envs), num_actions)
        keys = (resets_key, rollout_key)
        env_state, obs, found = rollout(env, act, state.env_state, state.obs, noise, keys)
        batch = targets(env, model, state, found, obs)
        tx = make_optimizer(optimizer, config, state.hyperparams, state.iteration / config.num_iterations)
        params, opt_state, epochs = learning.update_epochs(
            model, config, tx, lambda params, minibatch: loss(model, params, minibatch), state, batch, shuffle_key
        )
        measured = metrics.of_action_values(found.steps, epochs.updates, epsilon)
        after = PQNState(state.iteration + 1, params, opt_state, env_state, obs, key, state.hyperparams)
        return after, measured

    act = exploration.actor(model.apply, num_actions, config.epsilon_end)
    return Agent(init, step, act, lambda state: state.params, maker(config, PQNHyperparams), unsaved_fields(env))


def targets(env: VectorEnv, model: Model, state: PQNState, found: Rollout, obs: jax.Array) -> Batch:
    """What to learn from: the rollout with lambda-returns, leaves [T, N, ...].

    Args:
      state: before the rollout. found: extras are the highest action values [T, N]. obs: what is seen after it.
    """

    def value(obs: jax.Array) -> jax.Array:
        return jnp.max(model.apply(state.params, obs), axis=-1)

    steps, hyperparams = found.steps, state.hyperparams
    following = next_values(env, value, steps, obs, found.extras)
    target = lambda_returns(
        steps.reward, following, steps.terminated, steps.truncated, hyperparams.gamma, hyperparams.q_lambda
    )
    return Batch(steps.obs, found.action, target, steps.valid)


def loss(model: Model, params: Any, batch: Batch) -> tuple[jax.Array, metrics.QParts]:
    """The halved squared error of the chosen actions' values on a minibatch, leaves [B, ...].

    Reference: arXiv 2407.04811, algorithm 1.
    """
    q = jnp.take_along_axis(model.apply(params, batch.obs), batch.action[:, None], axis=1)[:, 0]
    error = q - batch.target
    parts = metrics.QParts(losses.masked_mean(q, batch.valid), losses.masked_mean(jnp.abs(error), batch.valid))
    return losses.masked_mean(losses.squared_error(error), batch.valid), parts
