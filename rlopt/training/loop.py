"""Trains one population: all seeds and learning rates in one compiled program, in chunks, split over the devices."""

import contextlib
import dataclasses
import functools
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import agents
import envs
from celo2.names import check_known
from envs.atari_config import FULL_GAMES
from rlopt.optimizers import arms, factory
from rlopt.storage.run_lock import Gone
from rlopt.storage.stopping import BrokeOff, Unfinished, stop_requested
from rlopt.training import checkpoint, giving_up, history, intervals, placement, shown, trials, watchdog
from rlopt.training.checkpoint import Progress
from rlopt.training.config import TrainConfig
from rlopt.training.history import History
from rlopt.training.monitor import RETURN, Monitor
from rlopt.training.presets import AGENTS
from rlopt.training.shown import Shown

# A checkpoint is due after this many seconds, or this many times what the last one took if that is longer.
SAVE_SECONDS, SAVE_SHARE = 30.0, 20.0
# How long a signal, or the device's answer, may go unnoticed.
POLL_SECONDS = 0.001


def make_agent(config: TrainConfig) -> agents.Agent:
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


def check(config: TrainConfig) -> None:
    """Refuses what cannot be trained: raises what `make_agent` raises."""
    make_agent(config)


def _optimizer(config: TrainConfig) -> Any:
    """The agent's optimizer; where parts of it have others, one for each part."""
    updates = config.hyper.updates_per_target
    traced = trials.of_members(config)[1] if config.trials else ()
    epochs = config.hyper.epochs_per_target
    common = factory.make(config.optimizer, config.theta, config.options, updates, traced, epochs)
    if not config.optimizer_of:
        return common
    made = dict.fromkeys(config.hyper.parts, common)
    for part, text in config.optimizer_of.items():
        arm = arms.parse(text)
        own: TrainConfig = TrainConfig(
            config.agent, config.env, arm.optimizer, preset=config.preset, options=dict(arm.options)
        )
        inner = factory.make(arm.optimizer, None, own.options, updates, epochs_per_target=epochs)
        # Handed is the rate of the optimizer of all other parts, annealed or swept: this one's own, likewise.
        no_rate = own.resolved_learning_rate is None and not factory.look_up(arm.optimizer).scheduled
        ratio = 1.0 if no_rate else own.handed_rate / config.handed_rate
        made[part] = functools.partial(_scaled, inner, ratio)
    return made


def _scaled(
    inner: agents.OptimizerFactory, ratio: float, learning_rate: Any, num_updates: int, **of_others: Any
) -> Any:
    del of_others  # options that trials differ in are those of the optimizer of all other parts
    return inner(learning_rate * ratio, num_updates)


def make_env(config: TrainConfig, num_envs: int, **changes: Any) -> envs.VectorEnv:
    """num_envs copies of a configuration's environment; changes: of the settings of Atari games."""
    if not envs.is_atari(config.env):
        return envs.make(config.env, num_envs)
    return envs.make(config.env, num_envs, dataclasses.replace(config.atari, **changes))


def train(
    config: TrainConfig,
    *,
    progress: bool | Shown = True,
    folder: Path | None = None,
    on_interval: Callable[[dict[str, Any]], None] | None = None,
    on_continue: Callable[[list[dict[str, Any]]], None] | None = None,
    on_kept: Callable[[str, Any], None] | None = None,
) -> History:
    """Trains every seed of a configuration.

    With a folder, the run survives: it saves a checkpoint there every half minute and when SIGINT or SIGTERM asks it to
    stop, and resumes from the one that it finds, with the same numbers as if it had never stopped. (Atari games start
    new episodes, since no file can hold an emulator: that run is another one from there on, which is said.)

    Args:
      config: what to train.
      progress: show a progress bar; or a plan's, of which this is a part.
      folder: where checkpoints lie; None: none are made.
      on_interval: called with one row per logging interval (per-seed returns and metrics as lists).
      on_continue: called with all rows up to the checkpoint from which a run is resumed.
      on_kept: called with a name and policies [S, ...] that are to be kept (`monitor_config`), before on_interval.

    Warns:
      RuntimeWarning: when the loss of a seed is not finite: that seed is stopped, the others go on.

    Raises:
      What `make_agent` raises, before anything is compiled.
      ValueError: if the folder's checkpoint is of other settings or damaged.
      Unfinished: when asked to stop; BrokeOff, a kind of it: when an environment fails.
    """
    agent = make_agent(config)
    with watchdog.watch(config.label, enabled=jax.default_backend() == "cpu"):
        return _train(agent, config, shown.of(progress), folder, on_interval, on_continue, on_kept)


def _train(
    agent: agents.Agent,
    config: TrainConfig,
    on_screen: Shown,
    folder: Path | None,
    on_interval: Callable[[dict[str, Any]], None] | None,
    on_continue: Callable[[list[dict[str, Any]]], None] | None,
    on_kept: Callable[[str, Any], None] | None,
) -> History:
    started = time.monotonic()
    mesh = placement.mesh_for(config.size)
    lengths = intervals.lengths(config.hyper.num_iterations)
    steps = np.cumsum(lengths, dtype=np.int64) * config.hyper.env_steps_per_iteration
    where = f"{mesh.size} device{'s' if mesh.size > 1 else ''}"
    on_screen.say(f"compiling {config.agent.upper()} for {config.size} members on {where}, once: {config.label}")
    so_far = _begun(agent, config, mesh, folder)
    monitor = Monitor(agent, config, _evaluation_env(config))
    run = _compiled(agent, config, so_far, monitor)
    compile_seconds = time.monotonic() - started
    if so_far.rows and on_continue is not None:
        on_continue([_logged(step, row) for step, row in zip(steps.tolist(), so_far.rows, strict=False)])
    clock, saver = _Clock(so_far), _Saver(folder, config)
    begun = int(steps[len(so_far.rows) - 1]) if so_far.rows else 0
    with (
        stop_requested(enabled=folder is not None) as stop,
        on_screen.population(config, config.label, begun, int(steps[-1])) as bar,
    ):
        for length, step in list(zip(lengths, steps.tolist(), strict=True))[len(so_far.rows) :]:
            state, metrics = _run_chunk(run[length], so_far.state, folder, config.label)
            so_far = clock.read(history.with_interval(so_far, state, metrics, step, config))
            row = so_far.rows[-1]
            with clock.beside():
                best = monitor.look(so_far, step, functools.partial(_computed, folder, config.label))
            so_far = so_far._replace(best=best)
            bar.update(length * config.hyper.env_steps_per_iteration, row["return"], row.get(RETURN))
            if np.any(leaving := giving_up.leaving(config, so_far, step)):
                with clock.beside():
                    so_far, run = _smaller(agent, config, so_far, leaving, step, monitor, on_screen)
                    state = so_far.state  # else the larger one would stay as well
            try:
                if on_kept is not None:
                    for kept in monitor.to_keep:
                        on_kept(*kept)
                if on_interval is not None:
                    on_interval(_logged(step, row))
            except Gone as gone:
                _save_elsewhere(gone, config, so_far)
                raise
            if np.all((so_far.stopped >= 0) | (so_far.given_up >= 0)) or step == steps[-1]:
                break
            saver.after_interval(so_far, bool(stop), step)
    return history.of_progress(agent, config, so_far, steps[: len(so_far.rows)], compile_seconds, mesh)


def _evaluation_env(config: TrainConfig) -> envs.VectorEnv | None:
    """Full games, of which none is an agent's; None: nothing is evaluated."""
    if not config.monitor.eval_every:
        return None
    return make_env(config, config.monitor.eval_episodes, **FULL_GAMES)


def _compiled(
    agent: agents.Agent, config: TrainConfig, so_far: Progress, monitor: Monitor
) -> dict[int, Callable[[Any], tuple[Any, Any]]]:
    """The programs that train the members of a state, by their numbers of iterations; and what evaluates these."""
    state = so_far.state
    if state is None:  # all were given up
        return {}
    count = state.obs.shape[0]
    mesh = placement.mesh_for(count)
    in_turn = placement.trains_in_turn(config, count, mesh, state.obs.shape[2:])
    monitor.compile(so_far, in_turn)
    lengths = sorted(set(intervals.lengths(config.hyper.num_iterations)))
    return {n: placement.compile_chunk(mesh, agent, n, state, in_turn) for n in lengths}


def _smaller(
    agent: agents.Agent,
    config: TrainConfig,
    so_far: Progress,
    gone: np.ndarray,
    step: int,
    monitor: Monitor,
    on_screen: Shown,
) -> tuple[Progress, dict[int, Callable[[Any], tuple[Any, Any]]]]:
    """Progress without those that are given up, and the programs for the others."""
    on_screen.say(f"{config.label}: {giving_up.said(config, so_far, gone, step)}")
    rest = giving_up.without(agent, so_far, gone, step)
    return rest, _compiled(agent, config, rest, monitor)


def _begun(agent: agents.Agent, config: TrainConfig, mesh: Mesh, folder: Path | None) -> Progress:
    """What a folder's checkpoint holds, else the beginning."""
    state = placement.initial_state(agent, config, mesh)
    policies = jax.eval_shape(agent.policy, state)
    found = None if folder is None else checkpoint.load(folder, config, state, policies)
    if found is not None:
        return _continued(agent, config, mesh, found)
    nothing = np.zeros((0, config.size), np.float32)
    return Progress(state, [], nothing, nothing, np.full(config.size, -1, np.int64), 0.0, 0.0)


def _continued(agent: agents.Agent, config: TrainConfig, mesh: Mesh, found: Progress) -> Progress:
    """What a checkpoint holds, with new episodes where those of before cannot be resumed."""
    if not agent.unsaved:
        return found
    warnings.warn(
        f"{config.label}: is resumed after {len(found.sums):,} iterations with new episodes, since no file can hold "
        "its environments; parameters, optimizer and statistics are as they were",
        RuntimeWarning,
        stacklevel=5,
    )
    fresh = placement.initial_state(agent, config, mesh, salt=len(found.sums))
    return found._replace(state=found.state._replace(**{name: getattr(fresh, name) for name in agent.unsaved}))


class _Clock:
    """Wall-clock and processor time of training; what is done beside it is counted apart."""

    def __init__(self, so_far: Progress):
        """so_far: from where a run is resumed."""
        self._wall, self._cpu = time.monotonic() - so_far.train_seconds, time.process_time() - so_far.cpu_seconds
        self._beside = so_far.seconds_beside

    def read(self, so_far: Progress) -> Progress:
        """Progress with the times so far."""
        wall, cpu = time.monotonic() - self._wall, time.process_time() - self._cpu
        return so_far._replace(train_seconds=wall, cpu_seconds=cpu, seconds_beside=self._beside)

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Around what is no part of training."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        self._wall, self._cpu, self._beside = self._wall + wall, self._cpu + cpu, self._beside + wall


class _Saver:
    """Saves checkpoints of a run when they are due."""

    def __init__(self, folder: Path | None, config: TrainConfig):
        """folder: where they lie; None: none are made."""
        self._folder, self._config = folder, config
        self._saved, self._seconds = time.monotonic(), 0.0

    def after_interval(self, so_far: Progress, asked: bool, step: int) -> None:
        """Saves one if it is due; if the run was asked to stop, in any case, and raises `Unfinished`.

        asked: looked at once, for the signal may come at any moment. step: the last one done.
        """
        folder, started, saved = self._folder, time.monotonic(), False
        is_due = started - self._saved > max(SAVE_SECONDS, SAVE_SHARE * self._seconds)
        if folder is not None and (asked or is_due):
            saved = _save(folder, self._config, so_far)
            self._saved = time.monotonic()
            self._seconds = self._saved - started
        if asked:
            where = "from there" if saved else "from its last checkpoint, if it has one"
            command = f"`rlopt resume {shlex.quote(str(folder))}`"
            raise Unfinished(f"{self._config.label}: stopped at step {step:,}; {command} resumes it {where}")


def _save(folder: Path, config: TrainConfig, so_far: Progress) -> bool:
    """Whether a checkpoint was saved; a run that cannot be, on a full disk for example, goes on all the same."""
    try:
        checkpoint.save(folder, config, so_far)
        return True
    except OSError as error:
        warnings.warn(f"{config.label}: no checkpoint could be written ({error})", RuntimeWarning, stacklevel=5)
        return False


def _save_elsewhere(gone: Gone, config: TrainConfig, so_far: Progress) -> None:
    """Saves a checkpoint into a folder that was moved, and adds to the message how to resume."""
    if gone.place is not None and so_far.state is not None and _save(gone.place, config, so_far):
        gone.args = (f"{gone}; `rlopt resume {shlex.quote(str(gone.place))}` resumes it from there",)


def _run_chunk(chunk: Callable[[Any], Any], state: Any, folder: Path | None, label: str) -> tuple[Any, Any]:
    """The state after an interval, and its metrics: NumPy arrays [iterations, S]."""
    state, metrics = _computed(folder, label, chunk, state)
    return state, jax.tree.map(lambda x: np.asarray(x).T, metrics)


def _computed(folder: Path | None, label: str, program: Callable[..., Any], *arguments: Any) -> Any:
    """What a program returns, once the last part of it is there."""
    try:
        found = program(*arguments)
        _wait(found[-1])
        return found
    except jax.errors.JaxRuntimeError as error:
        how = f"`rlopt resume {shlex.quote(str(folder))}` resumes it from its last checkpoint"
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
