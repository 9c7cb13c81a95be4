"""The finished trials of a search: what differs between them, which are best, what the search cost."""

import itertools
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rlopt import statistics
from rlopt.optimizers import catalog
from rlopt.runs.results import Run, read_config
from rlopt.training import trials
from rlopt.training.config import TrainConfig


class Tried(NamedTuple):
    """A finished trial. values: {setting: number} of all settings that a search can vary."""

    run: Run
    config: TrainConfig
    values: dict[str, float]

    @property
    def score(self) -> float:
        """Interquartile mean of the final returns over seeds; minus infinity without a result."""
        found = self.run.summary["final_return_iqm"]
        return -np.inf if found is None else float(found)


def read(runs: Sequence[Run]) -> list[Tried]:
    """Runs with their settings, from their folders; ValueError for a folder that cannot be read."""
    found = []
    for run in runs:
        config = read_config(run.folder)
        names = (*trials.names_of(config.agent, config.optimizer), *config.options)
        values = {name: trials.value_of(config, name) for name in dict.fromkeys(names)}
        found.append(Tried(run, config, {name: value for name, value in values.items() if value is not None}))
    return found


def by_optimizer(found: Sequence[Tried]) -> dict[str, list[Tried]]:
    """Trials by the name of the optimizer, in their order."""
    groups: dict[str, list[Tried]] = {}
    for one in found:
        groups.setdefault(one.config.title, []).append(one)
    return groups


def varying(found: Sequence[Tried]) -> list[str]:
    """The settings in which trials of an optimizer differ; the learning rate first, which may differ in any case."""
    names: list[str] = []
    for mine in by_optimizer(found).values():
        for name in dict.fromkeys(name for one in mine for name in one.values):
            if len({one.values.get(name) for one in mine}) > 1 and name not in names:
                names.append(name)
    return sorted(names, key=lambda name: (name != trials.RATE, name != catalog.SHARE))


def ranked(mine: Sequence[Tried]) -> list[Tried]:
    """Trials with the best first; of equal ones, as where all seeds reach the highest return, the quickest to learn.

    Those that were trained to the end come before those that were given up.
    """

    def key(one: Tried) -> tuple[bool, float, float]:
        curves = statistics.whole_curves(one.run.steps, one.run.returns, one.run.stopped)
        mean = float(np.mean(curves))
        return not np.any(one.run.given_up >= 0), one.score, mean if np.isfinite(mean) else -np.inf

    return sorted(mine, key=key, reverse=True)


def counted(mine: Sequence[Tried]) -> str:
    """How many trials there are, and how many of them were given up early, in words."""
    left = sum(bool(np.any(one.run.given_up >= 0)) for one in mine)
    return f"{len(mine)} trials" + (f" ({left} given up early)" if left else "")


def cpu_seconds(mine: Sequence[Tried]) -> float | None:
    """Processor time of training all trials; None: a run of an older version did not note it."""
    known = [one.run.summary.get("cpu_seconds") for one in mine]
    return float(sum(x for x in known if x is not None)) if None not in known else None


def spent(seconds: float | None) -> str:
    """Processor time in words, with a comma before; "" for None."""
    if seconds is None:
        return ""
    return f", {seconds:,.0f} processor-seconds" if seconds >= 1 else f", {seconds:.1g} processor-seconds"


def expected_best(scores: np.ndarray) -> np.ndarray:
    """The best of n of the trials, drawn at random without replacement, in expectation; float64 [N], for n of 1 to N.

    scores: [N], minus infinity for those without a result, which count as the lowest of the others.

    Of N sorted scores, the k-th is the best of n with probability C(k-1, n-1) / C(N, n).
    Reference: Dodge et al., "Show Your Work", arXiv 1909.03004 (there with replacement).
    """
    known = scores[np.isfinite(scores)]
    if not known.size:
        return np.full(len(scores), np.nan)
    ordered = np.sort(np.where(np.isfinite(scores), scores, known.min())).astype(np.float64)
    count = len(ordered)
    found, weights = [], np.full(count, 1 / count)
    for n in range(1, count + 1):
        found.append(float(weights @ ordered))
        # C(k-1, n) / C(N, n+1) from the one before: times (k - n) / n and (n + 1) / (N - n), over k from 1.
        if n < count:
            weights = weights * np.maximum(np.arange(1, count + 1) - n, 0) / n * (n + 1) / (count - n)
    return np.asarray(found)


def best_so_far(scores: np.ndarray) -> np.ndarray:
    """The best of the first n trials; float64 [N], NaN before the first with a result.

    scores: [N] in the order of the search, minus infinity for those without a result.
    """
    best = np.maximum.accumulate(scores.astype(np.float64))
    return np.where(np.isfinite(best), best, np.nan)


def command(one: Tried) -> str:
    """A command that trains the optimizer with a trial's settings, on seeds that the search has not seen."""
    config = one.config
    words = ["rlopt", "train", config.agent, "--env", config.env, "--optimizer", config.optimizer]
    usual: TrainConfig = TrainConfig(config.agent, config.env, config.optimizer, preset=config.preset)
    if config.preset != TrainConfig.preset:
        words += ["--preset", config.preset]
    if config.theta is not None:
        words += ["--theta", str(config.theta)]
    if config.learning_rate is not None and config.resolved_learning_rate is not None:
        words += ["--learning-rate", f"{config.learning_rate:g}"]
    if config.options:
        pairs = ((name, catalog.as_word(value)) for name, value in config.options.items())
        words += ["--options", *itertools.chain.from_iterable(pairs)]
    for part, text in config.optimizer_of.items():
        words += ["--optimizer-of", part, text]
    words += _changed(config.hyper, usual.hyper, "") + _changed(config.atari, usual.atari, "atari.")
    return shlex.join([*words, "--seeds", str(config.seeds), "--seed", str(config.seed + config.seeds)])


def _changed(settings: Any, usual: Any, prefix: str) -> list[str]:
    """The settings that differ from the preset's, as flags; prefix: of their names there."""
    words = []
    for name, value in vars(settings).items():
        if value == getattr(usual, name):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{prefix}{'' if value else 'no-'}{flag}")
        else:
            words += [f"--{prefix}{flag}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return words
