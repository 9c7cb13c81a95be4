"""When a run's last games were good for the first time.

    python benchmarks/first_above.py runs/pong/adam --above 0 15

Per seed: the environment steps after which the mean raw return of the last 30 games (all that ended in as many logging
intervals as that takes) was above a threshold.
"""

import argparse
import json
from pathlib import Path

from rlopt.runs import results


def first_above(rows: list[dict], seed: int, threshold: float, games: int) -> int | None:
    """Environment steps, or None: never."""
    for i, row in enumerate(rows):
        count, total = 0.0, 0.0
        for earlier in reversed(rows[: i + 1]):
            ended = earlier["episodes"][seed] or 0.0
            count, total = count + ended, total + (earlier["return"][seed] or 0.0) * ended
            if count >= games:
                break
        if count >= games and total / count > threshold:
            return row["step"]
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--above", type=float, nargs="+", default=[0, 15])
    parser.add_argument("--games", type=int, default=30)
    args = parser.parse_args()
    print(f"| run | seed | {' | '.join(f'above {x:g}' for x in args.above)} |")
    print(f"|---|---|{'---|' * len(args.above)}")
    for folder in args.runs:
        config = results.read_config(folder)
        rows = [json.loads(line) for line in (folder / results.METRICS).read_text().splitlines()]
        for seed in range(config.seeds):
            steps = [first_above(rows, seed, threshold, args.games) for threshold in args.above]
            cells = " | ".join("never" if x is None else f"{x:,}" for x in steps)
            print(f"| {config.agent}, {config.optimizer} | {config.seed + seed} | {cells} |")


if __name__ == "__main__":
    main()
