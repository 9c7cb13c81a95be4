"""What Celo's scheduler knows of the training loss: running means over ten horizons and how they compare."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

NUM_MEANS = 10
NUM_FEATURES = NUM_MEANS - 1
SHORTEST_HALF_LIFE = 10.0
CAP = 2.0
_UNSEEN = 1e12


class LossBuffer(NamedTuple):
    """Running statistics of the training loss.

    means: exponential means, float32 [10]. corrected: the same, bias-corrected, float32 [10]. They are kept because
    features compare them with minima: computed twice, they could differ in the last bit, which the features magnify.
    minima: least corrected mean so far, float32 [10]. count: losses seen, int32 scalar.
    """

    means: jax.Array
    corrected: jax.Array
    minima: jax.Array
    count: jax.Array  # type: ignore[assignment]  # shadows tuple.count


def init() -> LossBuffer:
    """A buffer that has seen nothing."""
    means, corrected = (jnp.zeros(NUM_MEANS, jnp.float32) for _ in range(2))  # two arrays, so that both can be donated
    return LossBuffer(means, corrected, jnp.full(NUM_MEANS, _UNSEEN, jnp.float32), jnp.zeros([], jnp.int32))


def decays(num_steps: int | jax.Array) -> jax.Array:
    """exp(-1 / h), float32 [10], for half-lives h spaced evenly in logarithm from 10 to num_steps."""
    # 1 - beta^count and ratios of such differences amplify the last bit of beta. A known length is therefore evaluated
    # here and now: XLA's constant folding rounds otherwise than its compiled code.
    with jax.ensure_compile_time_eval():
        longest = jnp.log10(jnp.asarray(num_steps, jnp.float32))
        shortest = jnp.log10(jnp.float32(SHORTEST_HALF_LIFE))
        return jnp.exp(-1.0 / 10.0 ** jnp.linspace(shortest, longest, NUM_MEANS, dtype=jnp.float32))


def update(buffer: LossBuffer, loss: jax.Array, num_steps: int | jax.Array) -> LossBuffer:
    """Folds one loss in, cut at twice the largest mean; a NaN or infinite loss leaves the buffer as it was.

    Args:
      buffer: statistics so far.
      loss: scalar; from the second on, at most 2 |max mean| of it counts.
      num_steps: length of training, sets the longest half-life.
    """
    beta = decays(num_steps)
    loss = jnp.asarray(loss, jnp.float32)
    count = buffer.count + 1
    weight = 1 - beta ** count.astype(jnp.float32)
    # The old means are corrected for the new count, as published: the cap comes out slightly low.
    cap = jnp.where(buffer.count == 0, loss, jnp.max(buffer.means / weight))
    means = beta * buffer.means + (1 - beta) * jnp.minimum(loss, CAP * jnp.abs(cap))
    corrected = means / weight
    after = LossBuffer(means, corrected, jnp.minimum(buffer.minima, corrected), count)
    return jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(loss), new, old), after, buffer)


def features(buffer: LossBuffer) -> jax.Array:
    """How far every mean lies between its own minimum and the next slower mean, in [-1, 1], float32 [9].

    f_i = clip((c_i - min_i) / max(1e-8, c_{i+1} - min_i) - 1, -1, 1) with bias-corrected means c; 0 for the first
    two losses. There is no absolute scale in it.
    """
    above = buffer.corrected[:-1] - buffer.minima[:-1]
    span = jnp.maximum(1e-8, buffer.corrected[1:] - buffer.minima[:-1])
    return jnp.where(buffer.count > 2, jnp.clip(above / span - 1, -1, 1), 0.0)
