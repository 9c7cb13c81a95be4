"""One outer iteration of meta-training: every problem of every family, both signs, in one compiled program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from metatrain import augmentation, datasets, pes, rules, tasks
from metatrain.config import MetaTrainConfig
from metatrain.unroll import StepRecord, TruncatedUnroll, UnrollState

AXIS = "tasks"
# Reported in place of a mean loss that is not finite.
BAD_LOSS = 20.0


class OuterState(NamedTuple):
    """Everything that a run carries from one outer iteration to the next.

    iteration: int32, iterations done. theta; opt_state: of the outer AdamW.
    unrolls: leaves [N, 2, ...], N problems with both signs. accumulator: like theta, leaves [N, ...].
    """

    iteration: jax.Array
    theta: Any
    opt_state: Any
    unrolls: UnrollState
    accumulator: Any


class Metrics(NamedTuple):
    """float32 scalars: loss (masked mean over problems, capped per step), family_loss [F], grad_norm,
    bad_grads (share of gradient entries that were not finite and were set to 0).
    """

    loss: jax.Array
    family_loss: jax.Array
    grad_norm: jax.Array
    bad_grads: jax.Array


class Program(NamedTuple):
    """init() -> state. step(state) -> (state, metrics), compiled; it consumes its argument.

    place(state) -> the same state on the devices that share the problems (after reading a checkpoint).
    """

    init: Callable[[], OuterState]
    step: Callable[[OuterState], tuple[OuterState, Metrics]]
    place: Callable[[OuterState], OuterState]


def num_devices_for(num_tasks: int, available: int) -> int:
    """The largest number of devices, at most `available`, that divides the problems evenly."""
    return max(n for n in range(1, available + 1) if num_tasks % n == 0)


def build(config: MetaTrainConfig, devices: list[Any] | None = None) -> Program:
    """Prepares the compiled outer iteration for a configuration.

    Problems are spread over the devices; one mean of theta-sized gradients per iteration joins them. Random
    numbers belong to problems, not to devices, so the number of devices changes the result by rounding only.
    """
    config.check()
    augmentation.check(config.augmentation, config.scale_range)
    rule = rules.get(config.rule)
    task = tasks.mlp_classifier(config.hidden)
    unroll = TruncatedUnroll(task, rule, config.min_unroll, config.max_unroll, config.augmentation, config.scale_range)
    optimizer = optax.adamw(config.resolved_learning_rate, weight_decay=config.outer_weight_decay)
    data = datasets.stack([datasets.load(name) for name in config.datasets])

    devices = list(jax.devices() if devices is None else devices)
    mesh = Mesh(np.asarray(devices[: num_devices_for(config.num_tasks, len(devices))]), (AXIS,))
    replicated, sharded = PartitionSpec(), PartitionSpec(AXIS)
    data = jax.device_put(data, NamedSharding(mesh, replicated))
    task_index = jax.device_put(np.arange(config.num_tasks, dtype=np.int32), NamedSharding(mesh, sharded))
    seed_key = jax.random.key(config.seed)

    def init() -> OuterState:
        theta_key, unroll_key = jax.random.split(seed_key)
        theta = rule.init_theta(theta_key)

        def init_unroll(index: jax.Array) -> UnrollState:
            state = unroll.init(jax.random.fold_in(unroll_key, index), theta)
            return jax.tree.map(lambda x: jnp.stack([x, x]), state)

        return OuterState(
            iteration=jnp.zeros([], jnp.int32),
            theta=theta,
            opt_state=optimizer.init(theta),
            unrolls=jax.vmap(init_unroll)(jnp.arange(config.num_tasks)),
            accumulator=jax.tree.map(lambda x: jnp.zeros((config.num_tasks, *x.shape), x.dtype), theta),
        )

    def estimate(
        iteration: jax.Array,
        theta: Any,
        unrolls: UnrollState,
        accumulator: Any,
        index: jax.Array,
        data: datasets.StackedDatasets,
    ) -> tuple[UnrollState, pes.Estimate, jax.Array]:
        """PES over the problems of one device; `index` [n] are their numbers among all problems."""
        iteration_key = jax.random.fold_in(seed_key, iteration + 1)
        keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(iteration_key, i), 3))(index)
        family = index // config.tasks_per_dataset
        perturbation = jax.vmap(lambda k: pes.sample_perturbation(k, theta, config.std))(keys[:, 0])
        thetas = jax.vmap(lambda e: pes.antithetic(theta, e))(perturbation)
        restart = jax.vmap(unroll.draw_restart)(keys[:, 1])

        def draw_rows(key: jax.Array, size: jax.Array) -> jax.Array:
            return jax.random.randint(key, (config.truncation, config.batch_size), 0, size)

        rows = jax.vmap(draw_rows, out_axes=1)(keys[:, 2], jnp.asarray(data.sizes)[family])  # [T, n, B]

        # Both signs share problem, batch and restart; only theta and the trajectory differ.
        pair_step = jax.vmap(unroll.step, in_axes=(0, 0, None, None))
        all_steps = jax.vmap(pair_step)

        def body(state: UnrollState, rows_t: jax.Array) -> tuple[UnrollState, StepRecord]:
            images = jnp.asarray(data.images)[family[:, None], rows_t].astype(jnp.float32) / 255
            labels = jnp.asarray(data.labels)[family[:, None], rows_t]
            return all_steps(thetas, state, restart, tasks.Batch(images, labels))

        unrolls, record = jax.lax.scan(body, unrolls, rows)  # record: [T, n, 2]
        result = pes.estimate(
            record.loss[:, :, 0],
            record.loss[:, :, 1],
            record.is_done[:, :, 0],
            record.mask[:, :, 0],
            perturbation,
            accumulator,
            config.std,
        )
        per_task = jnp.sum(jnp.mean(record.loss, axis=-1), axis=0) / jnp.maximum(
            jnp.sum(record.mask[:, :, 0], axis=0), 1
        )
        families = jax.ops.segment_sum(per_task, family, num_segments=len(config.datasets))
        mean = jax.lax.pmean((result.grad, result.loss), AXIS)
        family_loss = jax.lax.psum(families, AXIS) / config.tasks_per_dataset
        return unrolls, pes.Estimate(mean[0], result.accumulator, mean[1]), family_loss

    estimate_specs: Any = pes.Estimate(*(replicated, sharded, replicated))  # type: ignore[arg-type]
    sharded_estimate = jax.shard_map(
        estimate,
        mesh=mesh,
        in_specs=(replicated, replicated, sharded, sharded, sharded, replicated),
        out_specs=(sharded, estimate_specs, replicated),
        check_vma=False,
    )

    def step(state: OuterState, index: jax.Array, data: datasets.StackedDatasets) -> tuple[OuterState, Metrics]:
        unrolls, result, family_loss = sharded_estimate(
            state.iteration, state.theta, state.unrolls, state.accumulator, index, data
        )
        flat = jnp.concatenate([g.ravel() for g in jax.tree.leaves(result.grad)])
        grad = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0.0), result.grad)
        updates, opt_state = optimizer.update(grad, state.opt_state, state.theta)
        metrics = Metrics(
            loss=jnp.where(jnp.isfinite(result.loss), result.loss, BAD_LOSS),
            family_loss=family_loss,
            grad_norm=optax.tree.norm(grad),
            bad_grads=jnp.mean(~jnp.isfinite(flat)),
        )
        theta = optax.apply_updates(state.theta, updates)
        return OuterState(state.iteration + 1, theta, opt_state, unrolls, result.accumulator), metrics

    specs = (replicated, replicated, replicated, sharded, sharded)
    shardings: Any = OuterState(*(NamedSharding(mesh, spec) for spec in specs))  # type: ignore[arg-type]
    compiled = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))

    def place(state: OuterState) -> OuterState:
        return OuterState(*(jax.device_put(x, s) for x, s in zip(state, shardings, strict=True)))

    return Program(
        init=lambda: place(jax.jit(init)()), step=lambda state: compiled(state, task_index, data), place=place
    )
