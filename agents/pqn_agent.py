"""PQN: Q-learning on fresh rollouts, layer norm in place of replay and target network (Gallici et al., 2407.04811)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import exploration, losses, metrics, networks, permutation, telling
from agents.base import Agent, OptimizerFactory, check_discrete, check_environment, make_optimizer
from agents.dqn_config import PQNConfig
from agents.returns import lambda_returns
from envs import VectorEnv


class PQNHyperparams(NamedTuple):
    """Scalars that may differ between the members of a population; float32, traced."""

    learning_rate: Any
    gamma: Any
    q_lambda: Any
    epsilon_start: Any
    epsilon_end: Any
    exploration_fraction: Any
    max_grad_norm: Any


class PQNState(NamedTuple):
    """Everything an agent carries between iterations.

    iteration: int32, iterations done. params, opt_state: trees. env_state: of the environment.
    obs: [N, *shape], what the agent sees next. key: PRNG key. hyperparams: PQNHyperparams.
    """

    iteration: jax.Array
    params: Any
    opt_state: Any
    env_state: Any
    obs: jax.Array
    key: jax.Array
    hyperparams: PQNHyperparams


class _Batch(NamedTuple):
    """What is learned from, leaves [T, N, ...] or [B, ...]."""

    obs: jax.Array
    action: jax.Array
    target: jax.Array
    valid: jax.Array


def pqn_hyperparams(config: PQNConfig, learning_rate: Any) -> PQNHyperparams:
    """The traced scalars of a configuration."""
    return PQNHyperparams(
        learning_rate=learning_rate,
        gamma=config.gamma,
        q_lambda=config.q_lambda,
        epsilon_start=config.epsilon_start,
        epsilon_end=config.epsilon_end,
        exploration_fraction=config.exploration_fraction,
        max_grad_norm=jnp.inf if config.max_grad_norm is None else config.max_grad_norm,
    )


def pqn(env: VectorEnv, config: PQNConfig, optimizer: OptimizerFactory) -> Agent:
    """PQN with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the minibatch's
    loss.

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes and switches; its scalars reach the agent through `pqn_hyperparams`.
      optimizer: (learning_rate, num_updates) -> optax optimizer.

    Returns:
      An `Agent`; `init` takes `PQNHyperparams`.

    Raises:
      ValueError: for impossible settings, or an environment that this agent cannot act in.
    """
    config.check()
    spec = env.spec
    check_environment(env, config)
    num_actions = check_discrete(env, "pqn").n
    network = networks.q_network(
        config.network, spec.observation_shape, num_actions, config.hidden, config.activation, layer_norm=True
    )
    updates_per_iteration = config.epochs * config.minibatches

    def values(params: Any, obs: jax.Array) -> Any:
        return network.apply(params, obs)

    def init(key: jax.Array, hyper: PQNHyperparams) -> PQNState:
        hyper = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
        key, params_key, env_key = jax.random.split(key, 3)
        env_state, obs = env.reset(env_key)
        params = network.init(params_key, obs)
        opt_state = make_optimizer(optimizer, config, hyper, 0.0).init(params)
        return PQNState(jnp.zeros([], jnp.int32), params, opt_state, env_state, obs, key, hyper)

    def step(state: PQNState) -> tuple[PQNState, metrics.QMetrics]:
        hyper, params = state.hyperparams, state.params
        key, rollout_key, noise_key, resets_key, shuffle_key = jax.random.split(state.key, 5)
        epsilon = exploration.epsilon(config, hyper, state.iteration)
        shape = (config.rollout_length, config.num_envs)
        noise = exploration.draw(noise_key, shape, num_actions)
        env_state = env.prepare(resets_key, state.env_state, config.rollout_length)

        def act_and_step(carry: tuple[Any, jax.Array], inputs: Any) -> Any:
            env_state, obs = carry
            step_key, noise_t = inputs
            q = values(params, obs)
            action = exploration.epsilon_greedy(q, noise_t, epsilon)
            env_state, timestep = env.step(step_key, env_state, action)
            return (env_state, timestep.obs), (timestep._replace(obs=obs), action, jnp.max(q, axis=-1))

        (env_state, obs), (rollout, action, highest) = jax.lax.scan(
            act_and_step, (env_state, state.obs), (jax.random.split(rollout_key, config.rollout_length), noise)
        )
        env_state = env.release(env_state)
        if spec.next_step_reset:
            next_values = jnp.concatenate([highest[1:], jnp.max(values(params, obs), axis=-1)[None]])
        else:
            final = rollout.final_obs.reshape(-1, *spec.observation_shape)
            next_values = jnp.max(values(params, final), axis=-1).reshape(shape)
        target = lambda_returns(
            rollout.reward, next_values, rollout.terminated, rollout.truncated, hyper.gamma, hyper.q_lambda
        )
        batch = _Batch(rollout.obs, action, target, rollout.valid)
        flat_batch = jax.tree.map(lambda x: x.reshape(config.batch_size, *x.shape[2:]), batch)

        def loss_fn(params: Any, minibatch: _Batch) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            q = jnp.take_along_axis(values(params, minibatch.obs), minibatch.action[:, None], axis=1)[:, 0]
            error = q - minibatch.target
            loss = losses.masked_mean(losses.squared_error(error), minibatch.valid)
            parts = (losses.masked_mean(q, minibatch.valid), losses.masked_mean(jnp.abs(error), minibatch.valid))
            return loss, parts

        tx = make_optimizer(optimizer, config, hyper, state.iteration / config.num_iterations)

        def update(
            carry: tuple[Any, Any], inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[Any, Any], metrics.UpdateStats]:
            (params, opt_state), (number, rows) = carry, inputs
            minibatch = jax.tree.map(lambda x: x[rows], flat_batch)
            (loss, parts), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, minibatch)
            told = telling.extra_args(
                network,
                params,
                minibatch.obs,
                value=loss,
                progress=(state.iteration * updates_per_iteration + number) / config.num_updates,
                epoch=number / updates_per_iteration,
                key=telling.key_of(state.key, number),
            )
            updates, opt_state = tx.update(grads, opt_state, params, **told)
            q_mean, td_error = parts
            stats = metrics.update_stats(loss, q_mean, td_error, grads, updates)
            return (optax.apply_updates(params, updates), opt_state), stats

        order = permutation.epochs(shuffle_key, config.epochs, config.batch_size)
        rows = order.reshape(updates_per_iteration, config.learning_batch)
        inputs = (jnp.arange(updates_per_iteration), rows)
        (params, opt_state), history = jax.lax.scan(update, (params, state.opt_state), inputs)
        measured = metrics.iteration(rollout.episode_return, rollout.episode_length, history, epsilon)
        return PQNState(state.iteration + 1, params, opt_state, env_state, obs, key, hyper), measured

    unsaved = () if spec.restorable else ("env_state", "obs")
    return Agent(
        init, step, exploration.actor(values, num_actions, config.epsilon_end), lambda state: state.params, unsaved
    )
