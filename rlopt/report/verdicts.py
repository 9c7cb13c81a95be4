"""Which optimizers are better or worse than the yardstick, and what so many seeds could have shown at all.

A verdict is a permutation test over seeds within environments (`significance.permutation_p`), corrected with Holm's
method for the optimizers compared. `benchmarks/verdict_simulation.py` measures how often it errs, and what it finds.
"""

import math
from typing import NamedTuple

import numpy as np

from rlopt import significance, statistics
from rlopt.report import agreement
from rlopt.report.cells import Evidence
from rlopt.report.formats import count
from rlopt.report.scores import Scores

LEVEL = 0.05
# Seeds per environment below which there is no verdict.
LEAST_SEEDS = 5


class Verdict(NamedTuple):
    """p: corrected for the number of optimizers compared. word: "better", "worse", "not told apart".

    Where there can be none, p is None and word says why: "too few seeds", "other settings".
    """

    p: float | None
    word: str


def verdicts(evidence: Evidence, found: dict[str, Scores]) -> dict[str, Verdict]:
    """One for every optimizer with scores but the yardstick; none at all without a yardstick."""
    adam = found.get(evidence.yardstick or "")
    if adam is None:
        return {}
    told: dict[str, Verdict] = {}
    for optimizer, scores in found.items():
        if optimizer == evidence.yardstick:
            continue
        if agreement.differences(scores.cells, adam.cells):
            told[optimizer] = Verdict(None, "other settings")
        elif min(len(scores.seeds), len(adam.seeds)) < LEAST_SEEDS:
            told[optimizer] = Verdict(None, "too few seeds")
        else:
            told[optimizer] = Verdict(float(significance.permutation_p(scores.final, adam.final)), "")
    tested = [name for name, verdict in told.items() if verdict.p is not None]
    corrected = significance.holm([told[name].p or 0.0 for name in tested])
    for name, p in zip(tested, corrected, strict=True):
        better = float(statistics.probability_of_improvement(found[name].final, adam.final)) > 0.5
        told[name] = Verdict(p, "not told apart" if p > LEVEL else "better" if better else "worse")
    return told


def said(told: dict[str, Verdict]) -> str:
    """Words and names: "better: muon; not told apart: adamw"."""
    kinds = ("better", "worse", "not told apart")
    names = {kind: [name for name, verdict in told.items() if verdict.word == kind] for kind in kinds}
    return "; ".join(f"{kind}: {', '.join(mine)}" for kind, mine in names.items() if mine)


def limits(evidence: Evidence, found: dict[str, Scores], told: dict[str, Verdict]) -> list[str]:
    """Sentences on what the verdicts cannot say; found: scores that they are of."""
    sentences = []
    adam = found.get(evidence.yardstick or "")
    few = [name for name, verdict in told.items() if verdict.word == "too few seeds"]
    if few and adam is not None:
        counts = sorted({min(len(found[name].seeds), len(adam.seeds)) for name in few})
        sentences.append(
            f"With {' or '.join(map(str, counts))} seed{'s' if counts != [1] else ''} per environment there is no "
            f"verdict on {', '.join(few)}: it takes at least {LEAST_SEEDS}."
        )
    tested = [name for name, verdict in told.items() if verdict.p is not None]
    if not tested or adam is None:
        return sentences
    num, environments = min(len(found[name].seeds) for name in tested), adam.final.shape[1]
    against = f"{count(num, 'seed')} against {len(adam.seeds)} on {count(environments, 'environment')}"
    compared = count(len(tested), "optimizer")
    smallest = significance.smallest_p(num, len(adam.seeds), environments)
    if smallest * len(tested) > LEVEL:
        return [
            *sentences,
            f"No difference could be significant: with {against} the smallest possible p is {smallest:.2g}, and with "
            f"{compared} compared it would have to be {LEVEL / len(tested):.2g}. More seeds are needed for a verdict.",
        ]
    least = significance.detectable(num, len(adam.seeds), environments, len(tested))
    if not math.isfinite(least):
        return sentences
    spread = float(
        np.mean([np.std(found[n].final, axis=0, ddof=1).mean() for n in (*tested, evidence.yardstick or "")])
    )
    sentences.append(
        f"With {against} and {compared} compared, a true difference of {least:.2g} standard deviations of a seed's "
        f"score in every environment (here about {least * spread:.2g}) is found in four of five cases, smaller ones "
        "less often: not told apart does not mean equal."
    )
    return sentences
