"""Deep Q-learning with replay (Mnih et al., Nature 2015; van Hasselt et al., arXiv 1509.06461)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import experience, exploration, losses, metrics, networks, replay, telling
from agents.base import Agent, OptimizerFactory, check_discrete, check_environment, make_optimizer
from agents.dqn_config import DQNConfig
from agents.replay import Transition
from envs import VectorEnv


class DQNHyperparams(NamedTuple):
    """Scalars that may differ between the members of a population; float32, traced."""

    learning_rate: Any
    gamma: Any
    epsilon_start: Any
    epsilon_end: Any
    exploration_fraction: Any
    priority_exponent: Any
    importance_exponent: Any
    target_rate: Any
    max_grad_norm: Any


class DQNState(NamedTuple):
    """Everything an agent carries between iterations.

    iteration: int32, iterations done. params, target_params, opt_state: trees. replay: see `experience`.
    recent: the last steps, not all of which have their n rewards yet; None if all do.
    env_state, obs: of the environments. key: PRNG key. hyperparams: DQNHyperparams.
    """

    iteration: jax.Array
    params: Any
    target_params: Any
    opt_state: Any
    replay: Any
    recent: experience.Step | None
    env_state: Any
    obs: jax.Array
    key: jax.Array
    hyperparams: DQNHyperparams


def dqn_hyperparams(config: DQNConfig, learning_rate: Any) -> DQNHyperparams:
    """The traced scalars of a configuration."""
    return DQNHyperparams(
        learning_rate=learning_rate,
        gamma=config.gamma,
        epsilon_start=config.epsilon_start,
        epsilon_end=config.epsilon_end,
        exploration_fraction=config.exploration_fraction,
        priority_exponent=config.priority_exponent,
        importance_exponent=config.importance_exponent,
        target_rate=config.target_rate,
        max_grad_norm=jnp.inf if config.max_grad_norm is None else config.max_grad_norm,
    )


def dqn(env: VectorEnv, config: DQNConfig, optimizer: OptimizerFactory) -> Agent:
    """DQN with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the mean loss of
    the replayed batch.

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes and switches; its scalars reach the agent through `dqn_hyperparams`.
      optimizer: (learning_rate, num_updates) -> optax optimizer.

    Returns:
      An `Agent`; `init` takes `DQNHyperparams`.

    Raises:
      ValueError: for impossible settings, or an environment that this agent cannot act in.
    """
    config.check()
    spec = env.spec
    check_environment(env, config)
    num_actions = check_discrete(env, "dqn").n
    network = networks.q_network(config.network, spec.observation_shape, num_actions, config.hidden, config.activation)
    memory = experience.memory(spec, config)

    def values(params: Any, obs: jax.Array) -> Any:
        return network.apply(params, obs)

    def init(key: jax.Array, hyper: DQNHyperparams) -> DQNState:
        hyper = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
        key, params_key, env_key = jax.random.split(key, 3)
        env_state, obs = env.reset(env_key)
        params = network.init(params_key, obs)
        empty, nothing = memory.init(obs)
        return DQNState(
            iteration=jnp.zeros([], jnp.int32),
            params=params,
            target_params=jax.tree.map(jnp.copy, params),  # of its own, so that a state can be donated
            opt_state=make_optimizer(optimizer, config, hyper, 0.0).init(params),
            replay=empty,
            recent=nothing,
            env_state=env_state,
            obs=obs,
            key=key,
            hyperparams=hyper,
        )

    def collect(
        state: DQNState, keys: Sequence[jax.Array], epsilon: jax.Array
    ) -> tuple[Any, jax.Array, experience.Step, jax.Array, jax.Array]:
        """Acts for some steps: environment state, next observation, steps, episode returns and lengths, [T, N, ...]."""
        rollout_key, noise_key, resets_key = keys
        length = config.steps_per_iteration
        noise = exploration.draw(noise_key, (length, config.num_envs), num_actions)
        env_state = env.prepare(resets_key, state.env_state, length)

        def act_and_step(carry: tuple[Any, jax.Array], inputs: Any) -> Any:
            env_state, obs = carry
            step_key, noise_t = inputs
            action = exploration.epsilon_greedy(values(state.params, obs), noise_t, epsilon)
            env_state, t = env.step(step_key, env_state, action)
            step = experience.Step(obs, action, t.reward, t.terminated, t.truncated, t.final_obs, t.valid)
            return (env_state, t.obs), (step, t.episode_return, t.episode_length)

        (env_state, obs), (steps, episode_return, episode_length) = jax.lax.scan(
            act_and_step, (env_state, state.obs), (jax.random.split(rollout_key, length), noise)
        )
        return env.release(env_state), obs, steps, episode_return, episode_length

    def step(state: DQNState) -> tuple[DQNState, metrics.QMetrics]:
        hyper = state.hyperparams
        key, learn_key, *collect_keys = jax.random.split(state.key, 5)
        epsilon = exploration.epsilon(config, hyper, state.iteration)
        env_state, obs, steps, episode_return, episode_length = collect(state, collect_keys, epsilon)
        stored, recent = memory.add(state.replay, state.recent, steps, hyper.gamma)

        started = state.iteration >= config.warmup_iterations
        beta = hyper.importance_exponent + (1 - hyper.importance_exponent) * state.iteration / config.num_iterations
        learned = (state.iteration - config.warmup_iterations) / (config.num_iterations - config.warmup_iterations)
        tx = make_optimizer(optimizer, config, hyper, jnp.maximum(learned, 0.0))

        def loss_fn(params: Any, rows: Transition, weights: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            chosen = jnp.take_along_axis(values(params, rows.obs), rows.action[:, None], axis=1)[:, 0]
            error = chosen - rows.reward - rows.factor * jax.lax.stop_gradient(bootstrap(params, rows.next_obs))
            kind = losses.huber if config.loss == "huber" else losses.squared_error
            return jnp.sum(weights * kind(error)), (error, chosen)

        def bootstrap(params: Any, next_obs: jax.Array) -> jax.Array:
            target = values(state.target_params, next_obs)
            choosing = values(params, next_obs) if config.double else target
            return jnp.take_along_axis(target, jnp.argmax(choosing, axis=1)[:, None], axis=1)[:, 0]

        def learn(carry: tuple[Any, Any, Any], inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, metrics.UpdateStats]:
            (params, opt_state, tree), (number, key) = carry, inputs
            drawn = memory.sample(stored._replace(tree=tree), key)
            share = drawn.usable / jnp.maximum(jnp.sum(drawn.usable), 1)
            weights = share
            if config.prioritized:
                weights = share * replay.importance_weights(drawn.probability, stored.size, beta)
            (loss, (error, chosen)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, drawn.rows, weights)
            done = jnp.maximum(state.iteration - config.warmup_iterations, 0) * config.updates_per_iteration + number
            of_target = state.iteration % config.iterations_per_target * config.updates_per_iteration + number
            told = telling.extra_args(
                network,
                params,
                drawn.rows.obs,
                value=loss,
                progress=done / config.num_updates,
                epoch=of_target / config.updates_per_target,
                key=telling.key_of(state.key, number),
            )
            updates, new_opt_state = tx.update(grads, opt_state, params, **told)
            # Not a cond: under vmap it would run both branches all the same.
            new_params, new_opt_state = jax.tree.map(
                lambda new, old: jnp.where(started, new, old),
                (optax.apply_updates(params, updates), new_opt_state),
                (params, opt_state),
            )
            # The replay's data is closed over, not carried: loops copy what they carry.
            tree = replay.reprioritize(tree, drawn, error, hyper.priority_exponent)
            stats = metrics.update_stats(loss, jnp.sum(share * chosen), jnp.sum(share * jnp.abs(error)), grads, updates)
            stats = jax.tree.map(lambda x: jnp.where(started, x, 0.0), stats)
            return (new_params, new_opt_state, tree), stats

        carry = (state.params, state.opt_state, stored.tree)
        keys = (
            learn_key[None]
            if config.updates_per_iteration == 1
            else jax.random.split(learn_key, config.updates_per_iteration)
        )
        inputs = (jnp.arange(config.updates_per_iteration), keys)
        (params, opt_state, tree), history = jax.lax.scan(learn, carry, inputs)
        stored = stored._replace(tree=tree)

        due = (state.iteration + 1) % config.iterations_per_target == 0
        share = jnp.where(due, hyper.target_rate, 0.0)
        target_params = jax.tree.map(lambda old, new: old + share * (new - old), state.target_params, params)
        measured = metrics.iteration(episode_return, episode_length, history, epsilon)
        new_state = DQNState(
            *(state.iteration + 1, params, target_params, opt_state, stored, recent, env_state, obs, key, hyper)
        )
        return new_state, measured

    unsaved = () if spec.restorable else ("env_state", "obs", "recent")
    return Agent(
        init, step, exploration.actor(values, num_actions, config.epsilon_end), lambda state: state.params, unsaved
    )
