"""Soft actor-critic, its temperature learned (Haarnoja et al., arXiv 1812.05905). `docs/sac.md` lists every detail."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import actions, learning, metrics, replay, sac_losses, sac_model, telling
from agents.actions import ActionHead
from agents.base import (
    Agent,
    NetworkLike,
    OptimizerFactory,
    check_continuous,
    check_environment,
    make_optimizer,
    start,
    unsaved_fields,
)
from agents.hyperparameters import Hyperparams, maker, type_of
from agents.metrics import SACMetrics
from agents.replay import Transition
from agents.rollout import Rollout, rollout
from agents.sac_config import SACConfig
from agents.sac_model import SACModel
from envs import VectorEnv

SACHyperparams = type_of("SACHyperparams", SACConfig)
PARTS = SACConfig.parts


class SACState(NamedTuple):
    """Everything an agent carries between iterations.

    Attributes:
      iteration: int32, iterations done.
      params: {part: tree} for `PARTS`.
      target_params: of the critics.
      opt_state: {part: tree} for `PARTS`.
      replay: see `replay.Replay`.
      env_state: of the environments.
      obs: [N, *shape], what the agent sees next.
      key: PRNG key.
      hyperparams: traced scalars.
    """

    iteration: jax.Array
    params: Any
    target_params: Any
    opt_state: Any
    replay: replay.Replay
    env_state: Any
    obs: jax.Array
    key: jax.Array
    hyperparams: Hyperparams


class Learned(NamedTuple):
    """What a gradient step changes: see `SACState`."""

    params: Any
    target_params: Any
    opt_state: Any


def sac(
    env: VectorEnv,
    config: SACConfig,
    optimizer: OptimizerFactory | Mapping[str, OptimizerFactory],
    network: tuple[NetworkLike, NetworkLike] | None = None,
) -> Agent:
    """SAC with any optimizer.

    What the optimizer is told besides gradient and parameters is in `docs/optimizers.md`; as `value` the loss of its
    part.

    Args:
      env: where to act; its num_envs must equal the configuration's.
      config: sizes, switches and scalars; `hyperparams` of the result gives the scalars to `init`.
      optimizer: (learning_rate, num_updates) -> optax optimizer, for every part one of its own; or
        {"critic": ..., "actor": ..., "temperature": ...}.
      network: your own instead of the configuration's, actor and critic: see `sac_model.make`.

    Returns:
      An `Agent`; `init` takes `SACHyperparams`.

    Raises:
      ValueError: for impossible settings, an environment that this agent cannot act in, networks that do not fit, or
        optimizers for other parts.
    """
    config.check()
    check_environment(env, config)
    check_continuous(env, "sac")
    head = actions.make(env.spec.action_space, "tanh")
    model = sac_model.make(config, env.spec.observation_shape, head.num_outputs, network)
    factories = by_part(optimizer)
    init = partial(initial, env, model, head.num_outputs, config, factories)

    def step(state: SACState) -> tuple[SACState, SACMetrics]:
        key, learn_key, *collect_keys = jax.random.split(state.key, 5)
        env_state, obs, found = collect(env, model, head, config, state, collect_keys)
        stored = store(state, found)
        learned, measured = learn(model, head, config, factories, state, stored, learn_key)
        after = SACState(state.iteration + 1, *learned, stored, env_state, obs, key, state.hyperparams)
        sums = metrics.episode_sums(found.steps.episode_return, found.steps.episode_length)
        return after, SACMetrics(*sums, **measured)

    def act(policy: Any, obs: jax.Array, key: jax.Array, greedy: bool = True) -> jax.Array:
        return actions.choose(head, model.actor(policy, obs), key, greedy)

    def policy(state: SACState) -> Any:
        return state.params["actor"]

    return Agent(init, step, act, policy, maker(config, SACHyperparams), unsaved_fields(env))


def initial(
    env: VectorEnv,
    model: SACModel,
    num_actions: int,
    config: SACConfig,
    factories: Mapping[str, OptimizerFactory],
    key: jax.Array,
    hyperparams: Hyperparams,
) -> SACState:
    """Before the first iteration: new environments, new parameters, an empty replay."""

    def networks(key: jax.Array, obs: jax.Array) -> Any:
        return model.init(key, obs, jnp.zeros((len(obs), num_actions)))

    key, env_state, params, obs, hyperparams = start(env, networks, key, hyperparams)
    params["temperature"] = jnp.log(hyperparams.initial_temperature)
    row, scalar = jnp.zeros(obs.shape[1:], obs.dtype), jnp.float32(0)
    example = Transition(row, jnp.zeros(num_actions), scalar, scalar, row)
    return SACState(
        iteration=jnp.zeros([], jnp.int32),
        params=params,
        target_params=jax.tree.map(jnp.copy, params["critic"]),  # of its own, so that a state can be donated
        opt_state={
            part: _optimizer(factories, config, hyperparams, jnp.float32(0), part).init({part: params[part]})
            for part in PARTS
        },
        replay=replay.init(example, config.replay_capacity, prioritized=False),
        env_state=env_state,
        obs=obs,
        key=key,
        hyperparams=hyperparams,
    )


def by_part(optimizer: OptimizerFactory | Mapping[str, OptimizerFactory]) -> dict[str, OptimizerFactory]:
    """The optimizer of every part; ValueError if some have none, or there are others."""
    if not isinstance(optimizer, Mapping):
        return dict.fromkeys(PARTS, optimizer)
    if set(optimizer) != set(PARTS):
        raise ValueError(f"optimizers must be given for {', '.join(PARTS)}, got {', '.join(map(str, optimizer))}")
    return dict(optimizer)


def _optimizer(
    factories: Mapping[str, OptimizerFactory], config: SACConfig, hyperparams: Hyperparams, progress: Any, part: str
) -> optax.GradientTransformationExtraArgs:
    share = {"critic": 1.0, "actor": hyperparams.actor_rate, "temperature": hyperparams.temperature_rate}[part]
    rates = hyperparams._replace(learning_rate=hyperparams.learning_rate * share)
    return make_optimizer(factories[part], config, rates, progress)


def collect(
    env: VectorEnv, model: SACModel, head: ActionHead, config: SACConfig, state: SACState, keys: Any
) -> tuple[Any, jax.Array, Rollout]:
    """Acts with the current policy, before learning starts uniformly at random; keys: steps, noise, first states.

    Returns:
      The environment's state, what is seen next, the rollout; its actions are as the head has them, before the tanh.
    """
    steps_key, noise_key, resets_key = keys
    warming_up = state.iteration < config.warmup_iterations
    normal_key, uniform_key = jax.random.split(noise_key)
    shape = (config.steps_per_iteration, config.num_envs)
    # The tanh of half a logistic number is uniform in (-1, 1).
    uniform = 0.5 * jax.random.logistic(uniform_key, (*shape, head.num_outputs))

    def act(obs: jax.Array, noise_t: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        sampled = head.sample(model.actor(state.params["actor"], obs), noise_t[0])
        return jnp.where(warming_up, noise_t[1], sampled), None

    noise = (head.draw_noise(normal_key, shape), uniform)
    return rollout(env, act, state.env_state, state.obs, noise, (resets_key, steps_key), head.to_env)


def store(state: SACState, found: Rollout) -> replay.Replay:
    """The replay with a rollout's steps; autoreset steps are left out."""
    steps = found.steps
    # A time limit is no end: what the action led to still has a value.
    factor = jnp.where(steps.terminated, 0.0, state.hyperparams.gamma)
    rows = Transition(steps.obs, jnp.tanh(found.action), steps.reward, factor, steps.final_obs)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
    return replay.add(state.replay, flat, steps.valid.reshape(-1))


def learn(
    model: SACModel,
    head: ActionHead,
    config: SACConfig,
    factories: Mapping[str, OptimizerFactory],
    state: SACState,
    stored: replay.Replay,
    key: jax.Array,
) -> tuple[Learned, dict[str, jax.Array]]:
    """An iteration's updates from the replay, and their means by the names of `SACMetrics`."""
    started = state.iteration >= config.warmup_iterations
    of_training = (state.iteration - config.warmup_iterations) / (config.num_iterations - config.warmup_iterations)
    txs = {
        part: _optimizer(factories, config, state.hyperparams, jnp.maximum(of_training, 0.0), part) for part in PARTS
    }

    def update(learned: Learned, inputs: tuple[jax.Array, jax.Array]) -> tuple[Learned, dict[str, jax.Array]]:
        number, key = inputs
        draw_key, noise_key = jax.random.split(key)
        rows = replay.sample(stored, draw_key, config.batch_size).rows
        noise = head.draw_noise(noise_key, (2, config.batch_size))
        done = jnp.maximum(state.iteration - config.warmup_iterations, 0) * config.updates_per_iteration + number

        def tell(params: Any, dormancy: Callable[[], Any]) -> Callable[[jax.Array, Any], Mapping[str, Any]]:
            return lambda loss, aux: telling.extra_args(
                params,
                value=loss,
                progress=done / config.num_updates,
                epoch=jnp.float32(0),
                key=telling.key_of(state.key, number),
                dormancy=dormancy,
            )

        after, measured = gradient_steps(model, head, state.hyperparams, txs, learned, rows, noise, tell)
        keep = jax.tree.map(lambda new, old: jnp.where(started, new, old), after, learned)
        return keep, jax.tree.map(lambda x: jnp.where(started, x, 0.0), measured)

    num = config.updates_per_iteration
    learned = Learned(state.params, state.target_params, state.opt_state)
    inputs = (jnp.arange(num), jax.random.split(key, num))
    learned, measured = learning.scan_once_started(started, update, learned, inputs)
    return learned, jax.tree.map(jnp.mean, measured)


def gradient_steps(
    model: SACModel,
    head: ActionHead,
    hyperparams: Hyperparams,
    txs: Mapping[str, optax.GradientTransformationExtraArgs],
    learned: Learned,
    rows: Transition,
    noise: jax.Array,
    tell: Callable[[Any, Callable[[], Any]], Any],
) -> tuple[Learned, dict[str, jax.Array]]:
    """One update of each part: the critics, the actor with the new critics, the temperature, the target copies.

    Args:
      rows: transitions, leaves [B, ...]. noise: [2, B, A], for the actions of next states and of states.
      tell: (params of a part, dormancy) -> what `learning.gradient_step` takes.
    """
    params, opt_state = dict(learned.params), dict(learned.opt_state)
    made: dict[str, learning.Update] = {}

    def descend(part: str, loss_fn: Callable[[Any], tuple[jax.Array, Any]], dormancy: Callable[[], Any]) -> None:
        # Under its name, so that optimizers know what acts.
        before = {part: params[part]}
        after, opt_state[part], made[part] = learning.gradient_step(
            txs[part],
            lambda tree: loss_fn(tree[part]),
            before,
            opt_state[part],
            tell(before, lambda: {part: dormancy()}),
        )
        params[part] = after[part]

    temperature = jnp.exp(params["temperature"])
    target = sac_losses.soft_targets(model, head, params["actor"], learned.target_params, temperature, rows, noise[0])
    critic, actor = params["critic"], params["actor"]
    descend(
        "critic",
        lambda critic: sac_losses.critic_loss(model, critic, rows, target),
        lambda: model.critic_dormancy(critic, rows.obs, rows.action),
    )
    descend(
        "actor",
        lambda actor: sac_losses.actor_loss(model, head, actor, params["critic"], temperature, rows.obs, noise[1]),
        lambda: model.actor_dormancy(actor, rows.obs),
    )
    entropy = made["actor"].aux
    wanted = hyperparams.entropy_per_action * head.num_outputs
    descend(
        "temperature",
        lambda log_temperature: sac_losses.temperature_loss(log_temperature, entropy, wanted),
        lambda: jnp.ones([]),
    )
    targets = optax.incremental_update(params["critic"], learned.target_params, hyperparams.target_rate)
    return Learned(params, targets, opt_state), means(params, made, temperature)


def means(
    params: Mapping[str, Any], made: Mapping[str, learning.Update], temperature: jax.Array
) -> dict[str, jax.Array]:
    """What one update was, by the names of `SACMetrics`.

    Args:
      params, made: of every part, after the update. temperature: before it.
    """
    q_mean, td_error = made["critic"].aux
    sizes = {part: sum(x.size for x in jax.tree.leaves(params[part])) for part in PARTS}
    squares = sum(sizes[part] * jnp.square(made[part].update_rms) for part in PARTS)
    return {
        "loss": made["critic"].loss,
        "actor_loss": made["actor"].loss,
        "temperature_loss": made["temperature"].loss,
        "entropy": made["actor"].aux,
        "temperature": temperature,
        "q_mean": q_mean,
        "td_error": td_error,
        "grad_norm": jnp.sqrt(sum(jnp.square(made[part].grad_norm) for part in PARTS)),
        "update_rms": jnp.sqrt(squares / sum(sizes.values())),
    }
