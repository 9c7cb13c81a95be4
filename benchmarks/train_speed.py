"""Environment steps per second of training, all seeds counted, compilation apart.

    python benchmarks/train_speed.py ppo --env CartPole-v1
    python benchmarks/train_speed.py ppo --env Breakout-MinAtar --network minatar --hidden 128

For every optimizer and number of seeds, in turn, `--rounds` times in one process; prints the median rate, its range,
the rate per second of processor time, the ratios to Adam with the same number of seeds and to one seed, and the time to
trace and compile (of the first round: later ones find the program in the cache). The machine should be idle otherwise.
"""

import argparse
import dataclasses
import statistics

from rlopt import runtime

OPTIMIZERS = ("adam", "celo2_base", "celo2", "celo", "celo_adam")
TITLES = ("optimizer", "seeds", "env steps/s (median)", "range", "per CPU-second", "x adam", "x 1 seed", "compile, s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", nargs="?", default="ppo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--network", help="default: the preset's")
    parser.add_argument("--hidden", type=int, nargs="+", help="default: the preset's")
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps per seed")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    runtime.configure()
    from rlopt import presets, training
    from rlopt.config import TrainConfig

    changes = {"total_steps": args.steps}
    if args.network:
        changes["network"] = args.network
    if args.hidden:
        changes["hidden"] = tuple(args.hidden)
    hyper = dataclasses.replace(presets.config(args.agent, args.env), **changes)
    rates: dict[tuple[str, int], list[float]] = {}
    compiles: dict[tuple[str, int], list[float]] = {}
    per_cpu_second: dict[tuple[str, int], list[float]] = {}
    for _ in range(args.rounds):
        for seeds in args.seeds:
            for optimizer in args.optimizers:
                config = TrainConfig(agent=args.agent, env=args.env, optimizer=optimizer, seeds=seeds, hyper=hyper)
                history = training.train(config, progress=False)
                total = int(history.steps[-1]) * seeds
                rates.setdefault((optimizer, seeds), []).append(total / history.train_seconds)
                per_cpu_second.setdefault((optimizer, seeds), []).append(total / history.cpu_seconds)
                compiles.setdefault((optimizer, seeds), []).append(history.compile_seconds)
    network = f"{hyper.network} {'-'.join(map(str, hyper.hidden))}"
    print(f"{args.agent} on {args.env}, {network}, {args.steps:,} steps per seed\n")
    print(f"| {' | '.join(TITLES)} |")
    print(f"|{'---|' * len(TITLES)}")
    for (optimizer, seeds), values in rates.items():
        median = statistics.median(values)
        compared = [
            f"{median / statistics.median(rates[key]):.2f}" if key in rates else "-"
            for key in (("adam", seeds), (optimizer, 1))
        ]
        spread = f"{min(values):,.0f}-{max(values):,.0f}"
        cpu = f"{statistics.median(per_cpu_second[optimizer, seeds]):,.0f}"
        compiled = f"{compiles[optimizer, seeds][0]:.1f}"
        print(f"| {' | '.join([optimizer, str(seeds), f'{median:,.0f}', spread, cpu, *compared, compiled])} |")


if __name__ == "__main__":
    main()
