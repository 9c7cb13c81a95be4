"""The outer loop: progress, metrics, meta-validation, checkpoints, exact resume, graceful stop."""

import contextlib
import functools
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from celo2 import save_checkpoint
from metatrain import outer, validation
from metatrain.config import MetaTrainConfig
from rlopt.metatraining import card, checkpoint, metrics
from rlopt.storage import run_lock
from rlopt.storage.log import Log
from rlopt.storage.stopping import stop_requested
from rlopt.storage.streams import Steady

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
    program: outer.Program | None = None,
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
      program: what runs this configuration (`outer.make_programs`); default: one is made.

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
    program = outer.make_program(config, devices) if program is None else program
    with run_lock.held(out, enabled=jax.process_index() == 0) as held:
        run = _Run(program, config, held, report)
        if score is not None:
            run.score = score
        return run.to_the_end(checkpoint_every, validate_every, log_every, progress)


def count_from_here(bar: tqdm.tqdm, iteration: int) -> None:
    """Shows an iteration, and has the time left computed from later ones alone: before it there was compilation."""
    if bar.disable:
        return
    bar.unpause()  # the last time that it was shown is now
    bar.start_t = bar.last_print_t
    bar.initial = bar.n = bar.last_print_n = iteration
    bar.refresh()


class _Run:
    """A run between its outer iterations: the state, and what has been written of it."""

    def __init__(
        self,
        program: outer.Program,
        config: MetaTrainConfig,
        held: run_lock.Held,
        report: Callable[[dict[str, Any]], None] | None,
    ):
        """From the newest checkpoint in the folder, or from the beginning."""
        out = held.folder
        self.program, self.config, self.held, self.out, self.report = program, config, held, out, report
        self.folder, self.lead = out / CHECKPOINTS, jax.process_index() == 0
        self.state, self.iteration, self.past_seconds, self.past_losses = self._start()
        self.rows: list[dict[str, Any]] = []
        if self.lead:
            self.folder.mkdir(parents=True, exist_ok=True)  # before anything else: it marks the folder as ours
            self.rows = metrics.read_until(out, self.iteration)
        self.log = Log(lambda row: metrics.append(self.out, row))
        self.best = card.best_validation(out, config)
        # Not the iteration: a kill between checkpoint and theta leaves an old theta beside a new checkpoint.
        self.saved_at: int | None = None
        self.started = time.monotonic()

    def _start(self) -> tuple[outer.OuterState, int, float, list[tuple[int, float]]]:
        loaded = None
        if self.folder.exists():
            loaded = checkpoint.load_latest(self.folder, jax.eval_shape(self.program.init), self.config)
        if loaded is None:
            return self.program.init(), 0, 0.0, []
        compact = loaded.state.particles is None
        state = self.program.refresh(loaded.state) if compact else self.program.place(loaded.state)
        return state, loaded.iteration, loaded.wall_seconds, loaded.losses

    @functools.cached_property
    def score(self) -> Callable[[Any], validation.Score]:
        """Theta -> meta-validation; made when it is first needed."""
        return validation.make(self.config.rule, self.config.form, inner=self.config.inner)

    @property
    def weights(self) -> Any:
        """Theta as it is written: the running mean, if there is one."""
        return jax.tree.map(np.asarray, self.state.theta_average if self.config.average_decay else self.state.theta)

    @property
    def history(self) -> tuple[float, list[tuple[int, float]]]:
        """Seconds so far, and (iteration, loss) of every row."""
        # In a folder that was given nothing but a checkpoint, the rows before it are missing.
        rows = self.rows
        missing = [pair for pair in self.past_losses if not rows or pair[0] < rows[0]["iteration"]]
        seconds = self.past_seconds + time.monotonic() - self.started
        return seconds, missing + [(row["iteration"], row["loss"]) for row in rows]

    def to_the_end(self, checkpoint_every: int, validate_every: int, log_every: int, progress: bool) -> Result:
        """All outer iterations that are left, or those before a signal."""
        config = self.config
        bar = tqdm.tqdm(
            total=config.iterations,
            initial=self.iteration,
            disable=not (progress and self.lead),
            unit="it",
            desc=config.rule,
            mininterval=1.0,
            file=Steady(sys.stderr, patient=False),
        )
        began = self.iteration
        with bar, stop_requested() as stop:
            while self.iteration < config.iterations and not _agreed(stop):
                row, done = self.advance(log_every)
                due = self.lead and validate_every and self.iteration % validate_every == 0
                found = self.score(self.weights) if due else None
                gone = self._follow()  # before anything is written
                bar.set_postfix_str(
                    f"loss {row['loss']:.3f}, {row['inner_steps_per_second']:.0f} inner steps/s", refresh=False
                )
                if self.iteration % config.refresh_every == 0:
                    self.refresh()
                if found is not None:
                    row |= self.judge(found)
                self.note(row)
                if self.iteration - done > began:
                    bar.update(done)
                else:
                    count_from_here(bar, self.iteration)
                if gone is not None:
                    self._end_there(gone)
                if self.iteration % checkpoint_every == 0:
                    # All processes gather the state to be saved, so that one cannot try again alone.
                    with _tried(f"{self.out}: no checkpoint could be written", enabled=jax.process_count() == 1):
                        self.save()
        if self.lead:
            self.log.write()
        if self.saved_at != self.iteration:
            self.save()
        best_path = card.theta_path(self.out, config, best=True)
        return Result(
            theta=self.weights,
            iteration=self.iteration,
            stopped=self.iteration < config.iterations,
            theta_path=card.theta_path(self.out, config),
            best_path=best_path if best_path.exists() else None,
        )

    def advance(self, log_every: int) -> tuple[dict[str, Any], int]:
        """The iterations up to the next row or refreshing; their row, and how many they were."""
        window, begun = [], time.monotonic()
        every = (log_every, self.config.refresh_every)
        until = min(*(self.iteration + n - self.iteration % n for n in every), self.config.iterations)
        for _ in range(until - self.iteration):
            self.state, measured = self.program.step(self.state)
            window.append(measured)
        self.iteration = until
        return metrics.row(until, window, self.config, begun), len(window)

    def refresh(self) -> None:
        """New particles; the weights of this moment are kept."""
        self.state = self.program.refresh(self.state)
        if self.lead:
            with _tried(f"{self.out}: these weights could not be written"):
                save_checkpoint(self.out / THETAS / f"theta_{self.iteration:08d}.theta", self.weights)

    def judge(self, found: validation.Score) -> dict[str, Any]:
        """A meta-validation, for the row; weights that do better than all before are written."""
        if found.loss < self.best:
            with _tried(f"{self.out}: the best weights so far could not be written"):
                self._write_theta(found)
                self.best = found.loss
        return {
            "validation_loss": found.loss,
            "validation_stationary": found.stationary,
            "validation": found.family_loss,
        }

    def note(self, row: dict[str, Any]) -> None:
        """Logs and reports a row."""
        self.rows.append(row)
        if not self.lead:
            return
        self.log.put(row)
        with _tried(f"{self.out}: nothing could be logged"):
            self.log.write()
        if self.report is not None:
            self.report(row)

    def save(self) -> None:
        """Writes a checkpoint and the weights; all processes must take part."""
        whole = _gathered(self.state) if self.iteration % self.config.refresh_every else self.state
        if self.lead:
            checkpoint.save(self.folder, whole, self.iteration, self.config, *self.history)
            self._write_theta()
        self.saved_at = self.iteration

    def _follow(self) -> run_lock.Gone | None:
        """Where the folder has been moved: what is said of that; all is written there from now on.

        Raises:
          Gone: if nothing can be saved, since it was removed, or other processes are not where this one is.
        """
        try:
            self.held.check()
        except run_lock.Gone as gone:
            if gone.place is None or jax.process_count() > 1:
                raise
            self.out, self.folder = gone.place, gone.place / CHECKPOINTS
            return gone
        return None

    def _end_there(self, gone: run_lock.Gone) -> NoReturn:
        """Ends a run whose folder was moved, with a checkpoint in it."""
        with _tried(f"{self.out}: no checkpoint could be written"):
            self.save()
            gone.args = (f"{gone}; the same command with --out {shlex.quote(str(self.out))} resumes it there",)
        raise gone

    def _write_theta(self, found: validation.Score | None = None) -> None:
        devices = self.program.num_devices
        card.write_theta(self.out, self.weights, self.config, self.iteration, *self.history, found, devices)


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
