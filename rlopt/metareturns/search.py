"""CMA-ES over heads: ask, train, rank, tell. What was told is written down; a search is resumed by telling it again.

Reference: Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772; as `cmaes` has it (Nomura and Shibata,
arXiv 2402.01373).
"""

import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cmaes
import jax
import numpy as np
import scipy.stats
import tqdm

from celo2.files import append_line, parse_json, read_json, read_limited, write_atomic
from celo2.step_head import FEATURES
from rlopt import typed
from rlopt.metareturns import lifetimes
from rlopt.metareturns.config import SearchConfig
from rlopt.optimizers import factory
from rlopt.storage import run_lock, sealed
from rlopt.storage.log import Log
from rlopt.storage.stopping import Unfinished, stop_requested
from rlopt.storage.streams import Steady

CONFIG, LOG, HEAD = "search.json", "generations.jsonl", "head.json"
MAX_BYTES = 1 << 28
_KEYS_SALT = 0x7265  # keys of trainings are not those of anything else


class Generation(NamedTuple):
    """One generation: heads [H, F], of which the last two are the mean and the start; scores {env: [H, K]}."""

    steps: int
    heads: np.ndarray
    scores: dict[str, np.ndarray]


def run(config: SearchConfig, folder: Path, *, progress: bool = True, train: Any = None) -> dict[str, Any]:
    """Searches, or resumes a search; killed at any moment and started again it ends with the same numbers.

    Args:
      config: what to search.
      folder: gets `search.json` (settings), `generations.jsonl` (what every head earned) and `head.json` (the mean of
        the search after the last generation, with what it earned beside the start, whose weights are all 0).
      progress: show a progress bar.
      train: (env, steps, heads, keys) -> scores [H, K]; default: whole trainings.

    Returns:
      What `head.json` holds.

    Raises:
      ValueError: for impossible settings, or a folder that holds another search, or anything else.
      Unfinished: when stopped by a signal; the same call resumes it. Gone, a kind of it: when the folder was moved or
        removed.
      OSError: if the last generations cannot be written at the end.
    """
    config.check()
    settings = typed.plain(config) | {"theta_sha256": factory.theta_sha256(config.optimizer, config.theta)}
    kept = {name: value for name, value in settings.items() if name != "generations"}
    with run_lock.held(folder) as mine:
        if (folder / CONFIG).exists():
            sealed.check_settings(str(folder), read_json(folder / CONFIG), kept)
        elif not run_lock.is_empty(folder):
            raise ValueError(f"{folder} is neither empty nor a search on returns; choose another folder")
        write_atomic(folder / CONFIG, (json.dumps(kept, indent=2) + "\n").encode())
        optimizer = start(config)
        past = [replayed(optimizer, row, config) for row in rows(folder / LOG)]
        log = Log(lambda line: append_line(folder / LOG, line))
        with (
            stop_requested() as stop,
            tqdm.tqdm(
                total=config.generations,
                initial=len(past),
                disable=not progress,
                file=Steady(sys.stderr, patient=False),
                unit="generation",
            ) as bar,
        ):
            train = train or _Trainings(config)
            while len(past) < config.generations:
                if stop:
                    raise Unfinished(f"{folder}: stopped after {len(past)} generations; the same command resumes it")
                began = time.perf_counter()
                found = generation(optimizer, config, len(past), train)
                row = {
                    "generation": len(past),
                    "steps": found.steps,
                    "seconds": round(time.perf_counter() - began, 3),
                    "heads": found.heads.tolist(),
                    "scores": {env: [[_plain(x) for x in of] for of in score] for env, score in found.scores.items()},
                }
                log.put(json.dumps(row) + "\n")
                _written(log, mine)
                past.append(told(optimizer, found))
                bar.update()
        log.write()
        result = summary(optimizer, past)
        write_atomic(folder / HEAD, (json.dumps(result, indent=2) + "\n").encode(), make_folder=False)
    return result


def _written(log: Log, mine: run_lock.Held) -> None:
    """Writes the generations that wait, as far as the disk has room; where the folder was moved, there, and ends."""
    try:
        mine.check()
        log.write()
    except run_lock.Gone as gone:
        if gone.place is not None:
            place = gone.place
            log.write(lambda line: append_line(place / LOG, line))
            gone.args = (f"{gone}; the same command with --out {shlex.quote(str(place))} resumes it there",)
        raise
    except OSError as error:
        text = f"{mine.folder}: nothing could be logged ({error}); it is tried again after the next generation"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def start(config: SearchConfig) -> cmaes.CMA:
    """The search before its first generation: around weights of 0, the optimizer as it is."""
    return cmaes.CMA(mean=np.zeros(len(FEATURES)), sigma=config.sigma, population_size=config.members, seed=config.seed)


def generation(
    optimizer: cmaes.CMA, config: SearchConfig, number: int, train: Callable[[str, int, Any, jax.Array], np.ndarray]
) -> Generation:
    """Asks for heads and trains with them, and with the mean and the start beside them, all with the same keys."""
    mean = np.array(optimizer.mean)
    heads = np.stack([*(optimizer.ask() for _ in range(config.members)), mean, np.zeros_like(mean)])
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), _KEYS_SALT), number)
    steps = config.steps[int(jax.random.randint(key, (), 0, len(config.steps)))]
    keys = jax.random.split(jax.random.fold_in(key, 1), config.seeds)
    return Generation(steps, heads, {env: train(env, steps, heads, keys) for env in config.envs})


def fitness(scores: dict[str, np.ndarray]) -> np.ndarray:
    """Mean over environments of the rank of every head's mean score, from 0 (worst) to 1 (best); [H].

    Args:
      scores: {env: [H, K]}; a lost seed, NaN, counts as the lowest score that anyone had there.
    """
    ranks = []
    for score in scores.values():
        lowest = np.nanmin(score) if np.any(~np.isnan(score)) else 0.0
        means = np.where(np.isnan(score), lowest, score).mean(axis=1)
        # A head that loses a seed is no better than one that is merely bad.
        ranks.append((scipy.stats.rankdata(means) - 1) / max(1, len(means) - 1))
    return np.asarray(np.mean(ranks, axis=0))


def told(optimizer: cmaes.CMA, found: Generation) -> Generation:
    """Tells the search how its heads did; found, as it came."""
    members = optimizer.population_size
    earned = fitness({env: score[:members] for env, score in found.scores.items()})
    optimizer.tell([(head, -float(x)) for head, x in zip(found.heads[:members], earned, strict=True)])
    return found


def replayed(optimizer: cmaes.CMA, row: dict[str, Any], config: SearchConfig) -> Generation:
    """A generation that was written down, told again.

    Raises:
      ValueError: if its heads are not those that the search asks for, or something is missing.
    """
    asked = np.stack([optimizer.ask() for _ in range(config.members)])
    try:
        heads = np.asarray(row["heads"], np.float64)
        scores = {env: np.asarray(row["scores"][env], np.float64) for env in config.envs}
        found = Generation(int(row["steps"]), heads, scores)
        if heads.ndim != 2:
            raise ValueError(f"heads are {heads.ndim}-dimensional")
        fits = np.array_equal(heads[: config.members], asked)
        fits &= all(score.shape == (config.members + 2, config.seeds) for score in scores.values())
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a generation in {LOG} cannot be read: {error}") from error
    if not fits:
        raise ValueError(f"generation {row.get('generation')} in {LOG} is not what this search asked for")
    return told(optimizer, found)


def rows(path: Path) -> list[dict[str, Any]]:
    """The generations written so far; a last line that a kill cut off is left out, and removed.

    Raises:
      ValueError: for a damaged line before it, or what is no file of such lines.
    """
    if not path.exists():
        return []
    text = read_limited(path, MAX_BYTES)
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        write_atomic(path, whole)
    return [parse_json(line) for line in whole.splitlines()]


def summary(optimizer: cmaes.CMA, past: list[Generation]) -> dict[str, Any]:
    """The mean of the search, and what it earned over what the start did, in the generations of the last quarter."""
    late = past[-max(1, len(past) // 4) :]
    earned = {}
    for env in past[0].scores:
        means, starts = (np.concatenate([found.scores[env][place] for found in late]) for place in (-2, -1))
        earned[env] = {"mean": float(np.nanmean(means)), "start": float(np.nanmean(starts)), "trainings": len(means)}
    weights = {name: float(x) for name, x in zip(FEATURES, optimizer.mean, strict=True)}
    return {"generations": len(past), "weights": weights, "earned": earned}


class _Trainings:
    """(env, steps, heads, keys) -> scores, with one program for each environment and length."""

    def __init__(self, config: SearchConfig):
        self._config = config
        self._programs: dict[tuple[str, int], Callable[..., lifetimes.Lifetimes]] = {}

    def __call__(self, env: str, steps: int, heads: np.ndarray, keys: jax.Array) -> np.ndarray:
        if (env, steps) not in self._programs:
            self._programs[env, steps] = lifetimes.make_program(self._config.run(env, steps))
        return lifetimes.scores(self._programs[env, steps](heads.astype(np.float32), keys))


def _plain(x: float) -> float | None:
    return None if np.isnan(x) else float(x)
