"""How much a search by Optuna loses when it proposes several trials at once, which are then one program.

    python benchmarks/optuna_batches.py

Nothing is trained: what comes of a trial is a smooth function of three settings, with noise. Printed is by how much the
trial that looked best falls short of the best there is, in the mean over searches; smaller is better, and the noise has
a standard deviation of 0.1. A batch as large as the search knows nothing of what comes of it.
"""

import argparse

import numpy as np
from optuna.trial import TrialState, create_trial

from rlopt.runs import study
from rlopt.training import search

SPACE = ("learning_rate=log:1e-4:1e-1", "gae_lambda=lin:0:1", "b2=choice:0.9:0.99:0.999")
NOISE = 0.1


def shortfall(values: dict[str, float]) -> float:
    rate, decay = np.log10(values["learning_rate"]) + 2.3, values["gae_lambda"] - 0.3
    return float(rate**2 + 4 * decay**2 + 0.3 * (values["b2"] != 0.99))


def searched(number: int, size: int, seed: int) -> float:
    part = search.Part(search.Search({}, number, search.space(SPACE), seed), tuple(search.space(SPACE)))
    space, rng = study.distributions(part), np.random.default_rng(seed)
    first, known = part.search.draws(part.takes, study.STARTUP), []
    while len(known) < number:
        batch = []
        for place in range(len(known), min(number, len(known) + size)):
            drawn = first[place] if place < len(first) else study.propose(known + batch, space, [seed, place, 0])
            batch.append(create_trial(state=TrialState.RUNNING, params=drawn, distributions=space))
        for trial in batch:
            value = -shortfall(trial.params) + NOISE * rng.standard_normal()
            known.append(create_trial(value=value, params=trial.params, distributions=space))
    return shortfall(max(known, key=lambda trial: trial.value).params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--searches", type=int, default=40)
    args = parser.parse_args()
    for size in args.sizes:
        found = [searched(args.trials, size, seed) for seed in range(args.searches)]
        error = np.std(found) / np.sqrt(len(found))
        print(f"{args.trials} trials, {size:3} at once: {np.mean(found):.3f} +- {error:.3f}", flush=True)


if __name__ == "__main__":
    main()
