"""Environment steps per second of training, all seeds counted, compilation apart.

    python benchmarks/train_speed.py ppo --env CartPole-v1
    python benchmarks/train_speed.py ppo --env Breakout-MinAtar --network minatar --hidden 128

For every optimizer and number of seeds, in turn, `--rounds` times, in one process per number of seeds, since that
decides how many devices JAX is given; prints the median rate, its range, the rate per second of processor time, the
ratios to Adam with the same number of seeds and to one seed, and the time to trace and compile (of the first round:
later ones find the program in the cache). The machine should be idle otherwise.
"""

import argparse
import contextlib
import dataclasses
import multiprocessing
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from rlopt.training import presets, runtime

OPTIMIZERS = ("adam", "celo2_base", "celo2", "celo", "celo_adam")
TITLES = ("optimizer", "seeds", "env steps/s (median)", "range", "per CPU-second", "x adam", "x 1 seed", "compile, s")


def measure(seeds: int, agent: str, env: str, optimizer: str, changes: dict[str, Any]) -> tuple[float, float, float]:
    """Environment steps per second and per second of processor time, and seconds of compilation."""
    if "jax" not in sys.modules:
        runtime.configure(runtime.devices_for(seeds))
    from rlopt.training import loop
    from rlopt.training.config import TrainConfig

    hyper = dataclasses.replace(presets.config(agent, env), **changes)
    config = TrainConfig(agent=agent, env=env, optimizer=optimizer, seeds=seeds, hyper=hyper)
    history = loop.train(config, progress=False)
    total = int(history.steps[-1]) * seeds
    return total / history.train_seconds, total / history.cpu_seconds, history.compile_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", nargs="?", default="ppo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--network", help="default: the preset's")
    parser.add_argument("--hidden", type=int, nargs="+", help="default: the preset's")
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--steps", type=int, default=500_000, help="environment steps per seed")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    changes: dict[str, Any] = {"total_steps": args.steps}
    if args.network:
        changes["network"] = args.network
    if args.hidden:
        changes["hidden"] = tuple(args.hidden)

    measured: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        pools = {seeds: stack.enter_context(ProcessPoolExecutor(1, context)) for seeds in args.seeds}
        for _ in range(args.rounds):
            for seeds, pool in pools.items():
                for optimizer in args.optimizers:
                    result = pool.submit(measure, seeds, args.agent, args.env, optimizer, changes).result()
                    measured.setdefault((optimizer, seeds), []).append(result)

    hyper = dataclasses.replace(presets.config(args.agent, args.env), **changes)
    network = f"{hyper.network} {'-'.join(map(str, hyper.hidden))}"
    print(f"{args.agent} on {args.env}, {network}, {args.steps:,} steps per seed\n")
    print(f"| {' | '.join(TITLES)} |")
    print(f"|{'---|' * len(TITLES)}")
    median = {key: [statistics.median(column) for column in zip(*rows, strict=True)] for key, rows in measured.items()}
    for (optimizer, seeds), rows in measured.items():
        rate, per_cpu_second, _ = median[optimizer, seeds]
        compared = [
            f"{rate / median[key][0]:.2f}" if key in median else "-" for key in (("adam", seeds), (optimizer, 1))
        ]
        rates = [row[0] for row in rows]
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
        cells = [
            optimizer,
            str(seeds),
            f"{rate:,.0f}",
            spread,
            f"{per_cpu_second:,.0f}",
            *compared,
            f"{rows[0][2]:.1f}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
