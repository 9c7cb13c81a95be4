"""Proximal Policy Optimization (Schulman et al., arXiv 1707.06347). `docs/ppo.md` lists every detail and its source."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import actions, losses, metrics, networks, normalization, permutation, telling
from agents.base import Agent, OptimizerFactory, check_environment, make_optimizer
from agents.config import PPOConfig
from agents.returns import generalized_advantages
from envs import VectorEnv


class PPOHyperparams(NamedTuple):
    """Scalars that may differ between the members of a population; float32, traced."""

    learning_rate: Any
    gamma: Any
    gae_lambda: Any
    clip_epsilon: Any
    entropy_coef: Any
    value_coef: Any
    max_grad_norm: Any
    target_kl: Any


class PPOState(NamedTuple):
    """Everything an agent carries between iterations.

    iteration: int32, iterations done. params, opt_state: trees. env_state: of the environment.
    obs: [N, *shape], what the agent sees next. key: PRNG key. hyperparams: PPOHyperparams.
    observations, rewards: running statistics; None where they are not normalised.
    """

    iteration: jax.Array
    params: Any
    opt_state: Any
    env_state: Any
    obs: jax.Array
    key: jax.Array
    hyperparams: PPOHyperparams
    observations: normalization.Moments | None
    rewards: normalization.RewardScale | None


class PPOPolicy(NamedTuple):
    """What acting takes: the network's parameters and, where observations are normalised, their statistics."""

    params: Any
    observations: normalization.Moments | None


class PPOMetrics(NamedTuple):
    """One iteration; scalars. Returns are raw, of the training episodes that ended in this iteration.

    return_sum, length_sum: float32 sums over those episodes; num_episodes: int32.
    loss, policy_loss, value_loss, entropy, approx_kl, clip_fraction, grad_norm: float32 means over the minibatches, up
    to that at which a KL stop ends the iteration; update_rms: over the updates made, 0 if there were none.
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


class _UpdateStats(NamedTuple):
    """Of one update; float32 scalars, see `PPOMetrics`."""

    loss: jax.Array
    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array
    grad_norm: jax.Array
    update_rms: jax.Array


class _Batch(NamedTuple):
    """Transitions, leaves [T, N, ...] or [B, ...]."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    noise: jax.Array
    value: jax.Array
    advantage: jax.Array
    valid: jax.Array


def ppo_hyperparams(config: PPOConfig, learning_rate: Any) -> PPOHyperparams:
    """The traced scalars of a configuration."""
    return PPOHyperparams(
        learning_rate=learning_rate,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_epsilon=config.clip_epsilon,
        entropy_coef=config.entropy_coef,
        value_coef=config.value_coef,
        max_grad_norm=jnp.inf if config.max_grad_norm is None else config.max_grad_norm,
        target_kl=jnp.inf if config.target_kl is None else config.target_kl,
    )


def ppo(env: VectorEnv, config: PPOConfig, optimizer: OptimizerFactory) -> Agent:
    """PPO with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the minibatch's
    loss (config.optimizer_loss says which).

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes and switches; its scalars reach the agent through `ppo_hyperparams`.
      optimizer: (learning_rate, num_updates) -> optax optimizer.

    Returns:
      An `Agent`; `init` takes `PPOHyperparams`.

    Raises:
      ValueError: for impossible settings, or an environment that this agent cannot act in.
    """
    config.check()
    spec = env.spec
    check_environment(env, config)
    head = actions.make(spec.action_space, config.squash)
    network = networks.actor_critic(
        config.network, spec.observation_shape, head.num_outputs, config.hidden, config.activation, head.has_log_std
    )
    updates_per_iteration = config.epochs * config.minibatches
    # A shared torso gives the value with the policy; a critic of its own is faster on the whole rollout at once.
    value_while_acting = isinstance(network, networks.SharedActorCritic)

    def policy(params: Any, obs: jax.Array) -> Any:
        return network.apply(params, obs, method="policy")

    def value(params: Any, obs: jax.Array) -> Any:
        return network.apply(params, obs, method="value")

    def seen(moments: normalization.Moments | None, obs: jax.Array) -> jax.Array:
        return obs if moments is None else normalization.standardize(moments, obs)

    def init(key: jax.Array, hyper: PPOHyperparams) -> PPOState:
        hyper = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
        key, params_key, env_key = jax.random.split(key, 3)
        env_state, obs = env.reset(env_key)
        params = network.init(params_key, obs)
        return PPOState(
            iteration=jnp.zeros([], jnp.int32),
            params=params,
            opt_state=make_optimizer(optimizer, config, hyper, 0.0).init(params),
            env_state=env_state,
            obs=obs,
            key=key,
            hyperparams=hyper,
            observations=normalization.init(spec.observation_shape) if config.normalize_observations else None,
            rewards=normalization.init_rewards(config.num_envs) if config.normalize_rewards else None,
        )

    def step(state: PPOState) -> tuple[PPOState, PPOMetrics]:
        hyper, params = state.hyperparams, state.params
        moments = state.observations
        key, rollout_key, noise_key, resets_key, shuffle_key = jax.random.split(state.key, 5)
        # All random numbers of the rollout at once: on a CPU, a few at every step would take longer than acting.
        noise = head.draw_noise(noise_key, (config.rollout_length, config.num_envs))
        env_state = env.prepare(resets_key, state.env_state, config.rollout_length)

        def act_and_step(carry: tuple[Any, jax.Array], inputs: tuple[jax.Array, jax.Array]) -> Any:
            env_state, obs = carry
            step_key, noise_t = inputs
            looked_at = seen(moments, obs)
            outputs, values = (
                network.apply(params, looked_at) if value_while_acting else (policy(params, looked_at), None)
            )
            action = head.sample(outputs, noise_t)
            env_state, timestep = env.step(step_key, env_state, head.to_env(action))
            # The next observation is in the carry; keeping it in the rollout too would only cost memory.
            kept = timestep._replace(obs=obs)
            return (env_state, timestep.obs), (kept, action, head.log_prob(outputs, action), values)

        (env_state, obs), (rollout, action, log_prob, values) = jax.lax.scan(
            act_and_step, (env_state, state.obs), (jax.random.split(rollout_key, config.rollout_length), noise)
        )
        env_state = env.release(env_state)
        reward, reward_scale = rollout.reward, state.rewards
        if reward_scale is not None:
            reward, reward_scale = normalization.scale_rewards(
                reward_scale, reward, rollout.done, rollout.valid, hyper.gamma
            )

        def values_of(observations: jax.Array) -> jax.Array:  # [T, N, ...] -> [T, N]
            flat = observations.reshape(-1, *spec.observation_shape)
            return value(params, seen(moments, flat)).reshape(observations.shape[:2])

        if not value_while_acting:
            values = values_of(rollout.obs)
        # V of the state that each action led to, which is right at time limits.
        if spec.next_step_reset:
            next_values = jnp.concatenate([values[1:], values_of(obs[None])])
        else:
            next_values = values_of(rollout.final_obs)
        terminated = rollout.terminated if config.bootstrap_on_truncation else rollout.done
        advantages = generalized_advantages(
            reward, values, next_values, terminated, rollout.truncated, hyper.gamma, hyper.gae_lambda
        )
        # Learned from in the units in which they were acted on; the statistics take them in afterwards.
        batch = _Batch(seen(moments, rollout.obs), action, log_prob, noise, values, advantages, rollout.valid)
        flat_batch = jax.tree.map(lambda x: x.reshape(config.batch_size, *x.shape[2:]), batch)

        def loss_fn(params: Any, minibatch: _Batch) -> tuple[jax.Array, Any]:
            outputs: Any = network.apply(params, minibatch.obs)
            actor_outputs, new_value = outputs
            log_ratio = head.log_prob(actor_outputs, minibatch.action) - minibatch.log_prob
            advantage = minibatch.advantage
            if config.normalize_advantages:
                advantage = losses.standardize(advantage, minibatch.valid)
            target = minibatch.advantage + minibatch.value
            if config.clip_value:
                value_losses = losses.clipped_value_loss(new_value, minibatch.value, target, hyper.clip_epsilon)
            else:
                value_losses = losses.squared_error(new_value - target)

            def mean(x: jax.Array) -> jax.Array:
                return losses.masked_mean(x, minibatch.valid)

            policy_loss = mean(losses.clipped_surrogate(log_ratio, advantage, hyper.clip_epsilon))
            value_loss = mean(value_losses)
            entropy = mean(head.entropy(actor_outputs, minibatch.noise))
            total = policy_loss - hyper.entropy_coef * entropy + hyper.value_coef * value_loss
            clipped = jnp.abs(jnp.exp(log_ratio) - 1) > hyper.clip_epsilon
            kl = mean(losses.approximate_kl(log_ratio))
            return total, (policy_loss, value_loss, entropy, kl, mean(clipped.astype(jnp.float32)))

        tx = make_optimizer(optimizer, config, hyper, state.iteration / config.num_iterations)

        def update(
            carry: tuple[Any, Any, jax.Array], inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[Any, tuple[_UpdateStats, Any, Any]]:
            (params, opt_state, stopped), (number, rows) = carry, inputs
            looked_at = ~stopped
            minibatch = jax.tree.map(lambda x: x[rows], flat_batch)
            (loss, parts), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, minibatch)
            policy_loss, value_loss, entropy, kl, clipped = parts
            reported = loss if config.optimizer_loss == "total" else value_loss
            told = telling.extra_args(
                network,
                params,
                minibatch.obs,
                value=reported,
                progress=(state.iteration * updates_per_iteration + number) / config.num_updates,
                epoch=number / updates_per_iteration,
                key=telling.key_of(state.key, number),
            )
            updates, new_opt_state = tx.update(grads, opt_state, params, **told)
            new_params = optax.apply_updates(params, updates)
            if config.target_kl is not None:
                # The update that finds the policy too far away is not made, nor is any other of this iteration.
                stopped = stopped | (kl > hyper.target_kl)
                new_params, new_opt_state = jax.tree.map(
                    lambda old, new: jnp.where(stopped, old, new), (params, opt_state), (new_params, new_opt_state)
                )
            grad_norm, update_rms = optax.tree.norm(grads), metrics.rms(updates)
            stats = _UpdateStats(loss, policy_loss, value_loss, entropy, kl, clipped, grad_norm, update_rms)
            return (new_params, new_opt_state, stopped), (stats, looked_at, ~stopped)

        # One permutation per epoch, cut into minibatches without replacement.
        order = permutation.epochs(shuffle_key, config.epochs, config.batch_size)
        rows = order.reshape(updates_per_iteration, config.learning_batch)
        carry = (params, state.opt_state, jnp.zeros([], bool))
        inputs = (jnp.arange(updates_per_iteration), rows)
        (params, opt_state, _), (history, looked_at, made) = jax.lax.scan(update, carry, inputs)
        means = jax.tree.map(lambda x: losses.masked_mean(x, looked_at), history)
        means = means._replace(update_rms=losses.masked_mean(history.update_rms, made))

        residual = losses.masked_mean(jnp.square(advantages - losses.masked_mean(advantages, batch.valid)), batch.valid)
        targets = advantages + values
        spread = losses.masked_mean(jnp.square(targets - losses.masked_mean(targets, batch.valid)), batch.valid)
        measured = PPOMetrics(
            *metrics.episode_sums(rollout.episode_return, rollout.episode_length),
            **means._asdict(),
            explained_variance=1 - residual / jnp.maximum(spread, 1e-8),
        )
        if moments is not None:
            moments = normalization.update(moments, rollout.obs, rollout.valid)
        new_state = PPOState(state.iteration + 1, params, opt_state, env_state, obs, key, hyper, moments, reward_scale)
        return new_state, measured

    def act(policy_params: PPOPolicy, obs: jax.Array, key: jax.Array, greedy: bool = True) -> jax.Array:
        outputs = policy(policy_params.params, seen(policy_params.observations, obs))
        if greedy:
            return head.to_env(head.mode(outputs))
        return head.to_env(head.sample(outputs, head.draw_noise(key, obs.shape[:1])))

    unsaved = () if spec.restorable else ("env_state", "obs")
    return Agent(init, step, act, lambda state: PPOPolicy(state.params, state.observations), unsaved)
