"""Environment steps per second of PPO training, all seeds counted, compilation apart.

    python benchmarks/train_speed.py --env CartPole-v1

For every optimizer and number of seeds, in turn, `--rounds` times in one process; prints the median rate, its range,
the ratio to Adam with the same number of seeds, and the time to trace and compile. The machine should be idle
otherwise.
"""

import argparse
import dataclasses
import statistics

from rlopt import runtime

OPTIMIZERS = ("adam", "celo2_base", "celo2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps per seed")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    runtime.configure()
    from rlopt import presets, training
    from rlopt.config import TrainConfig

    hyper = dataclasses.replace(presets.config("ppo", args.env), total_steps=args.steps)
    rates: dict[tuple[str, int], list[float]] = {}
    compiles: dict[tuple[str, int], list[float]] = {}
    for _ in range(args.rounds):
        for seeds in args.seeds:
            for optimizer in OPTIMIZERS:
                config = TrainConfig(env=args.env, optimizer=optimizer, seeds=seeds, hyper=hyper)
                history = training.train(config, progress=False)
                total = int(history.steps[-1]) * seeds
                rates.setdefault((optimizer, seeds), []).append(total / history.train_seconds)
                compiles.setdefault((optimizer, seeds), []).append(history.compile_seconds)
    print(f"PPO on {args.env}, {args.steps:,} steps per seed")
    print(f"{'optimizer':12} {'seeds':>5} {'env steps/s':>12} {'range':>18} {'x adam':>7} {'compile s':>10}")
    for (optimizer, seeds), values in rates.items():
        median = statistics.median(values)
        share = median / statistics.median(rates["adam", seeds])
        spread = f"{min(values):,.0f}-{max(values):,.0f}"
        compiled = statistics.median(compiles[optimizer, seeds])
        print(f"{optimizer:12} {seeds:5d} {median:12,.0f} {spread:>18} {share:7.2f} {compiled:10.1f}")


if __name__ == "__main__":
    main()
