"""Training runs of the suite: one task and one optimizer at many rates and seeds, by one compiled program."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.lax import optimization_barrier
from jax.sharding import Mesh, PartitionSpec

from agents import OptimizerFactory
from rlopt.metatest.config import EVERY
from rlopt.metatest.task import Task

AXIS = "runs"
# Losses count as at most this multiple of the first one; so do NaN and infinity. A diverged run is bad, not absent.
LOSS_CAP = 10.0
EMA_DECAY = 0.9
# Of the test data, after the last step.
TEST_BATCHES = 10
# Keys of training batches are numbered by step; these are beyond all of them.
_TEST_STREAM = 1 << 31


class Curves(NamedTuple):
    """Losses of R runs; float32.

    mean [R]: of training, over all steps. final [R]: mean of the smoothed loss over the last ten steps.
    smooth [R, T / 10]: exponential mean (0.9, starting at the first loss) of the loss at every tenth step.
    test [R, T / 10]: of one batch of test data after every tenth step. final_test [R]: mean of ten batches at the end.
    """

    mean: np.ndarray
    final: np.ndarray
    smooth: np.ndarray
    test: np.ndarray | None = None
    final_test: np.ndarray | None = None


class Runs:
    """A compiled program: (rate, seed) pairs -> `Curves`.

    A seed fixes first weights and batches, the same for every optimizer. The recorded loss is that of the step's batch
    before the update.
    """

    def __init__(self, task: Task, factory: OptimizerFactory, steps: int):
        self._mesh = Mesh(np.asarray(jax.devices()), (AXIS,))
        self._size = task.side_by_side * len(self._mesh.devices)
        self._steps, self._arrays = steps, () if task.arrays is None else (task.arrays,)
        spec = PartitionSpec(AXIS)

        def all_runs(rates: jax.Array, seeds: jax.Array, *arrays: Any) -> tuple[jax.Array, ...]:
            return jax.vmap(lambda rate, seed: _run(task, factory, steps, rate, seed, arrays))(rates, seeds)

        whole = [PartitionSpec()] * len(self._arrays)
        mapped = jax.shard_map(
            all_runs, mesh=self._mesh, in_specs=(spec, spec, *whole), out_specs=spec, check_vma=False
        )
        self._program = jax.jit(mapped)
        self._compiled: Any = None
        self._seconds, self._counted = 0.0, 0

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of one training step of one run, batches and test losses included; NaN before any.

        Runs go side by side: a step of them all takes as many times this as there are per device.
        """
        return self._seconds / self._counted if self._counted else float("nan")

    def __call__(self, pairs: Sequence[tuple[float, int]]) -> Curves:
        """Runs all pairs, as many at once as the task says; the first call compiles."""
        padded = [*pairs, *[pairs[-1]] * (-len(pairs) % self._size)]
        parts = []
        for i in range(0, len(padded), self._size):
            rates, seeds = zip(*padded[i : i + self._size], strict=True)
            given = (np.asarray(rates, np.float32), np.asarray(seeds, np.uint32), *self._arrays)
            if self._compiled is None:
                self._compiled = self._program.lower(*given).compile()
            start = time.perf_counter()
            parts.append(jax.tree.map(np.asarray, self._compiled(*given)))
            self._seconds += time.perf_counter() - start
            self._counted += self._steps * self._size // len(self._mesh.devices)
        return Curves(*(np.concatenate(x)[: len(pairs)] for x in zip(*parts, strict=True)))


def compile_runs(task: Task, factory: OptimizerFactory, steps: int) -> Runs:
    """Prepares runs of a number of steps, a multiple of ten; compiled with the first call."""
    return Runs(task, factory, steps)


def _run(
    task: Task, factory: OptimizerFactory, steps: int, rate: jax.Array, seed: jax.Array, arrays: Sequence[Any]
) -> tuple[jax.Array, ...]:
    init_key, data_key = jax.random.split(jax.random.key(seed))
    params = task.init(init_key)
    optimizer = optax.with_extra_args_support(factory(rate, steps))
    test_key = jax.random.fold_in(data_key, _TEST_STREAM)

    def step(carry: Any, t: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        params, state, first, smooth = carry
        batch = task.sample(jax.random.fold_in(data_key, t), *arrays)
        loss, grads = jax.value_and_grad(task.loss)(params, batch)
        updates, state = optimizer.update(grads, state, params, value=loss)
        first = jnp.where(t == 0, loss, first)
        capped = _capped(loss, first)
        smooth = jnp.where(t == 0, capped, EMA_DECAY * smooth + (1 - EMA_DECAY) * capped)
        return (optax.apply_updates(params, updates), state, first, smooth), (capped, smooth)

    def ten_steps(carry: Any, times: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
        carry, losses = jax.lax.scan(step, carry, times)
        return carry, (*losses, _test_loss(task, carry, jax.random.fold_in(test_key, times[0]), arrays))

    carry = (params, optimizer.init(params), jnp.float32(0), jnp.float32(0))
    times = jnp.arange(steps).reshape(-1, EVERY)
    carry, (losses, smooth, test) = jax.lax.scan(ten_steps, carry, times)
    keys = jax.random.split(jax.random.fold_in(test_key, _TEST_STREAM), TEST_BATCHES)
    final_test = jnp.mean(jax.lax.map(lambda key: _test_loss(task, carry, key, arrays), keys))
    return jnp.mean(optimization_barrier(losses.ravel())), jnp.mean(smooth[-1]), smooth[:, -1], test, final_test


def _capped(loss: jax.Array, first: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(loss), jnp.minimum(loss, LOSS_CAP * first), LOSS_CAP * first)


def _test_loss(task: Task, carry: Any, key: jax.Array, arrays: Sequence[Any]) -> jax.Array:
    params, _, first, _ = carry
    return _capped(task.loss(params, task.test(key, *arrays)), first)
