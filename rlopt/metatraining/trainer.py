"""The outer loop: progress, metrics, meta-validation, checkpoints, exact resume, graceful stop."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from celo2 import save_checkpoint
from metatrain import outer, validation
from metatrain.config import MetaTrainConfig
from rlopt.metatraining import card, checkpoint, metrics
from rlopt.storage import run_lock
from rlopt.storage.stopping import stop_requested

CHECKPOINTS = "checkpoints"
THETAS = "thetas"


class Result(NamedTuple):
    """theta: the trained weights; iteration: outer iterations done; stopped: a signal ended the run early.

    theta_path: the last weights. best_path: those that did best in meta-validation, None before the first.
    """

    theta: Any
    iteration: int
    stopped: bool
    theta_path: Path
    best_path: Path | None


def train(
    config: MetaTrainConfig,
    out: Path,
    *,
    checkpoint_every: int = 500,
    validate_every: int = 1000,
    log_every: int = 10,
    progress: bool = True,
    report: Callable[[dict[str, Any]], None] | None = None,
    score: Callable[[Any], validation.Score] | None = None,
    devices: list[Any] | None = None,
) -> Result:
    """Meta-trains a rule, or continues a run whose checkpoints lie in `out`.

    A run killed at any moment and started again ends with the same theta, bit for bit, as one that was not
    (same machine, same number of devices). SIGTERM or Ctrl-C: the run finishes the current log interval,
    writes a checkpoint and returns.

    With several processes (`jax.distributed`), all call this with the same arguments and an `out` that all can read;
    the first one writes.

    Args:
      config: what to train.
      out: run folder; gets `RULE.theta` and `RULE.json` (its card), `RULE.best.theta` with card (the weights that did
        best in meta-validation), `metrics.jsonl`, `checkpoints/`, and `thetas/` with the weights at every
        `refresh_every` iterations.
      checkpoint_every: outer iterations between checkpoints, a multiple of log_every.
      validate_every: outer iterations between meta-validations, a multiple of log_every; 0: none.
      log_every: outer iterations per row of `metrics.jsonl`.
      progress: show a progress bar with the time left.
      report: called with every row.
      score: theta -> meta-validation; default: `validation.make`.
      devices: devices that share the problems; default: all.

    Raises:
      ValueError: for impossible settings, or an `out` that holds a run with other settings or is in use.
      OSError: if the weights cannot be written at the end; before, what cannot be saved is tried again.
    """
    config.check()
    for name, every, least in (("checkpoint_every", checkpoint_every, 1), ("validate_every", validate_every, 0)):
        if log_every < 1 or every < least or every % log_every:
            allowed = f"a {'multiple' if not least else 'positive multiple'} of {log_every}"
            raise ValueError(f"{name} must be {allowed} (log_every), got {every}")
    out = Path(out)
    folder = out / CHECKPOINTS
    if out.is_dir() and not run_lock.is_empty(out) and not folder.is_dir():
        raise ValueError(f"{out} is neither empty nor a meta-training run; choose another folder")
    program = outer.build(config, devices)
    with run_lock.held(out, enabled=jax.process_index() == 0):
        return _train(program, config, out, (checkpoint_every, validate_every, log_every), progress, report, score)


def _train(
    program: outer.Program,
    config: MetaTrainConfig,
    out: Path,
    intervals: tuple[int, int, int],
    progress: bool,
    report: Callable[[dict[str, Any]], None] | None,
    score: Callable[[Any], validation.Score] | None,
) -> Result:
    checkpoint_every, validate_every, log_every = intervals
    folder = out / CHECKPOINTS
    template = jax.eval_shape(program.init)
    loaded = checkpoint.load_latest(folder, template, config) if folder.exists() else None
    if loaded is None:
        state, iteration, past_seconds = program.init(), 0, 0.0
        past_losses: list[tuple[int, float]] = []
    else:
        compact = loaded.state.particles is None
        state = program.refresh(loaded.state) if compact else program.place(loaded.state)
        iteration, past_seconds, past_losses = loaded[1:]
    lead = jax.process_index() == 0
    rows: list[dict[str, Any]] = []
    if lead:
        folder.mkdir(parents=True, exist_ok=True)  # before anything else: it marks the folder as ours
        rows = metrics.read_until(out, iteration)
    best = card.best_validation(out, config)
    started = time.monotonic()

    def weights() -> Any:
        return jax.tree.map(np.asarray, state.theta_average if config.average_decay else state.theta)

    def history() -> tuple[float, list[tuple[int, float]]]:
        # In a folder that was given nothing but a checkpoint, the rows before it are missing.
        missing = [pair for pair in past_losses if not rows or pair[0] < rows[0]["iteration"]]
        return past_seconds + time.monotonic() - started, missing + [(row["iteration"], row["loss"]) for row in rows]

    def save() -> None:
        whole = _gathered(state) if iteration % config.refresh_every else state
        if lead:
            seconds, losses = history()
            checkpoint.save(folder, whole, iteration, config, seconds, losses)
            card.write_theta(out, weights(), config, iteration, seconds, losses, devices=program.num_devices)

    waiting: list[dict[str, Any]] = []

    def write_waiting() -> None:
        while waiting:
            metrics.append(out, waiting[0])
            waiting.pop(0)

    bar = tqdm.tqdm(
        total=config.iterations,
        initial=iteration,
        disable=not (progress and lead),
        unit="it",
        desc=config.rule,
        mininterval=1.0,
    )
    # Not `iteration`: a kill between checkpoint and theta leaves an old theta beside a new checkpoint.
    saved_at = None
    with bar, stop_requested() as stop:
        while iteration < config.iterations and not _agreed(stop):
            window = []
            begun = time.monotonic()
            until = min(iteration + every - iteration % every for every in (log_every, config.refresh_every))
            for _ in range(min(until, config.iterations) - iteration):
                state, measured = program.step(state)
                window.append(measured)
                iteration += 1
            row = metrics.row(iteration, window, config, begun)
            shown = f"loss {row['loss']:.3f}, {row['inner_steps_per_second']:.0f} inner steps/s"
            if iteration % config.refresh_every == 0:
                state = program.refresh(state)
                if lead:
                    with _tried(f"{out}: these weights could not be written"):
                        save_checkpoint(out / THETAS / f"theta_{iteration:08d}.theta", weights())
            if lead and validate_every and iteration % validate_every == 0:
                score = score or validation.make(config.rule, config.form)
                found = score(weights())
                row |= {
                    "validation_loss": found.loss,
                    "validation_stationary": found.stationary,
                    "validation": found.family_loss,
                }
                if found.loss < best:
                    with _tried(f"{out}: the best weights so far could not be written"):
                        card.write_theta(out, weights(), config, iteration, *history(), found, program.num_devices)
                        best = found.loss
            rows.append(row)
            if lead:
                waiting.append(row)
                with _tried(f"{out}: nothing could be logged"):
                    write_waiting()
                if report is not None:
                    report(row)
            bar.set_postfix_str(shown, refresh=False)
            bar.update(len(window))
            if iteration % checkpoint_every == 0:
                # All processes gather the state to be saved, so that one cannot try again alone.
                with _tried(f"{out}: no checkpoint could be written", enabled=jax.process_count() == 1):
                    save()
                    saved_at = iteration
    if lead:
        write_waiting()
    if saved_at != iteration:
        save()
    best_path = card.theta_path(out, config, best=True)
    return Result(
        theta=weights(),
        iteration=iteration,
        stopped=iteration < config.iterations,
        theta_path=card.theta_path(out, config),
        best_path=best_path if best_path.exists() else None,
    )


@contextlib.contextmanager
def _tried(what: str, *, enabled: bool = True) -> Iterator[None]:
    """Lets a run go on that the disk has no room for: it may have some the next time."""
    try:
        yield
    except OSError as error:
        if not enabled:
            raise
        warnings.warn(f"{what} ({error}); the run goes on", RuntimeWarning, stacklevel=4)


def _gathered(state: outer.OuterState) -> outer.OuterState:
    """The state with the particles of all processes."""
    if jax.process_count() == 1:
        return state
    return state._replace(particles=multihost_utils.process_allgather(state.particles, tiled=True))


def _agreed(stop: list[int]) -> bool:
    """Whether any process was asked to stop: all must leave the loop at the same iteration."""
    if jax.process_count() == 1:
        return bool(stop)
    return bool(np.any(multihost_utils.process_allgather(np.asarray(bool(stop)))))
