"""The outer loop: progress, metrics, checkpoints, exact resume, graceful stop."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm

from celo2.files import write_atomic
from metatrain import card, checkpoint, outer
from metatrain.config import MetaTrainConfig

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"


class Result(NamedTuple):
    """theta: the trained weights; iteration: outer iterations done; stopped: a signal ended the run early."""

    theta: Any
    iteration: int
    stopped: bool
    theta_path: Path


def train(
    config: MetaTrainConfig,
    out: Path,
    *,
    checkpoint_every: int = 500,
    log_every: int = 10,
    progress: bool = True,
    devices: list[Any] | None = None,
) -> Result:
    """Meta-trains a rule, or continues a run whose checkpoints lie in `out`.

    A run killed at any moment and started again ends with the same theta, bit for bit, as one that was not
    (same machine, same number of devices). SIGTERM or Ctrl-C: the run finishes the current log interval,
    writes a checkpoint and returns.

    Args:
      config: what to train.
      out: run folder; gets `RULE.theta`, `RULE.json` (card), `metrics.jsonl` and `checkpoints/`.
      checkpoint_every: outer iterations between checkpoints, a multiple of log_every.
      log_every: outer iterations per row of `metrics.jsonl`.
      progress: show a progress bar with the time left.
      devices: devices that share the problems; default: all.

    Raises:
      ValueError: for impossible settings, or an `out` that holds a run with other settings.
    """
    config.check()
    if log_every < 1 or checkpoint_every < 1 or checkpoint_every % log_every:
        raise ValueError(
            f"checkpoint_every must be a positive multiple of log_every ({log_every}), got {checkpoint_every}"
        )
    out = Path(out)
    folder = out / CHECKPOINTS
    if out.is_dir() and any(out.iterdir()) and not folder.is_dir():
        raise ValueError(f"{out} is neither empty nor a meta-training run; choose another folder")
    program = outer.build(config, devices)
    template = jax.eval_shape(program.init)
    loaded = checkpoint.load_latest(folder, template, config) if folder.exists() else None
    if loaded is None:
        state, iteration, past_seconds = program.init(), 0, 0.0
    else:
        state, iteration, past_seconds = program.place(loaded.state), loaded.iteration, loaded.wall_seconds
    folder.mkdir(parents=True, exist_ok=True)  # before anything else: it marks the folder as ours
    rows = _rows_until(out / METRICS, iteration)
    started = time.monotonic()

    def save() -> None:
        seconds = past_seconds + time.monotonic() - started
        checkpoint.save(folder, state, iteration, config, seconds)
        curve = [(row["iteration"], row["loss"]) for row in rows]
        card.write_theta(out, state.theta, config, iteration, seconds, curve)

    bar = tqdm.tqdm(
        total=config.iterations, initial=iteration, disable=not progress, unit="it", desc=config.rule, mininterval=1.0
    )
    # Not `iteration`: a kill between checkpoint and theta leaves an old theta beside a new checkpoint.
    saved_at = None
    with bar, _stop_requested() as stop, open(out / METRICS, "a", encoding="utf-8") as log:
        while iteration < config.iterations and not stop:
            window = []
            begun = time.monotonic()
            for _ in range(min(log_every - iteration % log_every, config.iterations - iteration)):
                state, metrics = program.step(state)
                window.append(metrics)
                iteration += 1
            row = _row(iteration, window, config, begun)
            rows.append(row)
            log.write(json.dumps(row) + "\n")
            log.flush()
            shown = f"loss {row['loss']:.3f}, {row['inner_steps_per_second']:.0f} inner steps/s"
            bar.set_postfix_str(shown, refresh=False)
            bar.update(len(window))
            if iteration % checkpoint_every == 0:
                save()
                saved_at = iteration
    if saved_at != iteration:
        save()
    return Result(
        jax.tree.map(np.asarray, state.theta), iteration, iteration < config.iterations, out / f"{config.rule}.theta"
    )


def _row(iteration: int, window: list[outer.Metrics], config: MetaTrainConfig, begun: float) -> dict[str, Any]:
    stacked = jax.tree.map(lambda *x: np.stack([np.asarray(value) for value in x]), *window)  # waits for the device
    seconds = time.monotonic() - begun
    return {
        "iteration": iteration,
        "loss": float(stacked.loss.mean()),
        "family_loss": dict(zip(config.datasets, stacked.family_loss.mean(0).tolist(), strict=True)),
        "grad_norm": float(stacked.grad_norm.mean()),
        "bad_grads": float(stacked.bad_grads.mean()),
        "inner_steps_per_second": round(len(window) * config.inner_steps_per_iteration / seconds, 1),
    }


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`; a half-written last line of a killed run is passed over."""
    rows = []
    for line in (out / METRICS).read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "iteration" not in row:
            raise ValueError(f"{out / METRICS} is not of a meta-training run; choose another folder")
        rows.append(row)
    return rows


def _rows_until(path: Path, iteration: int) -> list[dict[str, Any]]:
    """The rows up to a checkpoint; later ones, of work that a kill lost, are removed from the file."""
    if not path.exists():
        return []
    rows = [row for row in read_metrics(path.parent) if row["iteration"] <= iteration]
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


@contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM or SIGINT arrives. A second SIGINT interrupts at once."""
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        del frame
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        os.write(2, b"\nstopping after this interval; the run can be resumed\n")

    try:
        previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals stay with whoever owns them
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
