"""Deep Q-learning with replay (Mnih et al., Nature 2015; van Hasselt et al., arXiv 1509.06461)."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import experience, exploration, learning, losses, metrics, models, replay, telling
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
from agents.dqn_config import DQNConfig
from agents.hyperparameters import Hyperparams, maker, type_of
from agents.models import Model
from agents.replay import Transition
from agents.rollout import rollout
from envs import VectorEnv

DQNHyperparams = type_of("DQNHyperparams", DQNConfig)


class DQNState(NamedTuple):
    """Everything an agent carries between iterations.

    Attributes:
      iteration: int32, iterations done.
      params: tree.
      target_params: tree, of the target network.
      opt_state: of the optimizer.
      replay: see `experience`.
      recent: the last steps, not all of which have their n rewards yet; None if all do.
      env_state: of the environments.
      obs: [N, *shape], what the agent sees next.
      key: PRNG key.
      hyperparams: traced scalars.
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
    hyperparams: Hyperparams


def dqn(env: VectorEnv, config: DQNConfig, optimizer: OptimizerFactory, network: NetworkLike | None = None) -> Agent:
    """DQN with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the mean loss of
    the replayed batch.

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes, switches and scalars; `hyperparams` of the result gives the scalars to `init`.
      optimizer: (learning_rate, num_updates) -> optax optimizer.
      network: your own instead of the configuration's, see `NetworkLike`.

    Returns:
      An `Agent`; `init` takes `DQNHyperparams`.

    Raises:
      ValueError: for impossible settings, an environment that this agent cannot act in, or a network that does not fit.
    """
    config.check()
    check_environment(env, config)
    num_actions = check_discrete(env, "dqn").n
    model = models.action_values(config, env.spec.observation_shape, num_actions, False, network)
    memory = experience.memory(env.spec, config)
    init = partial(initial, env, model, memory, config, optimizer)

    def step(state: DQNState) -> tuple[DQNState, metrics.QMetrics]:
        key, learn_key, rollout_key, noise_key, resets_key = jax.random.split(state.key, 5)
        epsilon = exploration.epsilon(config, state.hyperparams, state.iteration)

        def act(obs: jax.Array, noise: exploration.Noise) -> tuple[jax.Array, None]:
            return exploration.epsilon_greedy(model.apply(state.params, obs), noise, epsilon), None

        noise = exploration.draw(noise_key, (config.steps_per_iteration, config.num_envs), num_actions)
        keys = (resets_key, rollout_key)
        env_state, obs, found = rollout(env, act, state.env_state, state.obs, noise, keys)
        t = found.steps
        steps = experience.Step(t.obs, found.action, t.reward, t.terminated, t.truncated, t.final_obs, t.valid)
        stored, recent = memory.add(state.replay, state.recent, steps, state.hyperparams.gamma)
        params, opt_state, stored, updates = learn(model, memory, config, optimizer, state, stored, learn_key)
        after = state._replace(
            iteration=state.iteration + 1,
            params=params,
            target_params=next_target(config, state, params),
            opt_state=opt_state,
            replay=stored,
            recent=recent,
            env_state=env_state,
            obs=obs,
            key=key,
        )
        return after, metrics.of_action_values(found.steps, updates, epsilon)

    act = exploration.actor(model.apply, num_actions, config.epsilon_end)
    make_hyperparams = maker(config, DQNHyperparams)
    return Agent(init, step, act, lambda state: state.params, make_hyperparams, unsaved_fields(env, "recent"))


def initial(
    env: VectorEnv,
    model: Model,
    memory: experience.Memory,
    config: DQNConfig,
    optimizer: OptimizerFactory,
    key: jax.Array,
    hyperparams: Hyperparams,
) -> DQNState:
    """Before the first iteration: new environments, new parameters, an empty replay."""
    key, env_state, params, obs, hyperparams = start(env, model.init, key, hyperparams)
    empty, nothing = memory.init(obs)
    return DQNState(
        iteration=jnp.zeros([], jnp.int32),
        params=params,
        target_params=jax.tree.map(jnp.copy, params),  # of its own, so that a state can be donated
        opt_state=make_optimizer(optimizer, config, hyperparams, 0.0).init(params),
        replay=empty,
        recent=nothing,
        env_state=env_state,
        obs=obs,
        key=key,
        hyperparams=hyperparams,
    )


def learn(
    model: Model,
    memory: experience.Memory,
    config: DQNConfig,
    optimizer: OptimizerFactory,
    state: DQNState,
    stored: Any,
    key: jax.Array,
) -> tuple[Any, Any, Any, learning.Update]:
    """An iteration's updates from the replay: params, opt_state, the replay with new priorities, what they were.

    Args:
      state: at the start of the iteration. stored: the replay with this iteration's steps. key: for drawing from it.
    """
    hyperparams = state.hyperparams
    started = state.iteration >= config.warmup_iterations
    beta = hyperparams.importance_exponent
    beta = beta + (1 - beta) * state.iteration / config.num_iterations
    learned = (state.iteration - config.warmup_iterations) / (config.num_iterations - config.warmup_iterations)
    tx = make_optimizer(optimizer, config, hyperparams, jnp.maximum(learned, 0.0))

    def update(carry: tuple[Any, Any, Any], inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, learning.Update]:
        (params, opt_state, tree), (number, key) = carry, inputs
        drawn = memory.sample(stored._replace(tree=tree), key)
        share = drawn.usable / jnp.maximum(jnp.sum(drawn.usable), 1)
        weights = share
        if config.prioritized:
            weights = share * replay.importance_weights(drawn.probability, stored.size, beta)
        done = jnp.maximum(state.iteration - config.warmup_iterations, 0) * config.updates_per_iteration + number
        of_target = state.iteration % config.iterations_per_target * config.updates_per_iteration + number

        def tell(loss: jax.Array, aux: Any) -> Mapping[str, Any]:
            return telling.extra_args(
                params,
                value=loss,
                progress=done / config.num_updates,
                epoch=of_target / config.updates_per_target,
                key=telling.key_of(state.key, number),
                dormancy=lambda: model.dormancy(params, drawn.rows.obs),
            )

        *after, made = learning.gradient_step(
            tx,
            lambda params: loss(model, config, params, state.target_params, drawn.rows, weights),
            params,
            opt_state,
            tell,
        )
        params, opt_state = jax.tree.map(lambda new, old: jnp.where(started, new, old), after, [params, opt_state])
        error, chosen = made.aux
        # The replay's data is closed over, not carried: loops copy what they carry.
        tree = replay.reprioritize(tree, drawn, error, hyperparams.priority_exponent)
        made = made._replace(aux=metrics.QParts(jnp.sum(share * chosen), jnp.sum(share * jnp.abs(error))))
        return (params, opt_state, tree), jax.tree.map(lambda x: jnp.where(started, x, 0.0), made)

    num = config.updates_per_iteration
    keys = key[None] if num == 1 else jax.random.split(key, num)
    carry = (state.params, state.opt_state, stored.tree)
    (params, opt_state, tree), updates = learning.scan_once_started(started, update, carry, (jnp.arange(num), keys))
    return params, opt_state, stored._replace(tree=tree), updates


def loss(
    model: Model, config: DQNConfig, params: Any, target_params: Any, rows: Transition, weights: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Weighted sum of the losses of the temporal-difference errors.

    Args:
      rows: transitions, leaves [B, ...]. weights: float32 [B].

    Returns:
      The loss; errors and values of the chosen actions, [B] each.

    Reference: double Q-learning, arXiv 1509.06461, equation 4.
    """
    chosen = jnp.take_along_axis(model.apply(params, rows.obs), rows.action[:, None], axis=1)[:, 0]
    target = model.apply(target_params, rows.next_obs)
    choosing = model.apply(params, rows.next_obs) if config.double else target
    following = jnp.take_along_axis(target, jnp.argmax(choosing, axis=1)[:, None], axis=1)[:, 0]
    error = chosen - rows.reward - rows.factor * jax.lax.stop_gradient(following)
    kind = losses.huber if config.loss == "huber" else losses.squared_error
    return jnp.sum(weights * kind(error)), (error, chosen)


def next_target(config: DQNConfig, state: DQNState, params: Any) -> Any:
    """The target network after an iteration that ended with params: moved by target_rate where one is due."""
    due = (state.iteration + 1) % config.iterations_per_target == 0
    share = jnp.where(due, state.hyperparams.target_rate, 0.0)
    return jax.tree.map(lambda old, new: old + share * (new - old), state.target_params, params)
