"""PPO on CartPole as one script with unnamed layers, in the manner of purejaxrl: one line takes celo2 in place of Adam.

    python examples/ppo_script.py

flax calls the layers `Dense_0` to `Dense_5`; the routing finds input and output layers of both towers by their place.
"""

from typing import NamedTuple

import distrax
import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax
from flax.linen.initializers import orthogonal

import celo2

ENVS, STEPS, EPOCHS, MINIBATCHES = 8, 128, 4, 4
RATE = 2.5e-3  # Adam's, for both
OPTIMIZERS = {
    "adam": optax.adam(RATE, eps=1e-5),
    "celo2": celo2.celo2(RATE, **celo2.RL),
}


class ActorCritic(nn.Module):
    """[B, 4] -> logits [B, 2], value [B]."""

    @nn.compact
    def __call__(self, x):
        outputs = []
        for size, gain in ((2, 0.01), (1, 1.0)):
            y = nn.tanh(nn.Dense(64, kernel_init=orthogonal(2**0.5))(x))
            y = nn.tanh(nn.Dense(64, kernel_init=orthogonal(2**0.5))(y))
            outputs.append(nn.Dense(size, kernel_init=orthogonal(gain))(y))
        return outputs[0], outputs[1][..., 0]


class Transition(NamedTuple):
    """What one step of all environments leaves, [STEPS, ENVS, ...]."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def advantages_of(rollout, last_value):
    """Generalised advantages [STEPS, ENVS]; last_value: [ENVS], of what is seen after the rollout."""

    def backwards(carry, step):
        advantage, next_value = carry
        going = 1.0 - step.done
        delta = step.reward + 0.99 * next_value * going - step.value
        advantage = delta + 0.99 * 0.95 * going * advantage
        return (advantage, step.value), advantage

    return jax.lax.scan(backwards, (jnp.zeros(ENVS), last_value), rollout, reverse=True)[1]


def train(key, tx, updates):
    """Trains one agent; lengths of episodes, which are returns in CartPole, of each update: the mean, [updates]."""
    env, env_params = gymnax.make("CartPole-v1")
    network = ActorCritic()
    key, init_key, reset_key = jax.random.split(key, 3)
    params = network.init(init_key, jnp.zeros((1, 4)))
    obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, ENVS), env_params)

    def env_step(carry, key):
        params, obs, env_state = carry
        act_key, step_key = jax.random.split(key)
        logits, value = network.apply(params, obs)
        policy = distrax.Categorical(logits)
        action = policy.sample(seed=act_key)
        keys = jax.random.split(step_key, ENVS)
        after, env_state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            keys, env_state, action, env_params
        )
        step = Transition(obs, action, policy.log_prob(action), value, reward, terminated | truncated)
        return (params, after, env_state), step

    def loss_fn(params, batch, advantages, targets):
        logits, value = network.apply(params, batch.obs)
        policy = distrax.Categorical(logits)
        ratio = jnp.exp(policy.log_prob(batch.action) - batch.log_prob)
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        surrogate = jnp.minimum(ratio * advantages, jnp.clip(ratio, 0.8, 1.2) * advantages).mean()
        return 0.5 * jnp.mean((value - targets) ** 2) - surrogate - 0.01 * policy.entropy().mean()

    def minibatch(carry, batch):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        steps, opt_state = tx.update(grads, opt_state, params, value=loss)
        return (optax.apply_updates(params, steps), opt_state), loss

    def epoch(carry, key, batch):
        order = jax.random.permutation(key, ENVS * STEPS).reshape(MINIBATCHES, -1)
        shuffled = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[order], batch)
        return jax.lax.scan(minibatch, carry, shuffled)[0], None

    def update(carry, key):
        params, opt_state, obs, env_state = carry
        key, rollout_key = jax.random.split(key)
        (_, obs, env_state), rollout = jax.lax.scan(
            env_step, (params, obs, env_state), jax.random.split(rollout_key, STEPS)
        )
        advantages = advantages_of(rollout, network.apply(params, obs)[1])
        batch = (rollout, advantages, advantages + rollout.value)
        (params, opt_state), _ = jax.lax.scan(
            lambda carry, k: epoch(carry, k, batch), (params, opt_state), jax.random.split(key, EPOCHS)
        )
        length = STEPS * ENVS / jnp.maximum(rollout.done.sum(), 1)
        return (params, opt_state, obs, env_state), length

    carry = (params, tx.init(params), obs, env_state)
    return jax.lax.scan(update, carry, jax.random.split(key, updates))[1]


def main(updates: int = 50, seeds: int = 4) -> dict[str, float]:
    """Trains with both optimizers; the mean length of episodes over all of training, by optimizer."""
    params = jax.eval_shape(ActorCritic().init, jax.random.key(0), jnp.zeros((1, 4)))
    print(celo2.routing_table(params, celo2.hidden_matrix_labels))
    found = {}
    for name, optimizer in OPTIMIZERS.items():
        tx = optax.with_extra_args_support(optimizer)
        agents = jax.jit(jax.vmap(lambda key, tx=tx: train(key, tx, updates)))
        lengths = agents(jax.random.split(jax.random.key(0), seeds))
        found[name] = float(lengths.mean())
        print(f"{name:6} mean episode {found[name]:.1f} over training, {lengths[:, -5:].mean():.1f} at its end")
    return found


if __name__ == "__main__":
    main()
