"""Known-good returns of the quick suite: what every agent reaches with some optimizers at their default rates.

    python benchmarks/known_good.py                # trains, and writes docs/results/known_good.csv
    python -m pytest -m slow tests/slow/test_known_good.py     # trains other seeds, and compares

Per agent, environment and optimizer: IQM over seeds of the final return, with its 95 % bootstrap interval.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from rlopt import runtime

TABLE = Path(__file__).resolve().parents[1] / "docs" / "results" / "known_good.csv"
OPTIMIZERS = ("adam", "adam_routed", "muon_routed", "celo2", "celo2_base", "celo_adam")
AGENTS = ("ppo", "dqn", "pqn")
SEEDS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=AGENTS)
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    runtime.configure(num_devices=runtime.devices_for(SEEDS))
    rows = [measure(*cell, seed=args.seed) for cell in cells(args.agents, args.optimizers)]
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cells(agents: Any = AGENTS, optimizers: Any = OPTIMIZERS) -> list[tuple[str, str, str]]:
    """Agent, environment, optimizer."""
    from rlopt.suites import SUITES

    return [(agent, env_id, name) for agent in agents for env_id in SUITES["quick"].envs for name in optimizers]


def measure(agent: str, env_id: str, optimizer: str, seed: int) -> dict[str, Any]:
    """Trains one population."""
    from rlopt import training
    from rlopt.plan import Plan
    from rlopt.statistics import bootstrap

    config = Plan(agent, "quick", seeds=SEEDS, seed=seed).config(optimizer, env_id)
    history = training.train(config, progress=False)
    found = bootstrap(history.final)
    row = {
        "agent": agent,
        "environment": env_id,
        "optimizer": optimizer,
        "iqm": round(found.estimate, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "worst": round(float(history.final.min()), 4),
        "best": round(float(history.final.max()), 4),
        "not_finite": int((history.stopped >= 0).sum()),
        "seeds": SEEDS,
        "steps": int(history.steps[-1]),
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
