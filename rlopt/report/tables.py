"""Tables of a report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlopt.report import rates, scores
from rlopt.report.cells import Evidence
from rlopt.report.formats import Rated, Table, Value
from rlopt.report.verdicts import Verdict
from rlopt.statistics import Interval, bootstrap, tolerance_window

EMPTY = (
    "Empty: the run is missing, or no episode ended in any of its seeds, being longer than what one environment was "
    "trained for: such a run has no return, good or bad, and more steps give it one."
)


def leaderboard(
    evidence: Evidence,
    rows: Sequence[scores.Row],
    setting: str,
    told: dict[str, Verdict],
    timed: dict[str, Interval],
) -> Table:
    """Aggregate scores at a setting.

    told: verdicts. timed: interquartile means at equal time, of those that have one.
    """
    is_normalised, baseline = scores.normalised(evidence), evidence.baseline
    compared = any(row.better for row in rows)
    columns: dict[str, Any] = {"optimizer": lambda row: row.optimizer, "IQM": lambda row: row.iqm}
    columns |= {"median": lambda row: row.median, "mean": lambda row: row.mean}
    if is_normalised:
        columns["optimality gap"] = lambda row: row.gap
    if compared:
        columns[f"better than {baseline}"] = lambda row: row.better
    if told:
        columns["verdict"] = lambda row: told[row.optimizer].word if row.optimizer in told else None
        columns["p"] = lambda row: told[row.optimizer].p if row.optimizer in told else None
    if compared:
        columns[f"difference to {baseline}"] = lambda row: row.paired
    columns["area"] = lambda row: row.area
    if timed:
        columns["IQM at equal time"] = lambda row: timed.get(row.optimizer)
    columns |= {"seeds": lambda row: row.seeds, "not finite": lambda row: row.failed}
    return Table(
        name=f"leaderboard_{setting}" if setting else "leaderboard",
        title=f"Scores ({setting})" if setting else "Scores",
        note=_leaderboard_note(evidence, setting, compared, bool(told), bool(timed)),
        columns=tuple(columns),
        rows=[tuple(value(row) for value in columns.values()) for row in rows],
    )


def _leaderboard_note(evidence: Evidence, setting: str, compared: bool, has_verdicts: bool, is_timed: bool) -> str:
    kind = {
        "tuned": "Tuned: each optimizer's learning rate was chosen per environment. ",
        "shared": "Shared: one learning rate per optimizer for the whole suite. ",
        "": "",
    }[setting]
    baseline = evidence.baseline
    scale = "returns, not normalised"
    if scores.normalised(evidence):
        scale = (
            f"a random policy is 0 and {evidence.one}'s mean is 1 on each environment; over all of them the "
            f"interquartile mean of {baseline} itself may be a little off 1, since it leaves out the best and the worst"
        )
    without = "the uncertainty of the scale is not part of them"
    if evidence.plan is None or evidence.tunes:
        without = (
            "that the learning rate was chosen, and from how few seeds, is not part of them, nor is the uncertainty of "
            "the scale"
        )
    note = (
        f"{kind}Final return over all seeds and environments ({scale}). In brackets: 95 % bootstrap intervals over the "
        f"reported seeds; {without}. IQM: interquartile mean. "
    )
    if compared:
        note += (
            f"Better than {baseline}: probability that a run beats one of {baseline}'s. Difference: mean over seeds "
            f"that {baseline} was trained with, too. "
        )
    if has_verdicts:
        note += (
            "Verdict: by a permutation test of that probability over seeds within environments; p is corrected for the "
            "number of optimizers compared (Holm). "
        )
    note += "Area: under the learning curve, IQM. "
    if is_timed:
        note += "At equal time: see below. "
    return note + "Not finite: seeds that broke and count as their worst."


def returns(evidence: Evidence, setting: str) -> Table:
    """Final returns per environment at a setting: IQM over seeds, and the learning rate."""
    rows: list[tuple[Value, ...]] = []
    for optimizer in evidence.optimizers:
        row: list[Value] = [optimizer]
        for environment in evidence.environments:
            cell = evidence.chosen(environment, optimizer, setting)
            if cell is None or not cell.has_returns:
                row.append(None)
                continue
            edge = rates.edge(evidence, environment, optimizer, cell.rate)
            row.append(Rated(bootstrap(cell.final), cell.rate, edge))
        rows.append(tuple(row))
    label = f"_{setting}" if evidence.tunes else ""
    starred = any(isinstance(value, Rated) and value.edge for row in rows for value in row)
    return Table(
        name=f"returns{label}",
        title="Final returns" + (f" ({setting})" if label else ""),
        note="Return of the training episodes in the last tenth of training, of a seed that was still alive then its "
        "last return, of one that broke or never ended an episode the lowest of its run: IQM over "
        "seeds, [95 % bootstrap interval], @ the learning rate, if it takes one."
        + (" *: the lowest or highest rate that was tried; a better one may lie beyond." if starred else "")
        + (f" {EMPTY}" if any(value is None for row in rows for value in row) else ""),
        columns=("optimizer", *evidence.environments),
        rows=rows,
    )


def sensitivity(evidence: Evidence) -> Table:
    """How wide the window of good learning rates is."""
    rows: list[tuple[Value, ...]] = []
    for optimizer in evidence.optimizers:
        for environment in evidence.environments:
            swept = rates.swept(evidence, environment, optimizer)
            estimates = np.asarray([np.mean(cell.final) for _, cell in swept])
            if not swept or not np.all(np.isfinite(estimates)):
                continue
            tried = np.asarray([rate for rate, _ in swept])
            low, high = tolerance_window(tried, estimates)
            best = float(tried[int(np.argmax(estimates))])
            failed = sum(len(cell.failed) for _, cell in swept)
            edge = rates.edge(evidence, environment, optimizer, best)
            rows.append((optimizer, environment, best, edge, low, high, high / low, failed))
    return Table(
        name="sensitivity",
        title="Windows of learning rates",
        note="The window of learning rates around the best one in which the mean final return stays within 10 % of the "
        "best, interpolated between the rates tried, and its width as a factor. A window that ends at the lowest or "
        "highest rate tried may be wider. Edge: whether the best is the lowest or highest tried.",
        columns=("optimizer", "environment", "best rate", "edge", "from", "to", "width", "not finite"),
        rows=rows,
    )


def failures(evidence: Evidence) -> Table:
    """Every seed that was stopped since its loss was not finite."""
    rows: list[tuple[Value, ...]] = []
    for stage, cells in (("tuning", evidence.tuning), ("reported", evidence.reported)):
        if stage == "tuning" and evidence.plan is None:
            continue
        for cell in cells:
            for seed, step in cell.failed.items():
                rows.append((cell.optimizer, cell.environment, cell.rate, stage, seed, step))
    return Table(
        name="failures",
        title="Seeds that broke",
        note="Their loss was not finite from this step on. They count as stopped, at the lowest mean return "
        "of a logging interval of any seed of their run.",
        columns=("optimizer", "environment", "rate", "runs", "seed", "step"),
        rows=rows,
    )


def settings(evidence: Evidence) -> Table:
    """The agent's settings per environment, those first that differ between optimizers, then between environments."""
    values: dict[str, dict[str, list[str]]] = {}
    for cell in evidence.reported:
        for name, value in cell.settings.items():
            if name[0] == "hyper":
                shown = "-" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)
                here = values.setdefault(name[1], {}).setdefault(cell.environment, [])
                here += [shown] if shown not in here else []
    environments = [name for name in evidence.environments if any(name in found for found in values.values())]
    rows = [(name, *(" or ".join(found.get(e, ["-"])) for e in environments)) for name, found in values.items()]
    unlike = {name for name, found in values.items() if any(len(here) > 1 for here in found.values())}
    rows.sort(key=lambda row: (row[0] not in unlike, len(set(row[1:])) == 1))
    note = f"Not the same for every optimizer: {', '.join(row[0] for row in rows if row[0] in unlike)}."
    return Table(
        name="settings",
        title="Settings of the agent",
        note=note if unlike else "The same for every optimizer.",
        columns=("setting", *environments),
        rows=list(rows),
    )
