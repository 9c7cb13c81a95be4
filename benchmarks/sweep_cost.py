"""What a sweep of learning rates and seeds costs as one program, next to one command per rate and seed.

    python benchmarks/sweep_cost.py

Whole commands are timed, with start and compilation: `rlopt sweep` with all rates and seeds, and, `--singles` times,
`rlopt train` with one of each, as many at once as there are cores (each on one core, as a shell loop over a job pool
would do it); the rest of the single runs is counted at their mean. A first run of both kinds, not timed, fills
the cache of compiled programs, which favours the single runs. The machine should be idle.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def rlopt(*args: str, core: int | None = None) -> None:
    pin = [] if core is None else ["taskset", "-c", str(core)]
    subprocess.run([*pin, sys.executable, "-m", "rlopt", *args], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="ppo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--rates", type=float, nargs="+", default=[2.5e-4, 8e-4, 2.5e-3, 8e-3, 2.5e-2])
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--singles", type=int, default=10, help="single runs that are timed")
    args = parser.parse_args()
    rates = [f"{rate:g}" for rate in args.rates]

    with tempfile.TemporaryDirectory() as scratch:

        def sweep(name: str) -> None:
            flags = ["--optimizers", args.optimizer, "--learning-rates", *rates, "--seeds", str(args.seeds)]
            rlopt("sweep", args.agent, "--env", args.env, *flags, "--out", str(Path(scratch) / name))

        def single(number: int) -> None:
            rate, seed = rates[number % len(rates)], str(number // len(rates))
            flags = ["--optimizer", args.optimizer, "--learning-rate", rate, "--seeds", "1", "--seed", seed]
            core = CORES[number % len(CORES)] if CORES else None
            out = str(Path(scratch) / f"single-{number}")
            rlopt("train", args.agent, "--env", args.env, *flags, "--out", out, core=core)

        single(len(rates) * args.seeds)
        sweep("first")
        started = time.perf_counter()
        sweep("timed")
        together = time.perf_counter() - started
        started = time.perf_counter()
        with ThreadPoolExecutor(max(1, len(CORES))) as pool:
            list(pool.map(single, range(args.singles)))
        each = (time.perf_counter() - started) / args.singles
    total = len(rates) * args.seeds
    print(
        f"{args.agent} on {args.env}, {args.optimizer}, {args.seeds} seeds x {len(rates)} rates, {len(CORES)} cores\n"
    )
    print(f"| | seconds |\n|---|---|\n| one program | {together:.0f} |")
    print(f"| {total} single runs ({args.singles} timed, {each:.1f} s each) | {total * each:.0f} |")
    print(f"| ratio | {together / (total * each):.2f} |")


if __name__ == "__main__":
    main()
