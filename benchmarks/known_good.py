"""Known-good returns of the quick suite: what every agent reaches with some optimizers at their default rates.

    python benchmarks/known_good.py                            # trains, and writes docs/results/known_good.csv
    python -m pytest -m slow tests/slow/test_known_good.py     # trains other seeds, and compares

Per agent, environment and optimizer: IQM over seeds of the final return, with its 95 % bootstrap interval; the weights
of a learned rule, and the learning rate or share that it is given.
"""

import argparse
import csv
import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlopt.training import runtime

if TYPE_CHECKING:
    from rlopt.training.config import TrainConfig

TABLE = Path(__file__).resolve().parents[1] / "docs" / "results" / "known_good.csv"
OPTIMIZERS = ("adam", "adam_routed", "muon_routed", "celo2", "celo2_base", "celo_adam")
AGENTS = ("ppo", "dqn", "pqn")
SEEDS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    runtime.configure(num_devices=runtime.devices_for(SEEDS))
    from celo2.files import write_atomic
    from rlopt.benchmark.suites import SUITES

    rows = [measure(*cell, seed=0) for cell in itertools.product(AGENTS, SUITES["quick"].envs, OPTIMIZERS)]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(TABLE, table.getvalue().encode())


def measure(agent: str, env_id: str, optimizer: str, seed: int) -> dict[str, Any]:
    """Trains one population."""
    from rlopt.statistics import bootstrap
    from rlopt.training import loop

    config = settings(agent, env_id, optimizer, seed)
    history = loop.train(config, progress=False)
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
        **made_with(config),
    }
    print(row, flush=True)
    return row


def settings(agent: str, env_id: str, optimizer: str, seed: int = 0) -> "TrainConfig":
    """The population of a row, at today's defaults."""
    from rlopt.benchmark.plan import Plan

    return Plan(agent, "quick", optimizers=(optimizer,), seeds=SEEDS, seed=seed).config(optimizer, env_id)


def made_with(config: "TrainConfig") -> dict[str, str]:
    """By what a row of other weights, or of another rate or share, is told from one of today's."""
    from rlopt.optimizers import factory

    return {"weights": factory.look_up(config.optimizer).weights or "", "rate": f"{config.handed_rate:g}"}


if __name__ == "__main__":
    main()
