"""All inner problems ("particles") of a run: their states, and what those of one device say about the meta-gradient."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metatrain import augmentation, batches, datasets, families, pes, rules, tasks
from metatrain.config import MetaTrainConfig
from metatrain.unroll import Restart, StepRecord, TruncatedUnroll, UnrollState

Theta = Any
# Of some particles: thetas of both signs, states, restarts, numbers, sets of images, keys of the noise.
Block = tuple[Theta, UnrollState, Restart, jax.Array, jax.Array, jax.Array]
# Pairs of trajectories that a core trains side by side: their arrays, some half a megabyte, stay in its cache. An
# accelerator trains all of its own at once.
BLOCK = 2


class Sums(NamedTuple):
    """Sums over particles. grad: like the trained part of theta. loss: float32 scalar. family_loss: float32 [F]."""

    grad: Theta
    loss: jax.Array
    family_loss: jax.Array


class Inputs(NamedTuple):
    """What the particles of a group read. number, place: int32 [n], number among all particles and place of the family
    in the group's stacked data. data: see `datasets.StackedDatasets`, the whole group's on every device.
    """

    number: Any
    place: Any
    data: datasets.StackedDatasets


class State(NamedTuple):
    """State of the particles, a tuple with an entry per group each.

    unrolls: leaves [n, 2, ...], both signs. accumulator: like the trained part of theta, leaves [n, ...].
    """

    unrolls: tuple[UnrollState, ...]
    accumulator: tuple[Theta, ...]


class Particles(NamedTuple):
    """The particles of a configuration, as pure functions of keys and states; see `make`."""

    config: MetaTrainConfig
    rule: rules.Rule
    unrolls: tuple[TruncatedUnroll, ...]
    inputs: tuple[Inputs, ...]

    @property
    def smallest_share(self) -> int:
        """The largest number of devices that share every group evenly."""
        return math.gcd(*(len(group.number) for group in self.inputs))

    def init(self, key: jax.Array, trained: Theta, frozen: Theta) -> State:
        """All unrolls at random points of their schedules, and empty accumulators."""
        unrolls, accumulators = [], []
        for unroll, group in zip(self.unrolls, self.inputs, strict=True):

            def init_pair(number: jax.Array, unroll: TruncatedUnroll = unroll) -> UnrollState:
                state = unroll.init(jax.random.fold_in(key, number), {**frozen, **trained})
                return jax.tree.map(lambda x: jnp.stack([x, x]), state)

            size = len(group.number)
            unrolls.append(jax.vmap(init_pair)(jnp.asarray(group.number)))
            accumulators.append(jax.tree.map(lambda x, n=size: jnp.zeros((n, *x.shape), x.dtype), trained))
        return State(tuple(unrolls), tuple(accumulators))

    def estimate(
        self,
        key: jax.Array,
        data_key: jax.Array,
        iteration: jax.Array,
        trained: Theta,
        frozen: Theta,
        state: State,
        inputs: tuple[Inputs, ...],
    ) -> tuple[State, Sums]:
        """One truncation of the particles given (those of one device), and the sums of their estimates."""
        unrolls, accumulators, sums = [], [], []
        for i, group in enumerate(inputs):
            new, estimate, losses = self._estimate_group(
                key, data_key, iteration, trained, frozen, state.unrolls[i], state.accumulator[i], i, group
            )
            unrolls.append(new)
            accumulators.append(estimate.accumulator)
            size = group.number.shape[0]
            family = group.number // self.config.tasks_per_family
            family_loss = jax.ops.segment_sum(losses, family, num_segments=len(self.config.families))
            sums.append(Sums(jax.tree.map(lambda g, n=size: n * g, estimate.grad), jnp.sum(losses), family_loss))
        return State(tuple(unrolls), tuple(accumulators)), jax.tree.map(lambda *x: sum(x[1:], x[0]), *sums)

    def _estimate_group(
        self,
        key: jax.Array,
        data_key: jax.Array,
        iteration: jax.Array,
        trained: Theta,
        frozen: Theta,
        unrolls: UnrollState,
        accumulator: Theta,
        group: int,
        inputs: Inputs,
    ) -> tuple[UnrollState, pes.Estimate, jax.Array]:
        config, unroll = self.config, self.unrolls[group]
        own_keys = jax.vmap(lambda n: jax.random.fold_in(key, n))(inputs.number)
        keys = jax.vmap(jax.random.split)(own_keys)
        noise_keys = jax.vmap(lambda k: jax.random.bits(jax.random.fold_in(k, 2), dtype=jnp.uint32))(own_keys)
        perturbation = jax.vmap(lambda k: pes.sample_perturbation(k, trained, config.std))(keys[:, 0])
        thetas = jax.vmap(lambda e: pes.antithetic(trained, e))(perturbation)
        restart = jax.vmap(unroll.draw_restart)(keys[:, 1])
        truncation = self._truncation(data_key, iteration, frozen, group, inputs)
        # Block by block, order of images included, so that all stays in the cache however many particles there are.
        at_once = BLOCK if jax.default_backend() == "cpu" else len(keys)
        size = max(n for n in range(1, at_once + 1) if len(keys) % n == 0)

        def split(x: jax.Array) -> jax.Array:
            return x.reshape(-1, size, *x.shape[1:])

        def join(x: jax.Array) -> jax.Array:
            return x.reshape(-1, *x.shape[2:])

        blocks = jax.tree.map(split, (thetas, unrolls, restart, inputs.number, inputs.place, noise_keys))
        unrolls, record = jax.tree.map(join, jax.lax.map(truncation, blocks))
        record = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), record)  # [T, n, 2]
        estimate = pes.estimate(
            record.loss[:, :, 0],
            record.loss[:, :, 1],
            record.is_done[:, :, 0],
            record.mask[:, :, 0],
            perturbation,
            accumulator,
            config.std,
            persistent=config.estimator == "pes",
        )
        num_steps = jnp.maximum(jnp.sum(record.mask[:, :, 0], axis=0), 1)
        return unrolls, estimate, jnp.sum(jnp.mean(record.loss, axis=-1), axis=0) / num_steps

    def _truncation(
        self, data_key: jax.Array, iteration: jax.Array, frozen: Theta, group: int, inputs: Inputs
    ) -> Callable[[Block], tuple[UnrollState, StepRecord]]:
        """A function that trains some particles of a group, both signs, for a truncation."""
        unroll = self.unrolls[group]
        images, labels = jnp.asarray(inputs.data.images), jnp.asarray(inputs.data.labels)

        def train(trained: Theta, *args: Any) -> tuple[UnrollState, StepRecord]:
            return unroll.step({**frozen, **trained}, *args)

        # Both signs share problem, batch and restart; only theta and the trajectory differ.
        all_steps = jax.vmap(jax.vmap(train, in_axes=(0, 0, None, None)))

        def truncation(block: Block) -> tuple[UnrollState, StepRecord]:
            thetas, state, restart, number, place, noise_keys = block
            rows = self._rows(data_key, iteration, number, jnp.asarray(inputs.data.sizes)[place])

            def body(state: UnrollState, xs: tuple[jax.Array, jax.Array]) -> tuple[UnrollState, StepRecord]:
                (rows_t, t), where = xs, place[:, None]
                batch = tasks.Batch(images[where, rows_t].astype(jnp.float32) / 255, labels[where, rows_t])
                if unroll.task.start is not None:
                    batch = batch._replace(key=batches.step_key(noise_keys, t))
                return all_steps(thetas, state, restart, batch)

            steps = (jnp.moveaxis(rows, 1, 0), jnp.arange(self.config.truncation))
            state, record = jax.lax.scan(body, state, steps)
            return state, jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), record)

        return truncation

    def _rows(self, data_key: jax.Array, iteration: jax.Array, number: jax.Array, sizes: jax.Array) -> jax.Array:
        """Images of every step's batches, int32 [n, T, B]: the tasks of a family take turns in one stream of epochs."""
        config = self.config
        number = number.astype(jnp.uint32)
        turn = number % config.tasks_per_family
        step = iteration.astype(jnp.uint32) * config.truncation + jnp.arange(config.truncation, dtype=jnp.uint32)
        position = step * jnp.uint32(config.tasks_per_family) + turn[:, None]
        family_keys = jax.vmap(lambda f: jax.random.bits(jax.random.fold_in(data_key, f), dtype=jnp.uint32))(
            number // config.tasks_per_family
        )
        sizes = jnp.broadcast_to(sizes.astype(jnp.uint32)[:, None], position.shape)
        return batches.rows(position, sizes, family_keys[:, None], config.batch_size)


def make(config: MetaTrainConfig) -> Particles:
    """Reads the data of a configuration and numbers its particles: family by family, `tasks_per_family` each."""
    config.check()
    augmentation.check(config.augmentation, config.scale_range)
    augmentation.check_signs(config.signs)
    rule = rules.of(config)
    unrolls, inputs = [], []
    each = np.arange(config.tasks_per_family, dtype=np.int32)
    for group in families.load(config.families, config.hidden, config.batch_size, data_dir=config.data_dir):
        unrolls.append(
            TruncatedUnroll(
                group.task,
                rule,
                config.min_unroll,
                config.max_unroll,
                config.augmentation,
                config.scale_range,
                config.signs,
            )
        )
        number = np.concatenate([member * config.tasks_per_family + each for member in group.members])
        place = np.repeat(np.arange(len(group.members), dtype=np.int32), config.tasks_per_family)
        inputs.append(Inputs(number, place, group.data))
    return Particles(config, rule, tuple(unrolls), tuple(inputs))
