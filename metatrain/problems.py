"""What a network can be put to besides supervised learning: gradients as they are in reinforcement learning.

All on the same small images, so as cheap as supervised tasks. Gradients are mostly noise (sampled actions, small
batches, wrong labels), what is learned moves (targets that bootstrap, labels that change their meaning), and batches
are used several times; the meta-objective is free of all that noise. Each draws for itself, with every unroll, how
many images of a batch it uses (4 to all of them, log-uniform) and how noisy its labels or rewards are.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.permutation import permuted
from celo2.names import check_known
from metatrain import batches, tasks
from metatrain.datasets import NUM_CLASSES, NUM_PIXELS
from metatrain.tasks import CAP, Batch, Params, Task

# Chance level of every problem, that of classification: the families' losses are then of one size.
GUESS = math.log(NUM_CLASSES)
SMALLEST_BATCH = 4
LABEL_NOISE = 0.8
SHORTEST_PHASE, LONGEST_PHASE = 50, 1000
ENTROPY_COEF = 0.01
CLIP_EPSILON = 0.2
PPO_EPOCHS = 4
GAMMA = 0.9
TARGET_DECAY = 0.98
REWARD_NOISE = 1.0
_CHAIN_SEED = 0
# Streams of random numbers, see `batches.uniform`.
START, LABELS, RANDOM_LABELS, ACTIONS, STATES = range(5)


class Noise(NamedTuple):
    """Drawn with every unroll.

    size: images of a batch that are used, int32. share: of labels that are random, or standard deviation of the
    reward's noise, float32.
    """

    size: jax.Array
    share: jax.Array


class DriftMemory(NamedTuple):
    """noise: see `Noise`. period: steps between changes, int32. key: of all changes, uint32.

    pixels: bool, whether they change too.
    """

    noise: Noise
    period: jax.Array
    key: jax.Array
    pixels: jax.Array


class Rollout(NamedTuple):
    """A batch in use.

    noise: see `Noise`. position: how often it has been used, int32. images: [B, 64]. actions: int32 [B]. advantage [B].
    log_prob [B]: of the actions, under the policy that acted.
    """

    noise: Noise
    position: jax.Array
    images: jax.Array
    actions: jax.Array
    advantage: jax.Array
    log_prob: jax.Array


class ValueMemory(NamedTuple):
    """noise: see `Noise`. roles: which state of the chain each class is, int32 [10]. target: the slow copy."""

    noise: Noise
    roles: jax.Array
    target: Params


def _draw_noise(u: jax.Array, batch_size: int, largest: float) -> Noise:
    """Noise from two numbers in [0, 1)."""
    low, high = min(SMALLEST_BATCH, batch_size), batch_size + 1
    size = jnp.minimum(jnp.floor(low * (high / low) ** u[0]), batch_size)
    return Noise(size.astype(jnp.int32), largest * u[1])


def _weights(noise: Noise, batch: Batch) -> jax.Array:
    """1 / size for the images that are used, 0 for the others; [B]."""
    used = jnp.arange(batch.labels.shape[0]) < noise.size
    return used / noise.size.astype(jnp.float32)


def _noisy(noise: Noise, labels: jax.Array, key: jax.Array) -> jax.Array:
    """Labels of which a share is replaced by random ones."""
    replaced = batches.uniform(key, LABELS, labels.shape) < noise.share
    random = (NUM_CLASSES * batches.uniform(key, RANDOM_LABELS, labels.shape)).astype(jnp.int32)
    return jnp.where(replaced, random, labels)


def _order(size: int, key: jax.Array) -> jax.Array:
    """A permutation of 0..size-1 for a uint32 key; int32."""
    return permuted(jnp.arange(size, dtype=jnp.uint32), jnp.uint32(size), key).astype(jnp.int32)


def sampled(probabilities: jax.Array, u: jax.Array) -> jax.Array:
    """What numbers u in [0, 1), [B], draw from distributions [B, n]; int32 [B]."""
    # Rounding may leave the sum a little below 1.
    below = jnp.sum(jnp.cumsum(probabilities, axis=1) <= u[:, None], axis=1)
    return jnp.minimum(below, probabilities.shape[1] - 1).astype(jnp.int32)


def _log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, NUM_CLASSES), axis=-1)


def drift(network: str, hidden: int, batch_size: int) -> Task:
    """Classification whose labels, and in half of the unrolls pixels, are permuted anew every K steps.

    K is log-uniform from 50 to 1,000, drawn with every unroll; a share of the labels up to 0.8 is random.
    Meta-objective: cross-entropy over the whole batch with the labels as they are meant at the moment.
    """
    net = tasks.network(network, hidden)

    def start(key: jax.Array, params: Params) -> DriftMemory:
        del params
        key = jax.random.bits(key, dtype=jnp.uint32)
        u = batches.uniform(key, START, (4,))
        period = (SHORTEST_PHASE * (LONGEST_PHASE / SHORTEST_PHASE) ** u[2]).astype(jnp.int32)
        return DriftMemory(_draw_noise(u, batch_size, LABEL_NOISE), period, key, u[3] < 0.5)

    def shown(memory: DriftMemory, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Images and labels as they are at the moment."""
        phase = (batch.step // memory.period).astype(jnp.uint32)
        key = memory.key + phase * jnp.uint32(0x9E3779B9)
        images = jnp.where(memory.pixels, batch.images[:, _order(NUM_PIXELS, ~key)], batch.images)
        return images, _order(NUM_CLASSES, key)[batch.labels]

    def loss(params: Params, memory: DriftMemory, batch: Batch) -> jax.Array:
        images, labels = shown(memory, batch)
        labels = _noisy(memory.noise, labels, batch.key)
        return -jnp.sum(_weights(memory.noise, batch) * _log_likelihood(net.apply(params, images), labels))

    def objective(params: Params, memory: DriftMemory, batch: Batch) -> jax.Array:
        images, labels = shown(memory, batch)
        return -jnp.mean(_log_likelihood(net.apply(params, images), labels))

    return Task(net.init, loss, CAP * GUESS, objective, start, lambda params, memory, batch: memory)


def bandit(network: str, hidden: int, batch_size: int) -> Task:
    """The network is a policy over ten actions; reward 1 for the action that is the label.

    One action is sampled per image; the gradient is the policy gradient with advantages standardised over the batch
    and an entropy bonus of 0.01. A share of the labels up to 0.8 is random. Meta-objective: one minus the expected
    reward with the true labels, scaled to ln 10 for a uniform policy.
    """
    return _bandit(network, hidden, batch_size, epochs=1)


def bandit_ppo(network: str, hidden: int, batch_size: int) -> Task:
    """`bandit` whose batches are used for four steps each, with PPO's clipped ratio (0.2)."""
    return _bandit(network, hidden, batch_size, epochs=PPO_EPOCHS)


def _bandit(network: str, hidden: int, batch_size: int, epochs: int) -> Task:
    net = tasks.network(network, hidden)

    def start(key: jax.Array, params: Params) -> Rollout:
        del params
        zeros = jnp.zeros(batch_size)
        return Rollout(
            noise=_draw_noise(jax.random.uniform(key, (2,)), batch_size, LABEL_NOISE),
            position=jnp.zeros([], jnp.int32),
            images=jnp.zeros((batch_size, NUM_PIXELS)),
            actions=zeros.astype(jnp.int32),
            advantage=zeros,
            log_prob=zeros,
        )

    def remember(params: Params, memory: Rollout, batch: Batch) -> Rollout:
        """Acts on a new batch where the one in use has been used often enough."""
        logits = net.apply(params, batch.images)
        actions = sampled(jax.nn.softmax(logits), batches.uniform(batch.key, ACTIONS, batch.labels.shape))
        reward = (actions == _noisy(memory.noise, batch.labels, batch.key)).astype(jnp.float32)
        fresh = Rollout(
            noise=memory.noise,
            position=memory.position,
            images=batch.images,
            actions=actions,
            advantage=standardized(reward, _weights(memory.noise, batch)),
            log_prob=_log_likelihood(logits, actions),
        )
        new = memory.position == 0
        used = jax.tree.map(lambda f, m: jnp.where(new, f, m), fresh, memory)
        return used._replace(position=(memory.position + 1) % epochs)

    def loss(params: Params, memory: Rollout, batch: Batch) -> jax.Array:
        logits = net.apply(params, memory.images)
        return policy_loss(logits, memory, _weights(memory.noise, batch))

    def objective(params: Params, memory: Rollout, batch: Batch) -> jax.Array:
        del memory
        right = jnp.exp(_log_likelihood(net.apply(params, batch.images), batch.labels))
        return GUESS / (1 - 1 / NUM_CLASSES) * (1 - jnp.mean(right))

    return Task(net.init, loss, CAP * GUESS, objective, start, remember)


def standardized(reward: jax.Array, weights: jax.Array) -> jax.Array:
    """(reward - mean) / (standard deviation + 1e-8) over the images that are used; all [B]."""
    mean = jnp.sum(weights * reward)
    deviation = jnp.sqrt(jnp.sum(weights * jnp.square(reward - mean)))
    return (reward - mean) / (deviation + 1e-8)


def policy_loss(logits: jax.Array, rollout: Rollout, weights: jax.Array) -> jax.Array:
    """PPO's clipped objective, negative, minus the entropy bonus; at the policy that acted, the policy gradient.

    Reference: Schulman et al., "Proximal Policy Optimization Algorithms", arXiv 1707.06347, equation 7.
    """
    log_probs = jax.nn.log_softmax(logits)
    ratio = jnp.exp(_log_likelihood(logits, rollout.actions) - rollout.log_prob)
    clipped = jnp.clip(ratio, 1 - CLIP_EPSILON, 1 + CLIP_EPSILON)
    gain = jnp.minimum(ratio * rollout.advantage, clipped * rollout.advantage)
    entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
    return -jnp.sum(weights * (gain + ENTROPY_COEF * entropy))


def value(network: str, hidden: int, batch_size: int) -> Task:
    """The network, with one output, learns values by bootstrapping: V(image) towards r + 0.9 V'(next image).

    The class of an image, in a role drawn with every unroll, is a state of a fixed chain of ten states (`chain`);
    the next image is one of the batch whose class is the next state, and what has none is left out. V' is a running
    mean (0.98) of the network. The reward is that of the state plus noise with a standard deviation up to 1.
    Meta-objective: mean squared distance from the true values, which have a variance of 1, scaled to ln 10 for the
    best constant.
    """
    net = tasks.network(network, hidden, outputs=1)
    transitions, rewards, truth = (jnp.asarray(x) for x in chain())

    def start(key: jax.Array, params: Params) -> ValueMemory:
        key = jax.random.bits(key, dtype=jnp.uint32)
        noise = _draw_noise(batches.uniform(key, START, (2,)), batch_size, REWARD_NOISE)
        return ValueMemory(noise, _order(NUM_CLASSES, key), params)

    def remember(params: Params, memory: ValueMemory, batch: Batch) -> ValueMemory:
        del batch
        target = jax.tree.map(lambda t, p: TARGET_DECAY * t + (1 - TARGET_DECAY) * p, memory.target, params)
        return memory._replace(target=target)

    def loss(params: Params, memory: ValueMemory, batch: Batch) -> jax.Array:
        states = memory.roles[batch.labels]
        u = batches.uniform(batch.key, STATES, (3, len(states)))
        following = sampled(transitions[states], u[0])
        place, found = first_of_class(states, following, (len(states) * u[1]).astype(jnp.int32))
        # Uniform noise with a standard deviation of `share`.
        reward = rewards[states] + memory.noise.share * math.sqrt(12) * (u[2] - 0.5)
        bootstrapped = reward + GAMMA * net.apply(memory.target, batch.images)[place, 0]
        error = net.apply(params, batch.images)[:, 0] - jax.lax.stop_gradient(bootstrapped)
        return 0.5 * jnp.sum(_weights(memory.noise, batch) * found * jnp.square(error))

    def objective(params: Params, memory: ValueMemory, batch: Batch) -> jax.Array:
        error = net.apply(params, batch.images)[:, 0] - truth[memory.roles[batch.labels]]
        return GUESS * jnp.mean(jnp.square(error))

    return Task(net.init, loss, CAP * GUESS, objective, start, remember)


def chain() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fixed chain: transitions P [10, 10], rewards [10], values (I - 0.9 P)^-1 r [10] of mean 0 and variance 1."""
    rng = np.random.default_rng(_CHAIN_SEED)
    weights = np.exp(2 * rng.standard_normal((NUM_CLASSES, NUM_CLASSES)))
    transitions = weights / weights.sum(axis=1, keepdims=True)
    system = np.eye(NUM_CLASSES) - GAMMA * transitions
    values = np.linalg.solve(system, rng.standard_normal(NUM_CLASSES))
    values = (values - values.mean()) / values.std()
    return transitions.astype(np.float32), (system @ values).astype(np.float32), values.astype(np.float32)


def first_of_class(classes: jax.Array, wanted: jax.Array, offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For every entry, the place of the first of the wanted class, going round from an offset, and whether there is
    one.

    Args:
      classes: int32 [B]. wanted: int32 [B]. offset: int32 [B], in 0..B-1.
    """
    size = len(classes)
    distance = (jnp.arange(size) - offset[:, None]) % size
    distance = jnp.where(classes == wanted[:, None], distance, size)
    place = jnp.argmin(distance, axis=1)
    return place, (jnp.min(distance, axis=1) < size).astype(jnp.float32)


_PROBLEMS: dict[str, Callable[[str, int, int], Task]] = {
    "bandit": bandit,
    "bandit_ppo": bandit_ppo,
    "value": value,
    "drift": drift,
}
PROBLEMS = tuple(_PROBLEMS)


def make(problem: str, network: str, hidden: int, batch_size: int) -> Task:
    """A network's problem by name; "": supervised learning.

    Raises:
      ValueError: for an unknown problem or network, or a network that is no classifier.
    """
    if not problem:
        return tasks.make(network, hidden)
    check_known("problem", problem, PROBLEMS)
    check_known(f"network for {problem}", network, tasks.CLASSIFIERS)
    return _PROBLEMS[problem](network, hidden, batch_size)
