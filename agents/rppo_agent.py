"""PPO with a memory, learned by truncated backpropagation through time. `docs/rppo.md` lists every detail."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import actions, normalization, ppo_agent, recurrent
from agents.actions import ActionHead
from agents.base import (
    Agent,
    NetworkLike,
    OptimizerFactory,
    Recurrence,
    check_environment,
    unsaved_fields,
)
from agents.hyperparameters import Hyperparams, maker, type_of
from agents.ppo_agent import Batch, PPOMetrics, PPOPolicy
from agents.recurrent import RecurrentModel, Seen
from agents.rollout import Rollout, episode_over, recurrent_rollout
from agents.rppo_config import RPPOConfig
from envs import VectorEnv

RPPOHyperparams = type_of("RPPOHyperparams", RPPOConfig)


class RPPOState(NamedTuple):
    """Everything an agent carries between iterations: `PPOState`, and memory: [N, M], empty where an episode begins."""

    iteration: jax.Array
    params: Any
    opt_state: Any
    env_state: Any
    obs: jax.Array
    memory: jax.Array
    key: jax.Array
    hyperparams: Hyperparams
    observations: normalization.Moments | None
    rewards: normalization.RewardScale | None


class Extras(NamedTuple):
    """What acting tells besides, [T, N, ...]. before, after: the memory at the beginning and end of the step."""

    log_prob: jax.Array
    value: jax.Array
    before: jax.Array
    after: jax.Array


def rppo(env: VectorEnv, config: RPPOConfig, optimizer: OptimizerFactory, network: NetworkLike | None = None) -> Agent:
    """Recurrent PPO with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the minibatch's
    loss (config.optimizer_loss says which).

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes, switches and scalars; `hyperparams` of the result gives the scalars to `init`.
      optimizer: (learning_rate, num_updates) -> optax optimizer.
      network: your own instead of the configuration's, with a memory: see `recurrent.actor_critic`.

    Returns:
      An `Agent` with a `recurrence`; `init` takes `RPPOHyperparams`.

    Raises:
      ValueError: for impossible settings, an environment that this agent cannot act in, or a network that does not fit.
    """
    config.check()
    check_environment(env, config)
    head = actions.make(env.spec.action_space, config.squash)
    model = recurrent.actor_critic(config, env.spec.observation_shape, head.num_outputs, head.has_log_std, network)
    init = partial(initial, env, model, config, optimizer)

    def step(state: RPPOState) -> tuple[RPPOState, PPOMetrics]:
        key, *collect_keys, shuffle_key = jax.random.split(state.key, 5)
        memory, env_state, obs, found, noise = collect(env, model, head, config, state, collect_keys)
        batch, rewards = targets(env, model, config, state, found, noise, memory, obs)
        params, opt_state, epochs = ppo_agent.learn(model, head, config, optimizer, state, batch, shuffle_key)
        observations = state.observations
        if observations is not None:
            observations = normalization.update(observations, found.steps.obs, found.steps.valid)
        after = RPPOState(
            *(state.iteration + 1, params, opt_state, env_state, obs, memory, key, state.hyperparams),
            observations,
            rewards,
        )
        return after, ppo_agent.measure(found, batch, epochs)

    def act(
        policy: PPOPolicy, memory: jax.Array, obs: jax.Array, key: jax.Array, greedy: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        memory, outputs, _ = model.step(policy.params, memory, normalization.apply(policy.observations, obs))
        return memory, actions.choose(head, outputs, key, greedy)

    def act_first(policy: PPOPolicy, obs: jax.Array, key: jax.Array, greedy: bool = True) -> jax.Array:
        return act(policy, model.start(len(obs)), obs, key, greedy)[1]

    def policy(state: RPPOState) -> PPOPolicy:
        return PPOPolicy(state.params, state.observations)

    return Agent(
        *(init, step, act_first, policy, maker(config, RPPOHyperparams), unsaved_fields(env, "memory")),
        Recurrence(model.start, act),
    )


def initial(
    env: VectorEnv,
    model: RecurrentModel,
    config: RPPOConfig,
    optimizer: OptimizerFactory,
    key: jax.Array,
    hyperparams: Hyperparams,
) -> RPPOState:
    """Before the first iteration: new environments, new parameters, nothing remembered."""
    fields = ppo_agent.first_fields(env, model.init, config, optimizer, key, hyperparams)
    return RPPOState(**fields, memory=model.start(config.num_envs))


def collect(
    env: VectorEnv,
    model: RecurrentModel,
    head: ActionHead,
    config: RPPOConfig,
    state: RPPOState,
    keys: Sequence[jax.Array],
) -> tuple[jax.Array, Any, jax.Array, Rollout, jax.Array]:
    """Acts with the current policy.

    Args:
      keys: for the steps, the noise, and first states of new episodes.

    Returns:
      The memory, the environment's state, what is seen next, the rollout with `Extras`, and the noise [T, N, ...].
    """
    steps_key, noise_key, resets_key = keys

    def act(memory: jax.Array, obs: jax.Array, noise_t: jax.Array) -> tuple[jax.Array, jax.Array, Extras]:
        after, outputs, value = model.step(state.params, memory, normalization.apply(state.observations, obs))
        action = head.sample(outputs, noise_t)
        return after, action, Extras(head.log_prob(outputs, action), value, memory, after)

    noise = head.draw_noise(noise_key, (config.rollout_length, config.num_envs))
    memory, env_state, obs, found = recurrent_rollout(
        env, act, state.memory, state.env_state, state.obs, noise, (resets_key, steps_key), head.to_env
    )
    return memory, env_state, obs, found, noise


def targets(
    env: VectorEnv,
    model: RecurrentModel,
    config: RPPOConfig,
    state: RPPOState,
    found: Rollout,
    noise: jax.Array,
    memory: jax.Array,
    obs: jax.Array,
) -> tuple[Batch, normalization.RewardScale | None]:
    """What to learn from: sequences, leaves [K, N, L, ...] for rollouts of K L steps; the scale of rewards after it.

    Args:
      state: before the rollout; all is in the units that were acted in. memory, obs: after it.
    """
    steps, extras = found.steps, found.extras

    def value(memory: jax.Array, obs: jax.Array) -> jax.Array:
        return model.step(state.params, memory, normalization.apply(state.observations, obs))[2]

    if env.spec.next_step_reset:
        following = jnp.concatenate([extras.value[1:], value(memory, obs)[None]])
    else:
        # At a time limit the end is valued with the memory of the episode that it ends.
        flat = (x.reshape(-1, *x.shape[2:]) for x in (extras.after, steps.final_obs))
        following = value(*flat).reshape(extras.value.shape)
    advantages, rewards = ppo_agent.estimate(config, state, steps, extras.value, following)
    length = config.steps_per_sequence

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(-1, length, *x.shape[1:]).swapaxes(1, 2)

    inputs = normalization.apply(state.observations, steps.obs)
    batch = Batch(inputs, found.action, extras.log_prob, noise, extras.value, advantages, steps.valid)
    batch = jax.tree.map(cut, batch)
    return batch._replace(obs=Seen(extras.before[::length], batch.obs, cut(episode_over(env.spec, steps)))), rewards
