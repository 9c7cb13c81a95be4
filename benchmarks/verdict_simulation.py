"""How often a report's verdict is wrong, and what it finds: simulated comparisons of optimizers.

    python benchmarks/verdict_simulation.py                       # a few minutes on one core

First, rivals that are Adam's equals: the share of comparisons, and of reports with nine rivals, in which any verdict is
better or worse, beside a bootstrap interval of the probability of improvement that excludes a half. Below five seeds a
report gives no verdict; the test's own rate is in brackets. Then rivals that are better by one standard deviation on
each environment: the share that is found. Scores are normal, skewed (log-normal) or bimodal (seeds that solve a task,
and seeds that do not).
"""

import argparse

import numpy as np

from rlopt import significance, statistics
from rlopt.report.verdicts import LEAST_SEEDS, LEVEL

SEEDS = (2, 3, 4, 5, 6, 8, 10, 16, 32)
RIVALS = 9
# Comparisons at once.
CHUNK = 2000
# The bootstrap is slow: it is tried on one in so many.
BOOTSTRAP_SHARE = 40


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Scores of mean 0 and standard deviation 1."""
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Log-normal scores, standardised."""
    spread = np.sqrt((np.e - 1) * np.e)
    return (rng.lognormal(size=shape) - np.exp(0.5)) / spread


def bimodal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Scores of seeds of which a third do not solve the task, standardised."""
    solved, noise = rng.random(shape) < 2 / 3, rng.normal(size=shape)
    return (solved - 2 / 3 + 0.1 * noise) / np.sqrt(2 / 9 + 0.01)


KINDS = {"normal": normal, "skewed": skewed, "bimodal": bimodal}


def p_values(
    kind: str, seeds: int, environments: int, comparisons: int, rivals: int, better: float, permutations: int
) -> np.ndarray:
    """Values of p of rivals against one Adam each report, corrected with Holm's method, float64 [comparisons, rivals].

    better: by how many standard deviations the first of the rivals is; the others are Adam's equals.
    """
    rng = np.random.default_rng([seeds, environments, rivals, [*KINDS].index(kind)])
    found = []
    for start in range(0, comparisons, CHUNK):
        count = min(CHUNK, comparisons - start)
        adam = KINDS[kind](rng, (count, seeds, environments))
        several = []
        for rival in range(rivals):
            scores = KINDS[kind](rng, (count, seeds, environments)) + (better if rival == 0 else 0.0)
            several.append(significance.permutation_p(scores, adam, permutations, seed=start))
        found.append(np.stack(several, axis=1))
    return np.asarray([significance.holm(row) for row in np.concatenate(found)])


def bootstrap_rule(kind: str, seeds: int, environments: int, comparisons: int) -> float:
    """Share of comparisons of equals in which the bootstrap interval excludes a half."""
    rng = np.random.default_rng([seeds, environments, [*KINDS].index(kind)])
    wrong = 0
    for _ in range(comparisons):
        pair = [KINDS[kind](rng, (seeds, environments)) for _ in range(2)]
        interval = statistics.stratified_bootstrap(pair, statistics.probability_of_improvement, resamples=500)
        wrong += not interval.low <= 0.5 <= interval.high
    return wrong / comparisons


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=20_000, help="simulated comparisons per cell of the table")
    parser.add_argument("--permutations", type=int, default=2_000, help="of each test; a report uses more")
    args = parser.parse_args()
    size = (args.comparisons, args.permutations)
    print(f"False verdicts among equals, %; {args.comparisons:,} comparisons each, level {LEVEL:.0%}\n")
    print("| scores | environments | seeds | bootstrap | one rival | a report of nine rivals |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        for environments in (1, 4):
            for seeds in SEEDS:
                old = bootstrap_rule(kind, seeds, environments, max(1, args.comparisons // BOOTSTRAP_SHARE))
                one = np.mean(p_values(kind, seeds, environments, size[0], 1, 0.0, size[1]) <= LEVEL)
                reports = p_values(kind, seeds, environments, max(1, size[0] // RIVALS), RIVALS, 0.0, size[1])
                any_wrong = np.mean(np.any(reports <= LEVEL, axis=1))
                shown = [f"{100 * share:.1f}" for share in (one, any_wrong)]
                shown = shown if seeds >= LEAST_SEEDS else [f"none ({x})" for x in shown]
                print(f"| {kind} | {environments} | {seeds} | {100 * old:.0f} | {' | '.join(shown)} |", flush=True)
    print(f"\nFound, %: a rival better by one standard deviation on each environment, {RIVALS} rivals compared\n")
    print("| scores | environments | seeds | found |")
    print("|---|---|---|---|")
    for kind in KINDS:
        for environments, seeds in ((4, 5), (4, 10), (4, 16), (1, 5), (1, 10), (1, 32)):
            p = p_values(kind, seeds, environments, max(1, size[0] // RIVALS), RIVALS, 1.0, size[1])
            print(f"| {kind} | {environments} | {seeds} | {100 * np.mean(p[:, 0] <= LEVEL):.0f} |", flush=True)


if __name__ == "__main__":
    main()
