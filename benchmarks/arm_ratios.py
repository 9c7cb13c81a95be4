"""How the arms of a screening compare: per environment, and over all of them, as a ratio to a reference arm.

    python benchmarks/arm_ratios.py docs/results/odd/runs --against adam muon_routed

reads finished runs FOLDER/ENVIRONMENT/ARM as `rlopt train --out` leaves them, of one folder or several. Per
environment it prints the interquartile mean of the final returns. The ratios are of scores: returns from which the
mean return of a random policy is taken, over that of the reference arm's interquartile mean. "all" is the
interquartile mean of the scores of all runs in all environments (those that the first reference was run in) over that
of the reference; "mean" is the mean of the environments' ratios, in which each environment counts alike, however many
seeds it has. "better" is the probability that a run is better than one of the reference in the same environment, in the
mean over the environments, ties counting half. Intervals come from resampling the seeds of both arms within each
environment (2,000 times): they say nothing of other environments. Arms that are not there for every environment have
none of the three, and "all" wants as many seeds in each.

Environments in which the first reference is no better than a random policy have no scale: they are named and left out.
`--environments` says which are to be there, and nothing is printed if one of them is not.

A lost seed is one that stopped or whose final return is nearer to the random policy's than to the interquartile mean of
the first reference.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rlopt import statistics
from rlopt.benchmark import protocol, random_policy
from rlopt.runs import results

Cells = dict[str, dict[str, results.Run]]  # environment -> arm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--against", nargs="+", default=["adam"])
    parser.add_argument("--environments", nargs="+", help="default: those in which the first reference was run")
    args = parser.parse_args()
    cells: Cells = {}
    for run in results.find_runs(args.folders):
        name, arm = run.folder.parts[-2:]
        cells.setdefault(name, {})[arm] = run
    there = [name for name in cells if args.against[0] in cells[name]]
    if missing := sorted(set(args.environments or ()) - set(there)):
        raise SystemExit(f"no run of {args.against[0]} in {', '.join(missing)}; there are {', '.join(there) or 'none'}")
    environments = args.environments or there
    zeros = {name: random_return(cells[name][args.against[0]]) for name in environments}
    scales = {name: protocol.Scale(zeros[name], iqm(cells[name][args.against[0]])) for name in environments}
    for name in (name for name in environments if not scales[name].usable):
        print(f"left out, {args.against[0]} being no better than a random policy: {name}")
    environments = [name for name in environments if scales[name].usable]
    arms = sorted({arm for name in environments for arm in cells[name]})
    print(f"final return, interquartile mean (seeds)\n{'':32}", *(f"{name:>22}" for name in environments))
    for arm in arms:
        found = [cells[name].get(arm) for name in environments]
        texts = ["" if x is None else f"{iqm(x):.2f} ({len(x.final)})" for x in found]
        print(f"{arm:32}", *(f"{text:>22}" for text in texts))
    for reference in args.against:
        print(f"\nratio to {reference}\n{'':32}", *(f"{name:>22}" for name in [*environments, "all", "mean", "better"]))
        for arm in arms:
            print(f"{arm:32}", *(f"{text:>22}" for text in ratios(cells, zeros, environments, arm, reference)))
    print(f"\nlost seeds, by {args.against[0]}")
    for arm in arms:
        there = [name for name in environments if arm in cells[name]]
        print(f"{arm:32} {sum(scales[name].lost(cells[name][arm]) for name in there)}")


def random_return(run: results.Run) -> float:
    """Mean return of a random policy in a run's environment."""
    return float(np.mean(random_policy.play(results.read_config(run.folder))))


def iqm(run: results.Run) -> float:
    return float(statistics.iqm(run.final))


def ratios(cells: Cells, zeros: dict[str, float], environments: list[str], arm: str, reference: str) -> list[str]:
    """The ratio in every environment, over all, their mean, and "better", as text; empty where a run is missing."""
    texts: list[str] = []
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for name in environments:
        found = cells[name]
        if arm not in found or reference not in found:
            texts.append("")
            continue
        scale = protocol.Scale(zeros[name], iqm(found[reference]))
        pairs.append((scale(found[arm].final), scale(found[reference].final)))
        texts.append(ratio(pairs[-1:]))
    complete = len(pairs) == len(environments)
    alike = len({scores.shape for scores, _ in pairs}) == 1
    return [
        *texts,
        ratio(pairs) if complete and alike else "",
        mean(pairs, _over) if complete else "",
        mean(pairs, statistics.probability_of_improvement) if complete else "",
    ]


def ratio(pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Interquartile mean of the first scores over that of the second, both [S] per environment, with its interval."""
    return shown(statistics.stratified_bootstrap([np.stack(side, axis=1) for side in zip(*pairs, strict=True)], _over))


def mean(pairs: list[tuple[np.ndarray, np.ndarray]], statistic: Callable[..., np.ndarray]) -> str:
    """Mean over the environments of a statistic of the scores in each, [..., S, 1] both, with its interval."""

    def over_environments(*sides: np.ndarray) -> np.ndarray:
        return np.mean([statistic(*pair) for pair in zip(sides[::2], sides[1::2], strict=True)], axis=0)

    return shown(statistics.stratified_bootstrap([side[:, None] for pair in pairs for side in pair], over_environments))


def shown(interval: statistics.Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def _over(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    return statistics.aggregate_iqm(scores) / statistics.aggregate_iqm(others)


if __name__ == "__main__":
    main()
