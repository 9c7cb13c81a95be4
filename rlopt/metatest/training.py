"""Training runs of the suite: one task and one optimizer at many rates and seeds, by one compiled program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from agents import OptimizerFactory
from rlopt.metatest.tasks import Task

AXIS = "runs"
# Runs of one device and call: all calls run the same program, whatever the number of runs.
BATCH = 3
# Losses count as at most this multiple of the first one; so do NaN and infinity. A diverged run is bad, not absent.
LOSS_CAP = 10.0
EMA_DECAY = 0.9
EVERY = 10


class Curves(NamedTuple):
    """Training losses of R runs; float32.

    mean [R]: over all steps. final [R]: mean of the smoothed loss over the last ten steps.
    smooth [R, T / 10]: exponential mean (0.9, starting at the first loss) of the loss at every tenth step.
    """

    mean: np.ndarray
    final: np.ndarray
    smooth: np.ndarray


def compile_runs(task: Task, factory: OptimizerFactory, steps: int) -> Callable[[Sequence[tuple[float, int]]], Curves]:
    """Prepares (rate, seed) pairs -> `Curves`.

    A seed fixes first weights and batches, the same for every optimizer. The recorded loss is that of the step's batch
    before the update.
    """
    mesh = Mesh(np.asarray(jax.devices()), (AXIS,))
    spec = PartitionSpec(AXIS)

    def run(rate: jax.Array, seed: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        init_key, data_key = jax.random.split(jax.random.key(seed))
        params = task.init(init_key)
        optimizer = optax.with_extra_args_support(factory(rate, steps))

        def step(carry: Any, t: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            params, state, first, smooth = carry
            batch = task.sample(jax.random.fold_in(data_key, t))
            loss, grads = jax.value_and_grad(task.loss)(params, batch)
            updates, state = optimizer.update(grads, state, params, value=loss)
            first = jnp.where(t == 0, loss, first)
            capped = jnp.where(jnp.isfinite(loss), jnp.minimum(loss, LOSS_CAP * first), LOSS_CAP * first)
            smooth = jnp.where(t == 0, capped, EMA_DECAY * smooth + (1 - EMA_DECAY) * capped)
            return (optax.apply_updates(params, updates), state, first, smooth), (capped, smooth)

        carry = (params, optimizer.init(params), jnp.float32(0), jnp.float32(0))
        losses, smooth = jax.lax.scan(step, carry, jnp.arange(steps))[1]
        return jnp.mean(losses), jnp.mean(smooth[-EVERY:]), smooth[EVERY - 1 :: EVERY]

    program = jax.jit(jax.shard_map(jax.vmap(run), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))

    def run_all(pairs: Sequence[tuple[float, int]]) -> Curves:
        size = BATCH * len(mesh.devices)
        padded = [*pairs, *[pairs[-1]] * (-len(pairs) % size)]
        parts = []
        for i in range(0, len(padded), size):
            rates, seeds = zip(*padded[i : i + size], strict=True)
            outputs = program(np.asarray(rates, np.float32), np.asarray(seeds, np.uint32))
            parts.append(jax.tree.map(np.asarray, outputs))
        return Curves(*(np.concatenate(x)[: len(pairs)] for x in zip(*parts, strict=True)))

    return run_all
