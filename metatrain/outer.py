"""One outer iteration of meta-training: every particle, both signs, AdamW on theta, in one compiled program."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import celo2
from celo2 import checks, scheduler
from metatrain import particles
from metatrain.config import NEEDS_INIT_THETA, SCHEDULED, MetaTrainConfig
from metatrain.rules import SCHEDULE

AXIS = "particles"
# Reported in place of a mean loss that is not finite.
BAD_LOSS = 20.0


class OuterState(NamedTuple):
    """Everything that a run carries from one outer iteration to the next.

    Attributes:
      iteration: int32, iterations done.
      trained: the part of theta that is trained.
      frozen: the other part.
      average: running mean of `trained`.
      opt_state: of the outer AdamW.
      particles: see `particles.State`.
    """

    iteration: jax.Array
    trained: Any
    frozen: Any
    average: Any
    opt_state: Any
    particles: particles.State

    @property
    def theta(self) -> dict[str, Any]:
        """The weights as they are."""
        return {**self.frozen, **self.trained}

    @property
    def theta_average(self) -> dict[str, Any]:
        """The weights with their running mean in place of the trained part."""
        return {**self.frozen, **self.average}


class Metrics(NamedTuple):
    """One outer iteration; float32.

    Attributes:
      loss: scalar, masked mean over problems, capped per step.
      family_loss: [F], likewise of every family.
      grad_norm: scalar, of the meta-gradient.
      bad_grads: scalar, share of its entries that were not finite and were set to 0.
    """

    loss: jax.Array
    family_loss: jax.Array
    grad_norm: jax.Array
    bad_grads: jax.Array


class Variant(NamedTuple):
    """What runs of one compiled program may differ in.

    Attributes:
      key_data: uint32 [4, 2], of the keys of theta, of particles, of truncations and of data.
      learning_rate: AdamW's highest, float32 scalar.
    """

    key_data: Any
    learning_rate: Any

    @property
    def keys(self) -> jax.Array:
        """Keys [4]."""
        return jax.random.wrap_key_data(self.key_data)


class Program(NamedTuple):
    """The compiled outer iteration, and what goes with it.

    Attributes:
      init: init() -> state.
      step: step(state) -> (state, metrics); it consumes its argument.
      refresh: refresh(state) -> the state with all particles started anew; it depends on iteration and theta only.
      place: place(state) -> the same state on the devices that share the problems (after reading a checkpoint).
      num_devices: how many share the problems.
    """

    init: Callable[..., OuterState]
    step: Callable[..., tuple[OuterState, Metrics]]
    refresh: Callable[..., OuterState]
    place: Callable[[OuterState], OuterState]
    num_devices: int


def shared_devices(share: int, devices: Sequence[Any]) -> list[Any]:
    """As many of the devices as divide `share` evenly, equally many of every process.

    Args:
      share: what the number of devices must divide, `particles.Particles.smallest_share`.
      devices: of all processes.

    Raises:
      ValueError: if the processes cannot have equally many.
    """
    by_process: dict[int, list[Any]] = {}
    for device in devices:
        by_process.setdefault(device.process_index, []).append(device)
    processes = len(by_process)
    least = min(map(len, by_process.values()))
    each = max((n for n in range(1, least + 1) if share % (n * processes) == 0), default=0)
    if not each:
        raise ValueError(
            f"{processes} processes cannot share the problems evenly (their number per kind of network has the common "
            f"divisor {share}); choose --tasks-per-family as a multiple of {processes}"
        )
    return [device for group in by_process.values() for device in group[:each]]


def optimizer(config: MetaTrainConfig, peak: jax.Array) -> optax.GradientTransformation:
    """AdamW with the configuration's schedule, decay and clipping; peak: its highest rate, float32 scalar."""
    hold = config.outer_hold
    rate: Any = {
        "constant": peak,
        "inverse_sqrt": lambda count: peak * jnp.sqrt(hold / jnp.maximum(count, hold)),
        "cosine": optax.cosine_decay_schedule(peak, config.iterations),
    }[config.outer_schedule]
    adamw = optax.adamw(rate, weight_decay=config.outer_weight_decay)
    return adamw if config.outer_clip is None else optax.chain(optax.clip_by_global_norm(config.outer_clip), adamw)


def make_program(config: MetaTrainConfig, devices: list[Any] | None = None) -> Program:
    """Prepares the compiled outer iteration for a configuration.

    Particles are spread over the devices; one sum of theta-sized gradients per iteration joins them. Random
    numbers belong to particles, not to devices, so the number of devices changes the result by rounding only.
    """
    return make_programs(config, [(config.outer_learning_rate, config.seed)], devices)[0]


def make_programs(
    config: MetaTrainConfig, runs: Sequence[tuple[float, int]], devices: list[Any] | None = None
) -> list[Program]:
    """As `make_program`, for several outer learning rates and seeds in place of the configuration's.

    They share what is compiled: rate and keys are arguments of it. A run is the same, bit for bit, as by itself.

    Args:
      config: what they have in common.
      runs: (outer learning rate, seed) of each.
      devices: that share the problems.
    """
    shared = compiled(config, devices)

    def bound(learning_rate: float, seed: int) -> Program:
        # On the host, where every process has its own: as an argument they are the same on all devices.
        keys = jax.random.key_data(jax.random.split(jax.random.key(seed), 4))
        run = Variant(np.asarray(keys), np.float32(learning_rate))
        return shared._replace(
            init=functools.partial(shared.init, run),
            step=functools.partial(shared.step, run),
            refresh=functools.partial(shared.refresh, run),
        )

    return [bound(learning_rate, seed) for learning_rate, seed in runs]


def compiled(config: MetaTrainConfig, devices: list[Any] | None = None) -> Program:
    """What runs of all outer learning rates and seeds share.

    Returns:
      A `Program`, but that its init, step and refresh take a `Variant` first.
    """
    population = particles.make(config)
    devices = list(jax.devices() if devices is None else devices)
    mesh = Mesh(np.asarray(shared_devices(population.smallest_share, devices)), (AXIS,))
    replicated, sharded = PartitionSpec(), PartitionSpec(AXIS)
    inputs, sharded_estimate = _inputs_on(mesh, population), _estimate_on(mesh, population)
    start = None if config.init_theta is None else celo2.load_weights(config.init_theta)

    def with_particles(
        run: Variant, iteration: jax.Array, trained: Any, frozen: Any, average: Any, opt_state: Any
    ) -> OuterState:
        fresh = population.init(jax.random.fold_in(run.keys[1], iteration), trained, frozen)
        return OuterState(iteration, trained, frozen, average, opt_state, fresh)

    def init(run: Variant) -> OuterState:
        trained, frozen = population.rule.split(_started(config, start, population.rule.init_theta(run.keys[0])))
        opt_state = optimizer(config, run.learning_rate).init(trained)
        return with_particles(run, jnp.zeros([], jnp.int32), trained, frozen, trained, opt_state)

    def step(run: Variant, state: OuterState, inputs: tuple[particles.Inputs, ...]) -> tuple[OuterState, Metrics]:
        new, sums = sharded_estimate(run.keys, state.iteration, state.trained, state.frozen, state.particles, inputs)
        return _updated(config, optimizer(config, run.learning_rate), state._replace(particles=new), sums)

    def on_mesh(spec: PartitionSpec) -> Any:
        return NamedSharding(mesh, spec)

    shardings: Any = OuterState(*map(on_mesh, (*[replicated] * 5, sharded)))
    compiled_step = jax.jit(step, donate_argnums=1, out_shardings=(shardings, None))
    compiled_init = jax.jit(init, out_shardings=shardings)
    compiled_refresh = jax.jit(with_particles, out_shardings=shardings)
    return Program(
        init=compiled_init,
        step=lambda run, state: compiled_step(run, state, inputs),
        refresh=lambda run, s: compiled_refresh(run, s.iteration, s.trained, s.frozen, s.average, s.opt_state),
        place=lambda state: OuterState(*(jax.device_put(x, s) for x, s in zip(state, shardings, strict=True))),
        num_devices=mesh.size,
    )


def _inputs_on(mesh: Mesh, population: particles.Particles) -> tuple[particles.Inputs, ...]:
    """What the particles read, on the devices: numbers with their particles, data everywhere."""
    specs = _inputs_spec()
    return tuple(
        particles.Inputs(*(jax.device_put(x, NamedSharding(mesh, s)) for x, s in zip(group, specs, strict=True)))
        for group in population.inputs
    )


def _inputs_spec() -> Any:
    return particles.Inputs(*(PartitionSpec(AXIS), PartitionSpec(AXIS), PartitionSpec()))  # type: ignore[arg-type]


def _estimate_on(mesh: Mesh, population: particles.Particles) -> Callable[..., tuple[particles.State, particles.Sums]]:
    """One truncation of all particles, each on its device, and the sums over all of them."""

    def estimate(
        keys: jax.Array,
        iteration: jax.Array,
        trained: Any,
        frozen: Any,
        state: particles.State,
        inputs: tuple[particles.Inputs, ...],
    ) -> tuple[particles.State, particles.Sums]:
        key = jax.random.fold_in(keys[2], iteration)
        state, sums = population.estimate(key, keys[3], iteration, trained, frozen, state, inputs)
        return state, jax.lax.psum(sums, AXIS)

    replicated, sharded = PartitionSpec(), PartitionSpec(AXIS)
    return jax.shard_map(
        estimate,
        mesh=mesh,
        in_specs=(*[replicated] * 4, sharded, (_inputs_spec(),) * len(population.inputs)),
        out_specs=(sharded, replicated),
        check_vma=False,
    )


def _updated(
    config: MetaTrainConfig, outer_optimizer: optax.GradientTransformation, state: OuterState, sums: particles.Sums
) -> tuple[OuterState, Metrics]:
    """The outer update: a step of theta along the mean gradient, entries that are not finite left out."""
    raw = jax.tree.map(lambda g: g / config.num_tasks, sums.grad)
    flat = jnp.concatenate([g.ravel() for g in jax.tree.leaves(raw)])
    grad = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0.0), raw)
    updates, opt_state = outer_optimizer.update(grad, state.opt_state, state.trained)
    trained = optax.apply_updates(state.trained, updates)
    decay = config.average_decay
    average = jax.tree.map(lambda a, t: decay * a + (1 - decay) * t, state.average, trained)
    loss = sums.loss / config.num_tasks
    metrics = Metrics(
        loss=jnp.where(jnp.isfinite(loss), loss, BAD_LOSS),
        family_loss=sums.family_loss / config.tasks_per_family,
        grad_norm=optax.tree.norm(grad),
        bad_grads=jnp.mean(~jnp.isfinite(flat)),
    )
    return OuterState(state.iteration + 1, trained, state.frozen, average, opt_state, state.particles), metrics


def _started(config: MetaTrainConfig, start: celo2.Weights | None, theta: Any) -> Any:
    """The theta that training starts with: random, unless the configuration names weights for it or a part of it."""
    if start is not None:
        theta = _like(start, theta, config)
    return theta if config.init_schedule is None else _with_schedule(theta, config.init_schedule, config)


def _with_schedule(theta: Any, path: Path, config: MetaTrainConfig) -> Any:
    """Celo's theta with the schedule of other weights; an array that those of Celo-Adam lack stays."""
    schedule = celo2.load_weights(path)
    if checks.rule_of(schedule.theta) == "celo2":
        raise ValueError(f"{path} holds celo2 weights, which have no schedule: init_schedule takes celo or celo_adam")
    if scheduler.reads_tensors(schedule.theta) and not config.tensor_features:
        raise ValueError(f"the schedule of {path} reads tensor features: go on with it with --tensor-features")
    _check_schedule_form(schedule, path, config)
    parts = {name: {**theta[name], **schedule.theta[name]} for name in SCHEDULE}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), {**theta, **parts})


def _check_schedule_form(start: celo2.Weights, path: Any, config: MetaTrainConfig) -> None:
    """Refuses a trained schedule whose output was to become something else."""
    theirs, ours = start.form.schedule_form, config.form.schedule_form
    if theirs != ours and start.card.get("rule") in SCHEDULED:
        raise ValueError(f"the schedule of {path} was trained with --schedule-form {theirs}, not with {ours}")


def _like(start: celo2.Weights, theta: Any, config: MetaTrainConfig) -> Any:
    """The theta of a file, if it fits the rule and, where a part of it stays, the form."""
    if config.tensor_features and not scheduler.reads_tensors(start.theta) and "rnn_params" in start.theta:
        # The arrays that the file lacks stay random; the others are as without them.
        own = {name: theta["rnn_params"][name] for name in scheduler.TENSOR_LAYERS}
        start = start._replace(theta={**start.theta, "rnn_params": {**start.theta["rnn_params"], **own}})
    elif scheduler.reads_tensors(start.theta) and not config.tensor_features:
        raise ValueError(
            f"the schedule of {config.init_theta} reads tensor features: --tensor-features goes on with it"
        )
    shapes, expected = (
        {path: np.shape(x) for path, x in checks.flatten_paths(tree).items()} for tree in (start.theta, theta)
    )
    if shapes != expected:
        raise ValueError(
            f"{config.init_theta} holds {checks.rule_of(start.theta)} weights, which do not fit {config.rule}"
        )
    _check_schedule_form(start, config.init_theta, config)
    stays = config.rule in NEEDS_INIT_THETA and not config.one_phase
    if stays and start.form._replace(schedule_form=config.form.schedule_form) != config.form:
        odd, size, decays = start.form[:3]
        raise ValueError(
            f"the update rule of {config.init_theta}, which stays as it is, was trained with odd {odd}, size {size}, "
            f"momentum decays {decays}; its schedule is trained for the same: {'--odd' if odd else '--no-odd'} "
            f"--size {size} --momentum-decays {' '.join(map(str, decays))}"
        )
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start.theta)
