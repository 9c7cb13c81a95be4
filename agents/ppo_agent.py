"""Proximal Policy Optimization (Schulman et al., arXiv 1707.06347). `docs/ppo.md` lists every detail and its source."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import actions, learning, losses, metrics, models, normalization
from agents.actions import ActionHead
from agents.base import (
    Agent,
    NetworkLike,
    OptimizerFactory,
    check_environment,
    make_optimizer,
    start,
    unsaved_fields,
)
from agents.config import PPOConfig, PPOSettings
from agents.hyperparameters import Hyperparams, maker, type_of
from agents.models import Model
from agents.recurrent import RecurrentModel
from agents.returns import generalized_advantages
from agents.rollout import Rollout, next_values, over_steps, rollout
from envs import TimeStep, VectorEnv

PPOHyperparams = type_of("PPOHyperparams", PPOConfig)


class PPOState(NamedTuple):
    """Everything an agent carries between iterations.

    Attributes:
      iteration: int32, iterations done.
      params: tree.
      opt_state: of the optimizer.
      env_state: of the environments.
      obs: [N, *shape], what the agent sees next.
      key: PRNG key.
      hyperparams: traced scalars.
      observations: running statistics; None where they are not normalised.
      rewards: likewise.
    """

    iteration: jax.Array
    params: Any
    opt_state: Any
    env_state: Any
    obs: jax.Array
    key: jax.Array
    hyperparams: Hyperparams
    observations: normalization.Moments | None
    rewards: normalization.RewardScale | None


class PPOPolicy(NamedTuple):
    """What acting takes: the network's parameters and, where observations are normalised, their statistics."""

    params: Any
    observations: normalization.Moments | None


class PPOMetrics(NamedTuple):
    """One iteration; scalars. Returns are raw, of the training episodes that ended in this iteration.

    Attributes:
      return_sum: float32, over those episodes.
      length_sum: float32, over those episodes.
      num_episodes: int32.
      loss: float32 mean over the minibatches, up to that at which a KL stop ends the iteration.
      policy_loss: likewise.
      value_loss: likewise.
      entropy: likewise.
      approx_kl: likewise.
      clip_fraction: likewise.
      grad_norm: likewise, before clipping.
      update_rms: over the updates made, 0 if there were none.
      explained_variance: of the critic on this rollout, before learning.
    """

    return_sum: jax.Array
    length_sum: jax.Array
    num_episodes: jax.Array
    loss: jax.Array
    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array
    grad_norm: jax.Array
    update_rms: jax.Array
    explained_variance: jax.Array


class Batch(NamedTuple):
    """Transitions, leaves [T, N, ...] or [B, ...]; obs as the network sees it, noise as drawn for the action."""

    obs: Any
    action: jax.Array
    log_prob: jax.Array
    noise: jax.Array
    value: jax.Array
    advantage: jax.Array
    valid: jax.Array


class Parts(NamedTuple):
    """Of a minibatch's loss and what it tells of the policy; float32 scalars, see `PPOMetrics`."""

    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array


def ppo(env: VectorEnv, config: PPOConfig, optimizer: OptimizerFactory, network: NetworkLike | None = None) -> Agent:
    """PPO with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the minibatch's
    loss (config.optimizer_loss says which).

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes, switches and scalars; `hyperparams` of the result gives the scalars to `init`.
      optimizer: (learning_rate, num_updates) -> optax optimizer.
      network: your own instead of the configuration's, see `NetworkLike`.

    Returns:
      An `Agent`; `init` takes `PPOHyperparams`.

    Raises:
      ValueError: for impossible settings, an environment that this agent cannot act in, or a network that does not fit.
    """
    config.check()
    check_environment(env, config)
    head = actions.make(env.spec.action_space, config.squash)
    model = models.actor_critic(config, env.spec.observation_shape, head.num_outputs, head.has_log_std, network)
    init = partial(initial, env, model, config, optimizer)

    def step(state: PPOState) -> tuple[PPOState, PPOMetrics]:
        key, *collect_keys, shuffle_key = jax.random.split(state.key, 5)
        env_state, obs, found, noise = collect(env, model, head, config, state, collect_keys)
        batch, rewards = targets(env, model, config, state, found, noise, obs)
        params, opt_state, epochs = learn(model, head, config, optimizer, state, batch, shuffle_key)
        observations = state.observations
        if observations is not None:
            observations = normalization.update(observations, found.steps.obs, found.steps.valid)
        iteration = state.iteration + 1
        after = PPOState(iteration, params, opt_state, env_state, obs, key, state.hyperparams, observations, rewards)
        return after, measure(found, batch, epochs)

    def act(policy: PPOPolicy, obs: jax.Array, key: jax.Array, greedy: bool = True) -> jax.Array:
        outputs = model.policy(policy.params, normalization.apply(policy.observations, obs))
        return actions.choose(head, outputs, key, greedy)

    def policy(state: PPOState) -> PPOPolicy:
        return PPOPolicy(state.params, state.observations)

    return Agent(init, step, act, policy, maker(config, PPOHyperparams), unsaved_fields(env))


def initial(
    env: VectorEnv,
    model: Model,
    config: PPOConfig,
    optimizer: OptimizerFactory,
    key: jax.Array,
    hyperparams: Hyperparams,
) -> PPOState:
    """Before the first iteration: new environments, new parameters."""
    return PPOState(**first_fields(env, model.init, config, optimizer, key, hyperparams))


def first_fields(
    env: VectorEnv,
    init: Callable[[jax.Array, Any], Any],
    config: PPOSettings,
    optimizer: OptimizerFactory,
    key: jax.Array,
    hyperparams: Hyperparams,
) -> dict[str, Any]:
    """What states with and without a memory have in common, before the first iteration."""
    key, env_state, params, obs, hyperparams = start(env, init, key, hyperparams)
    return {
        "iteration": jnp.zeros([], jnp.int32),
        "params": params,
        "opt_state": make_optimizer(optimizer, config, hyperparams, 0.0).init(params),
        "env_state": env_state,
        "obs": obs,
        "key": key,
        "hyperparams": hyperparams,
        "observations": normalization.init(env.spec.observation_shape) if config.normalize_observations else None,
        "rewards": normalization.init_rewards(config.num_envs) if config.normalize_rewards else None,
    }


def collect(
    env: VectorEnv, model: Model, head: ActionHead, config: PPOConfig, state: PPOState, keys: Sequence[jax.Array]
) -> tuple[Any, jax.Array, Rollout, jax.Array]:
    """Acts with the current policy.

    Args:
      keys: for the steps, the noise, and first states of new episodes.

    Returns:
      The environment's state, what is seen next, the rollout, and the noise [T, N, ...]. The rollout's extras are
      log-probabilities [T, N] and, where acting gives them, values [T, N], else None.
    """
    steps_key, noise_key, resets_key = keys

    def act(obs: jax.Array, noise_t: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None]]:
        obs = normalization.apply(state.observations, obs)
        # A shared torso gives the value with the policy; a critic of its own is faster on the whole rollout at once.
        both = model.apply(state.params, obs) if model.is_shared else (model.policy(state.params, obs), None)
        action = head.sample(both[0], noise_t)
        return action, (head.log_prob(both[0], action), both[1])

    noise = head.draw_noise(noise_key, (config.rollout_length, config.num_envs))
    env_state, obs, found = rollout(env, act, state.env_state, state.obs, noise, (resets_key, steps_key), head.to_env)
    return env_state, obs, found, noise


def targets(
    env: VectorEnv,
    model: Model,
    config: PPOConfig,
    state: PPOState,
    found: Rollout,
    noise: jax.Array,
    obs: jax.Array,
) -> tuple[Batch, normalization.RewardScale | None]:
    """What to learn from, leaves [T, N, ...]: the rollout with values and advantages; the scale of rewards after it.

    Args:
      state: before the rollout; all is in the units that were acted in. obs: what is seen after it.
    """
    steps, (log_prob, values) = found.steps, found.extras

    def value(obs: jax.Array) -> jax.Array:
        return model.value(state.params, normalization.apply(state.observations, obs))

    if values is None:
        values = over_steps(value, steps.obs)
    advantages, rewards = estimate(config, state, steps, values, next_values(env, value, steps, obs, values))
    inputs = normalization.apply(state.observations, steps.obs)
    return Batch(inputs, found.action, log_prob, noise, values, advantages, steps.valid), rewards


def estimate(
    config: PPOSettings, state: Any, steps: TimeStep, values: jax.Array, following: jax.Array
) -> tuple[jax.Array, normalization.RewardScale | None]:
    """Advantages [T, N], and the scale of rewards after the rollout.

    Args:
      state: before the rollout. steps: of it. values, following: V of the states acted on and of those led to, [T, N].
    """
    reward, rewards = steps.reward, state.rewards
    if rewards is not None:
        reward, rewards = normalization.scale_rewards(rewards, reward, steps.done, steps.valid, state.hyperparams.gamma)
    advantages = generalized_advantages(
        reward,
        values,
        following,
        steps.terminated if config.bootstrap_on_truncation else steps.done,
        steps.truncated,
        state.hyperparams.gamma,
        state.hyperparams.gae_lambda,
    )
    return advantages, rewards


def learn(
    model: Model | RecurrentModel,
    head: ActionHead,
    config: PPOSettings,
    optimizer: OptimizerFactory,
    state: Any,
    batch: Batch,
    shuffle_key: jax.Array,
) -> tuple[Any, Any, learning.Epochs]:
    """Some epochs over a rollout: params, opt_state, what happened; of the agents with and without a memory.

    Args:
      model: see `learning.update_epochs`. state: the agent's at the start of the iteration. batch: leaves [T, N, ...].
    """
    return learning.update_epochs(
        model,
        config,
        make_optimizer(optimizer, config, state.hyperparams, state.iteration / config.num_iterations),
        lambda params, minibatch: loss(model, head, config, state.hyperparams, params, minibatch),
        state,
        batch,
        shuffle_key,
        reported=lambda total, parts: total if config.optimizer_loss == "total" else parts.value_loss,
        stop=None if config.target_kl is None else lambda parts: parts.approx_kl > state.hyperparams.target_kl,
    )


def loss(
    model: Model | RecurrentModel,
    head: ActionHead,
    config: PPOSettings,
    hyperparams: Hyperparams,
    params: Any,
    batch: Batch,
) -> tuple[jax.Array, Parts]:
    """PPO's loss on a minibatch, leaves [B, ...] or [B, L, ...]: policy - entropy_coef entropy + value_coef value.

    Reference: arXiv 1707.06347, equation 9.
    """
    actor_outputs, new_value = model.apply(params, batch.obs)
    log_ratio = head.log_prob(actor_outputs, batch.action) - batch.log_prob
    advantage = batch.advantage
    if config.normalize_advantages:
        advantage = losses.standardize(advantage, batch.valid)
    target = batch.advantage + batch.value
    if config.clip_value:
        value_losses = losses.clipped_value_loss(new_value, batch.value, target, hyperparams.clip_epsilon)
    else:
        value_losses = losses.squared_error(new_value - target)

    def mean(x: jax.Array) -> jax.Array:
        return losses.masked_mean(x, batch.valid)

    policy_loss = mean(losses.clipped_surrogate(log_ratio, advantage, hyperparams.clip_epsilon))
    value_loss = mean(value_losses)
    entropy = mean(head.entropy(actor_outputs, batch.noise))
    total = policy_loss - hyperparams.entropy_coef * entropy + hyperparams.value_coef * value_loss
    clipped = jnp.abs(jnp.exp(log_ratio) - 1) > hyperparams.clip_epsilon
    kl = mean(losses.approximate_kl(log_ratio))
    return total, Parts(policy_loss, value_loss, entropy, kl, mean(clipped.astype(jnp.float32)))


def measure(found: Rollout, batch: Batch, epochs: learning.Epochs) -> PPOMetrics:
    """Sums up an iteration: the episodes that ended, the updates, and the critic before them."""
    updates = epochs.updates
    means = jax.tree.map(lambda x: losses.masked_mean(x, epochs.counts), updates)
    return PPOMetrics(
        *metrics.episode_sums(found.steps.episode_return, found.steps.episode_length),
        loss=means.loss,
        **means.aux._asdict(),
        grad_norm=means.grad_norm,
        update_rms=losses.masked_mean(updates.update_rms, epochs.made),
        explained_variance=metrics.explained_variance(batch.value, batch.advantage, batch.valid),
    )
