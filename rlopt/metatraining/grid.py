"""Meta-training at several outer learning rates, with several seeds; the best weights by meta-validation.

Each is a run of its own, in a folder of its own, and ends with the weights that it would have by itself, bit for bit.
They are trained in turn and share what is compiled: the outer iteration, and meta-validation.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from celo2.checkpoint import MAX_BYTES
from celo2.files import read_json, read_limited, write_atomic
from metatrain import outer, validation
from metatrain.config import MetaTrainConfig
from rlopt.metatraining import card, checkpoint, trainer
from rlopt.storage import run_lock, sealed

GRID = "grid.json"


class Member(NamedTuple):
    """A run of a grid: its settings and its folder."""

    config: MetaTrainConfig
    folder: Path


class Outcome(NamedTuple):
    """What came of a run: loss, iteration: of its best meta-validation; both are None if it was stopped before."""

    member: Member
    loss: float | None
    iteration: int | None
    stopped: bool


def members(config: MetaTrainConfig, rates: Sequence[float], seeds: Sequence[int], out: Path) -> list[Member]:
    """All runs of a grid, rate by rate.

    Raises:
      ValueError: for no rates or seeds, repeated ones, or one that a run refuses.
    """
    for name, given in (("outer learning rates", rates), ("seeds", seeds)):
        if not given or len(set(given)) < len(given):
            raise ValueError(f"{name} must be different from each other, and one at least, got {list(given)}")
    found = []
    for rate, seed in itertools.product(rates, seeds):
        one = dataclasses.replace(config, outer_learning_rate=rate, seed=seed)
        one.check()
        found.append(Member(one, out / f"rate-{rate!r}-seed-{seed}"))
    return found


def train(
    config: MetaTrainConfig,
    rates: Sequence[float],
    seeds: Sequence[int],
    out: Path,
    *,
    validate_every: int = 1000,
    score: Callable[[Any], validation.Score] | None = None,
    devices: list[Any] | None = None,
    run: Callable[..., trainer.Result] | None = None,
    **options: Any,
) -> list[Outcome]:
    """Meta-trains at all outer learning rates with all seeds, or continues; the same command may add rates and seeds.

    Args:
      config: what the runs have in common; its own outer learning rate and seed do not count.
      rates: outer learning rates. seeds: of each rate.
      out: folder; gets a run folder for each, `grid.json`, and `RULE.best.theta` with its card, of the run that did
        best in meta-validation.
      validate_every: as `trainer.train`; the best is chosen by it.
      score: theta -> meta-validation; default: `validation.make`, once for all.
      devices: that share the problems; default: all.
      run: called as `trainer.train`, for each run; default: that.
      options: of `trainer.train`.

    Returns:
      The runs that were trained; after a signal, those up to the one that was stopped.

    Raises:
      ValueError: as `members` and `trainer.train`; if no meta-validation would come; for a folder with something else.
    """
    planned = members(config, rates, seeds, out)
    if not 0 < validate_every <= config.iterations:
        raise ValueError(
            "the best weights are chosen by meta-validation, so validate_every must be from 1 to iterations "
            f"({config.iterations}), got {validate_every}"
        )
    if jax.process_index() == 0:
        _claim(out, config)
    variants = [(member.config.outer_learning_rate, member.config.seed) for member in planned]
    programs = outer.make_programs(config, variants, devices)
    score = score or validation.make(config.rule, config.form, inner=config.inner)
    outcomes: list[Outcome] = []
    for member, program in zip(planned, programs, strict=True):
        result = (run or trainer.train)(
            member.config, member.folder, validate_every=validate_every, score=score, program=program, **options
        )
        outcomes.append(_outcome(member, result.stopped))
        if jax.process_index() == 0:
            _write(out, config, outcomes)
        if result.stopped:
            break
    return outcomes


def best(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The run with the lowest loss in meta-validation; None before the first."""
    judged = [outcome for outcome in outcomes if outcome.loss is not None]
    return min(judged, key=lambda outcome: outcome.loss, default=None)  # type: ignore[arg-type, return-value]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of Markdown: a row per run, and what each rate came to in the mean over its seeds."""
    chosen = best(outcomes)
    lines = ["| outer learning rate | seed | best meta-validation | at iteration |", "|---|---|---|---|"]
    for outcome in outcomes:
        config = outcome.member.config
        loss = "-" if outcome.loss is None else f"{outcome.loss:.4f}{'*' if outcome is chosen else ''}"
        at = "-" if outcome.iteration is None else f"{outcome.iteration:,}"
        lines.append(f"| {config.outer_learning_rate:g} | {config.seed} | {loss} | {at} |")
    for rate in dict.fromkeys(outcome.member.config.outer_learning_rate for outcome in outcomes):
        losses = [o.loss for o in outcomes if o.member.config.outer_learning_rate == rate and o.loss is not None]
        if len(losses) > 1:
            lines.append(f"| {rate:g} | mean of {len(losses)} | {np.mean(losses):.4f} | |")
    return lines


def _claim(out: Path, config: MetaTrainConfig) -> None:
    """Marks a folder as that of a grid; ValueError if it holds another one, or something else."""
    ours = {name: x for name, x in checkpoint.resume_key(config).items() if name not in ("outer_learning_rate", "seed")}
    path = out / GRID
    if path.exists():
        found = read_json(path)
        if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
            raise ValueError(f"{path} is not of a grid of meta-training; choose another folder")
        sealed.check_settings(str(path), found["config"], ours)
        return
    if out.is_dir() and not run_lock.is_empty(out):
        raise ValueError(f"{out} is neither empty nor a grid of meta-training; choose another folder")
    write_atomic(path, _document(ours, []))


def _document(config: dict[str, Any], runs: list[dict[str, Any]]) -> bytes:
    return json.dumps({"config": config, "runs": runs}, indent=1).encode() + b"\n"


def _outcome(member: Member, stopped: bool) -> Outcome:
    path = card.theta_path(member.folder, member.config, best=True)
    loss = card.best_validation(member.folder, member.config)
    if not math.isfinite(loss):
        return Outcome(member, None, None, stopped)
    return Outcome(member, loss, int(read_json(path.with_suffix(".json"))["iterations"]), stopped)


def _write(out: Path, config: MetaTrainConfig, outcomes: Sequence[Outcome]) -> None:
    """The list of runs, and the best weights of all so far, whole or as before."""
    runs = [
        {
            "folder": outcome.member.folder.name,
            "outer_learning_rate": outcome.member.config.outer_learning_rate,
            "seed": outcome.member.config.seed,
            "validation_loss": outcome.loss,
            "iteration": outcome.iteration,
        }
        for outcome in outcomes
    ]
    write_atomic(out / GRID, _document(read_json(out / GRID)["config"], runs))
    chosen = best(outcomes)
    if chosen is not None:
        source = card.theta_path(chosen.member.folder, config, best=True)
        for path in (source, source.with_suffix(".json")):
            write_atomic(out / path.name, read_limited(path, MAX_BYTES))
