"""The suite of returns: a learned rule in short trainings of agents, beside Adam and routed Muon. Resumable."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celo2.files import read_json, write_atomic
from rlopt.benchmark import protocol, random_policy
from rlopt.metatest.report import Page, as_text
from rlopt.metatest.returns_config import REFERENCES, ReturnsConfig
from rlopt.optimizers import theta
from rlopt.runs import folders, plots, results
from rlopt.statistics import (
    Interval,
    aggregate_iqm,
    bootstrap,
    iqm,
    probability_of_improvement,
    stratified_bootstrap,
)
from rlopt.storage import run_lock
from rlopt.training import loop, shown

TABLES, RETURNS = "tables.md", "returns.json"
# Of an environment's files in the folder: those of the random policy.
_RANDOM = "random.json"


class Judged(NamedTuple):
    """What came of a suite.

    rule: the name of what was judged. steps: of every training, as asked for. runs: finished ones by environment and
    name. zeros: the mean return of a random policy in each environment.
    """

    rule: str
    steps: int
    runs: Mapping[str, Mapping[str, results.Run]]
    zeros: Mapping[str, float]

    def scores(self, name: str) -> np.ndarray:
        """Scores [S, E]: a random policy is 0, the IQM of the first reference 1; NaN where that is no better."""
        columns = []
        for env, found in self.runs.items():
            scale = self.scale(env)
            columns.append(scale(found[name].final) if scale.usable else np.full(len(found[name].final), math.nan))
        return np.stack(columns, axis=1)

    def scale(self, env: str) -> protocol.Scale:
        """Normalisation of an environment's returns; unusable where the reference is no better than a random policy."""
        return protocol.Scale(self.zeros[env], float(iqm(self.runs[env][REFERENCES[0]].final)))


def run(config: ReturnsConfig, folder: Path, progress: bool = True) -> Judged:
    """Trains what is not in the folder yet, FOLDER/ENVIRONMENT/OPTIMIZER each.

    Raises:
      FileNotFoundError, ValueError: for weights that cannot be read, settings that cannot be trained, or a folder that
        holds anything else; before the first training.
      Unfinished: as `loop.train`.
    """
    loaded = theta.load(config.source)
    plan = config.runs(str(loaded.card.get("rule", loaded.rule)))
    places = {
        (env, name): folder / results.safe_name(env) / results.safe_name(name)
        for env, compared in plan.items()
        for name in compared
    }
    for (env, name), place in places.items():
        loop.check(plan[env][name])
        folders.check(place, plan[env][name])
    run_lock.check_links(folder)
    done: dict[str, dict[str, results.Run]] = {}
    with shown.of(progress).plan() as on_screen:
        on_screen.say(f"run folder: {folder}")
        for env, name in places:
            on_screen.expect(plan[env][name])
        for (env, name), place in places.items():
            (done.setdefault(env, {})[name],) = folders.train(place, plan[env][name], on_screen, root=folder)
    zeros = {env: _random_return(folder / results.safe_name(env), found[REFERENCES[0]]) for env, found in done.items()}
    for env, found in done.items():
        plots.learning_curves(list(found.values()), folder / results.PLOTS / f"{results.safe_name(env)}.png")
    return Judged(list(next(iter(plan.values())))[-1], config.steps, done, zeros)


def _random_return(folder: Path, run: results.Run) -> float:
    """The mean return of a random policy in a run's environment; played once."""
    path = folder / _RANDOM
    if path.exists():
        found = read_json(path).get("mean")
        if not isinstance(found, int | float) or not math.isfinite(found):
            raise ValueError(f"{path} must hold a finite mean, got {found!r:.100}")
        return float(found)
    mean = float(np.mean(random_policy.play(results.read_config(run.folder))))
    write_atomic(path, json.dumps({"mean": mean}).encode() + b"\n")
    return mean


def table(judged: Judged) -> Page:
    """Final returns per environment, then scores over all of them."""
    names = [*REFERENCES, judged.rule]
    rows = []
    lost = {env: judged.scale(env).lost(found[judged.rule]) for env, found in judged.runs.items()}
    for env, found in judged.runs.items():
        cells = [as_text(_interval(found[name].final), 1) for name in names]
        rows.append((env, f"{judged.zeros[env]:.1f}", *cells, str(lost[env])))
    overall = {name: over_all(judged, name) for name in names}
    totals = [as_text(overall[name]["score"], 2) for name in names]
    rows.append(("score, all", "0", *totals, str(sum(lost.values()))))
    better = [as_text(overall[name]["better"], 2) for name in names]
    rows.append((f"better than {REFERENCES[0]}", "", *better, ""))
    seeds = len(next(iter(judged.runs.values()))[judged.rule].final)
    title = f"Final returns after {judged.steps:,} steps: interquartile mean of {seeds} seeds, 95 % interval"
    return Page(title, ("environment", "random", *names, "lost seeds"), rows)


def over_all(judged: Judged, name: str) -> dict[str, Interval]:
    """Over all environments: the interquartile mean of the scores, and how likely a run is better than the reference's.

    Scores are normalised by the reference's runs as they are; their own chance is in its own interval. NaN where the
    reference is no better than a random policy somewhere.
    """
    scores, theirs = judged.scores(name), judged.scores(REFERENCES[0])
    if not (np.isfinite(scores).all() and np.isfinite(theirs).all()):
        nothing = Interval(math.nan, math.nan, math.nan)
        return {"score": nothing, "better": nothing}
    return {
        "score": stratified_bootstrap((scores,), aggregate_iqm),
        "better": stratified_bootstrap((scores, theirs), probability_of_improvement),
    }


def entry(judged: Judged, config: ReturnsConfig) -> dict[str, Any]:
    """What a card says of the returns, as JSON has it."""
    environments = {}
    for env, found in judged.runs.items():
        own: dict[str, Any] = {"random": _number(judged.zeros[env])}
        for name, one in found.items():
            interval = _interval(one.final)
            own[name] = [_number(x) for x in interval]
        environments[env] = own | {"lost_seeds": judged.scale(env).lost(found[judged.rule])}
    overall = over_all(judged, judged.rule)
    return {
        "optimizer": judged.rule,
        "agent": config.agent,
        "steps": config.steps,
        "seeds": config.seeds,
        "first_seed": config.seed,
        "environments": environments,
        "score": [_number(x) for x in overall["score"]],
        f"better_than_{REFERENCES[0]}": [_number(x) for x in overall["better"]],
    }


def write(judged: Judged, config: ReturnsConfig, folder: Path, page: Page) -> Path | None:
    """`tables.md` and `returns.json`, and `returns` of the card beside a theta file, if it has one.

    Returns:
      The card that was written to; None: the weights are packaged, or a file without a card.
    """
    found = entry(judged, config)
    write_atomic(folder / TABLES, page.markdown().encode())
    write_atomic(folder / RETURNS, json.dumps(found, indent=1).encode() + b"\n")
    card = Path(config.source).with_suffix(".json")
    if not (Path(config.source).is_file() and card.is_file()):
        return None  # a card without a form would say that the weights are of the published one
    document = read_json(card)
    write_atomic(card, json.dumps(document | {"returns": found}, indent=1).encode() + b"\n")
    return card


def _interval(final: np.ndarray) -> Interval:
    if not np.isfinite(final).all():
        return Interval(math.nan, math.nan, math.nan)
    return bootstrap(final)


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
