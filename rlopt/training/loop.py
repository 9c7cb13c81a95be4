"""Trains one population: all seeds and learning rates in one compiled program, in chunks, split over the devices."""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

import agents
import envs
from celo2.names import check_known
from rlopt.optimizers import arms, factory
from rlopt.statistics import lowest
from rlopt.storage.stopping import BrokeOff, Unfinished, stop_requested
from rlopt.training import checkpoint, placement, watchdog
from rlopt.training.checkpoint import Progress
from rlopt.training.config import TrainConfig
from rlopt.training.presets import AGENTS

# A checkpoint is due after this many seconds, or this many times what the last one took if that is longer.
SAVE_SECONDS, SAVE_SHARE = 30.0, 20.0
# How long a signal, or the device's answer, may go unnoticed.
POLL_SECONDS = 0.001
# "Final" is the last tenth of training.
FINAL_SHARE = 0.1


class History(NamedTuple):
    """What a population did; S members (seeds, or learning rates times seeds), T logging intervals.

    steps: int64 [T], environment steps per seed at the end of each interval.
    returns: float32 [S, T], mean raw return of the training episodes that ended in the interval; NaN: none did.
    lengths: float32 [S, T], their mean length.
    final: float32 [S], mean return over the episodes of the last tenth of training; NaN: none ended there. A stopped
      seed counts as the lowest return in `returns`: to leave it out would favour optimizers that break.
    stopped: int64 [S], environment steps after which a seed was stopped since its loss was not finite; -1: it was not.
      What it logged before stays, what would come after is NaN.
    metrics: {name: float32 [S, T]}, means over the interval of what the agent reports.
    params: tree of NumPy arrays with leading axis S, the trained networks.
    compile_seconds, train_seconds: wall-clock time. cpu_seconds: processor time of training, over all cores.
    devices: on what it was trained: "2 x cpu", "1 x NVIDIA H200".
    """

    steps: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    final: np.ndarray
    stopped: np.ndarray
    metrics: dict[str, np.ndarray]
    params: Any
    compile_seconds: float
    train_seconds: float
    cpu_seconds: float
    devices: str


def build(config: TrainConfig) -> agents.Agent:
    """The agent of a configuration; every check that needs no compilation happens here.

    Raises:
      ValueError: for unknown names, impossible settings, a foreign weight file, or an unfit environment.
      FileNotFoundError: if the weight file does not exist.
    """
    check_known("agent", config.agent, AGENTS)
    factory.look_up(config.optimizer)
    envs.check_id(config.env)
    config.check()
    return agents.make(make_env(config, config.hyper.num_envs), config.hyper, _optimizer(config))


def _optimizer(config: TrainConfig) -> Any:
    """The agent's optimizer; where parts of it have others, one for each part."""
    updates = config.hyper.updates_per_target
    common = factory.make(config.optimizer, config.theta, config.options, updates)
    if not config.optimizer_of:
        return common
    made = dict.fromkeys(config.hyper.parts, common)
    for part, text in config.optimizer_of.items():
        arm = arms.parse(text)
        own: TrainConfig = TrainConfig(
            config.agent, config.env, arm.optimizer, preset=config.preset, options=dict(arm.options)
        )
        inner = factory.make(arm.optimizer, None, own.options, updates)
        # Handed is the rate of the optimizer of all other parts, annealed or swept: this one's own, likewise.
        no_rate = own.resolved_learning_rate is None and not factory.look_up(arm.optimizer).scheduled
        ratio = 1.0 if no_rate else own.handed_rate / config.handed_rate
        made[part] = functools.partial(_scaled, inner, ratio)
    return made


def _scaled(inner: agents.OptimizerFactory, ratio: float, learning_rate: Any, num_updates: int) -> Any:
    return inner(learning_rate * ratio, num_updates)


def make_env(config: TrainConfig, num_envs: int, **changes: Any) -> envs.VectorEnv:
    """num_envs copies of a configuration's environment; changes: of the settings of Atari games."""
    if not envs.is_atari(config.env):
        return envs.make(config.env, num_envs)
    return envs.make(config.env, num_envs, dataclasses.replace(config.atari, **changes))


def train(
    config: TrainConfig,
    *,
    progress: bool = True,
    folder: Path | None = None,
    on_interval: Callable[[dict[str, Any]], None] | None = None,
    on_continue: Callable[[list[dict[str, Any]]], None] | None = None,
) -> History:
    """Trains every seed of a configuration.

    With a folder, the run survives: it saves a checkpoint there every half minute and when SIGINT or SIGTERM asks it to
    stop, and goes on from the one that it finds, with the same numbers as if it had never stopped. (Atari games start
    new episodes, since no file can hold an emulator: that run is another one from there on, which is said.)

    Args:
      config: what to train.
      progress: show a progress bar.
      folder: where checkpoints lie; None: none are made.
      on_interval: called with one row per logging interval (per-seed returns and metrics as lists).
      on_continue: called with all rows up to the checkpoint from which a run goes on.

    Warns:
      RuntimeWarning: when the loss of a seed is not finite: that seed is stopped, the others go on.

    Raises:
      What `build` raises, before anything is compiled.
      ValueError: if the folder's checkpoint is of other settings or damaged.
      Unfinished: when asked to stop; BrokeOff, a kind of it: when an environment fails.
    """
    agent = build(config)
    label = f"{config.title} on {config.env}"
    with watchdog.watch(label, enabled=jax.default_backend() == "cpu"):
        return _train(agent, config, label, progress, folder, on_interval, on_continue)


def _train(
    agent: agents.Agent,
    config: TrainConfig,
    label: str,
    progress: bool,
    folder: Path | None,
    on_interval: Callable[[dict[str, Any]], None] | None,
    on_continue: Callable[[list[dict[str, Any]]], None] | None,
) -> History:
    started = time.monotonic()
    mesh = placement.mesh_for(config.size)
    state = placement.initial_state(agent, config, mesh)
    lengths = placement.chunk_lengths(config.hyper.num_iterations)
    steps = np.cumsum(lengths, dtype=np.int64) * config.hyper.env_steps_per_iteration
    in_turn = placement.trains_in_turn(config, mesh, state.obs.shape[2:])
    run = {n: placement.compile_chunk(mesh, agent, n, state, in_turn) for n in sorted(set(lengths))}
    compile_seconds = time.monotonic() - started

    nothing = np.zeros((0, config.size), np.float32)
    so_far = Progress(state, [], nothing, nothing, np.full(config.size, -1, np.int64), 0.0, 0.0)
    if folder is not None and (found := checkpoint.load(folder, config, state)) is not None:
        so_far = _continued(agent, config, mesh, found, label)
        if on_continue is not None:
            on_continue([_logged(steps[i], row) for i, row in enumerate(so_far.rows)])
    del state
    clock, cpu_clock = time.monotonic() - so_far.train_seconds, time.process_time() - so_far.cpu_seconds
    saved, save_seconds = time.monotonic(), 0.0
    begun = int(steps[len(so_far.rows) - 1]) if so_far.rows else 0
    with (
        stop_requested(enabled=folder is not None) as stop,
        _progress_bar(label, begun, int(steps[-1]), enabled=progress) as bar,
    ):
        for length, step in list(zip(lengths, steps.tolist(), strict=True))[len(so_far.rows) :]:
            state, metrics = _run_chunk(run[length], so_far.state, folder, label)
            so_far = _with_interval(so_far, state, metrics)
            so_far = so_far._replace(
                train_seconds=time.monotonic() - clock, cpu_seconds=time.process_time() - cpu_clock
            )
            row = so_far.rows[-1]
            _stop_broken(so_far.stopped, row["loss"], step, label, config)
            bar.set_postfix_str(f"median return {_nan_median(row['return']):.1f}", refresh=False)
            bar.update(length * config.hyper.env_steps_per_iteration)
            if on_interval is not None:
                on_interval(_logged(step, row))
            if np.all(so_far.stopped >= 0) or step == steps[-1]:
                break
            started, asked = time.monotonic(), bool(stop)  # once: the signal may come at any moment
            saved_last = False
            if folder is not None and (asked or started - saved > max(SAVE_SECONDS, SAVE_SHARE * save_seconds)):
                saved_last = _save(folder, config, so_far, label)
                saved = time.monotonic()
                save_seconds = saved - started
            if asked:
                where = "from there" if saved_last else "from its last checkpoint, if it has one"
                raise Unfinished(f"{label}: stopped at step {step:,}; `rlopt resume {folder}` goes on {where}")
    return _finished(_history(agent, so_far, steps[: len(so_far.rows)], compile_seconds, mesh), label, config)


def _progress_bar(label: str, begun: int, total: int, *, enabled: bool) -> Any:
    return tqdm.tqdm(
        total=total, initial=begun, unit="step", unit_scale=True, desc=label, disable=not enabled, mininterval=1.0
    )


def _finished(history: History, label: str, config: TrainConfig) -> History:
    """With the seeds that broke, the last update included, counted as the lowest of their cell."""
    # The last update's loss is one that came before it.
    unbroken = [np.all(np.isfinite(x), axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(history.params)]
    loss = np.where(np.all(unbroken, axis=0), 0.0, np.nan)
    _stop_broken(history.stopped, loss, int(history.steps[-1]), label, config)
    lowest_of_cell = np.repeat([lowest(cell) for cell in np.split(history.returns, len(config.cells))], config.seeds)
    return history._replace(final=np.where(history.stopped >= 0, lowest_of_cell, history.final))


def split(history: History, config: TrainConfig) -> list[History]:
    """What each of a population's cells did; the time is shared out evenly."""
    count = len(config.cells)

    def part(k: int) -> History:
        def mine(x: np.ndarray) -> np.ndarray:
            return x[k * config.seeds : (k + 1) * config.seeds]

        return History(
            steps=history.steps,
            returns=mine(history.returns),
            lengths=mine(history.lengths),
            final=mine(history.final),
            stopped=mine(history.stopped),
            metrics={name: mine(values) for name, values in history.metrics.items()},
            params=jax.tree.map(mine, history.params),
            compile_seconds=history.compile_seconds / count,
            train_seconds=history.train_seconds / count,
            cpu_seconds=history.cpu_seconds / count,
            devices=history.devices,
        )

    return [part(k) for k in range(count)]


def _with_interval(so_far: Progress, state: Any, metrics: Any) -> Progress:
    """Progress after one more interval; metrics: NumPy arrays [iterations, S]."""
    row = _interval(metrics)
    for values in row.values():
        values[so_far.stopped >= 0] = np.nan
    return so_far._replace(
        state=state,
        rows=[*so_far.rows, row],
        sums=np.concatenate([so_far.sums, metrics.return_sum]),
        counts=np.concatenate([so_far.counts, metrics.num_episodes]),
    )


def _history(agent: agents.Agent, so_far: Progress, steps: np.ndarray, compile_seconds: float, mesh: Mesh) -> History:
    columns = {name: np.stack([row[name] for row in so_far.rows], axis=1) for name in so_far.rows[0]}
    tail = max(1, round(FINAL_SHARE * len(so_far.sums)))
    return History(
        steps=steps,
        returns=columns.pop("return"),
        lengths=columns.pop("length"),
        final=_ratio(so_far.sums[-tail:].sum(0), so_far.counts[-tail:].sum(0)),
        stopped=so_far.stopped,
        metrics=columns,
        params=jax.tree.map(np.asarray, agent.policy(so_far.state)),
        compile_seconds=compile_seconds,
        train_seconds=so_far.train_seconds,
        cpu_seconds=so_far.cpu_seconds,
        devices=f"{mesh.size} x {mesh.devices.flat[0].device_kind}",
    )


def _continued(agent: agents.Agent, config: TrainConfig, mesh: Mesh, found: Progress, label: str) -> Progress:
    """What a checkpoint holds, with new episodes where those of before cannot be gone on with."""
    if not agent.unsaved:
        return found
    warnings.warn(
        f"{label}: goes on after {len(found.sums):,} iterations with new episodes, since no file can hold an emulator; "
        "parameters, optimizer and statistics are as they were",
        RuntimeWarning,
        stacklevel=4,
    )
    fresh = placement.initial_state(agent, config, mesh, salt=len(found.sums))
    return found._replace(state=found.state._replace(**{name: getattr(fresh, name) for name in agent.unsaved}))


def _save(folder: Path, config: TrainConfig, so_far: Progress, label: str) -> bool:
    """Whether a checkpoint was saved; a run that cannot be, on a full disk for example, goes on all the same."""
    try:
        checkpoint.save(folder, config, so_far)
        return True
    except OSError as error:
        warnings.warn(f"{label}: no checkpoint could be written ({error})", RuntimeWarning, stacklevel=4)
        return False


def _run_chunk(chunk: Callable[[Any], Any], state: Any, folder: Path | None, label: str) -> tuple[Any, Any]:
    """The state after an interval, and its metrics: NumPy arrays [iterations, S]."""
    try:
        state, metrics = chunk(state)
        _wait(metrics)
        return state, jax.tree.map(lambda x: np.asarray(x).T, metrics)
    except jax.errors.JaxRuntimeError as error:
        how = f"`rlopt resume {folder}` goes on from its last checkpoint"
        if folder is None or not checkpoint.exists(folder):
            how = "there is no checkpoint yet, so it has to start anew"
        raise BrokeOff(f"{label}: the run broke off ({_reason(error)}); {how}") from error


def _wait(arrays: Any) -> None:
    """Waits for the device, in short sleeps: in one long wait no signal would be heard."""
    while not all(x.is_ready() for x in jax.tree.leaves(arrays)):
        time.sleep(POLL_SECONDS)


def _reason(error: Exception) -> str:
    """The last line of a message that may hold a whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _logged(step: int, row: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"step": int(step), **{name: values.tolist() for name, values in sorted(row.items())}}


def _interval(metrics: Any) -> dict[str, np.ndarray]:
    """Per-seed means [S] over one interval."""
    episodes = metrics.num_episodes.sum(0)
    row = {
        "return": _ratio(metrics.return_sum.sum(0), episodes),
        "length": _ratio(metrics.length_sum.sum(0), episodes),
        "episodes": episodes.astype(np.float32),
    }
    rest = metrics._asdict()
    for name in ("return_sum", "length_sum", "num_episodes"):
        rest.pop(name)
    return row | {name: value.mean(0) for name, value in rest.items()}


def _stop_broken(stopped: np.ndarray, loss: np.ndarray, step: int, label: str, config: TrainConfig) -> None:
    """Notes the step in `stopped` for members whose loss is not finite for the first time, and says so."""
    for index in np.flatnonzero(~np.isfinite(loss) & (stopped < 0)).tolist():
        stopped[index] = step
        warnings.warn(
            f"{label}: the loss of {config.member(index)} is not finite (at step {step:,}); this seed is stopped, the "
            "others go on",
            RuntimeWarning,
            stacklevel=4,
        )


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _nan_median(x: np.ndarray) -> float:
    return float(np.median(x[~np.isnan(x)])) if np.any(~np.isnan(x)) else float("nan")
