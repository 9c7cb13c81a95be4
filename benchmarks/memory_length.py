"""How long PPO remembers a fact, without and with a memory: MemoryChain-bsuite at several lengths.

    python benchmarks/memory_length.py --lengths 5 20 50

A bit is shown in the first two steps of an episode and asked for at its end, `length` steps after the first; the reward
is 1 for a right answer and -1 for a wrong one. Prints a Markdown table: return in the last tenth of training, IQM over
seeds with a 95 % bootstrap interval, and how many seeds are above 0.9.
"""

import argparse
from typing import Any

from rlopt.training import runtime


def memory_chain(length: int = 5) -> tuple[Any, Any]:
    """The environment, and its parameters with a length of its own."""
    import gymnax

    env, params = gymnax.make("MemoryChain-bsuite")
    return env, params.replace(memory_length=length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=["ppo", "rppo"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[5, 20, 50])
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps per seed")
    args = parser.parse_args()
    runtime.configure(runtime.devices_for(args.seeds))
    import dataclasses

    from rlopt import statistics
    from rlopt.training import loop, presets
    from rlopt.training.config import TrainConfig

    print("| agent | length | steps | seeds | IQM | 95 % interval | above 0.9 | steps/s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for agent in args.agents:
        hyper = dataclasses.replace(presets.config(agent, "MemoryChain-bsuite"), total_steps=args.steps)
        for length in args.lengths:
            config = TrainConfig(
                agent=agent,
                env=f"memory_length:memory_chain(length={length})",
                optimizer=args.optimizer,
                seeds=args.seeds,
                learning_rate=presets.learning_rate(agent, "MemoryChain-bsuite", args.optimizer),
                hyper=hyper,
            )
            history = loop.train(config, progress=False)
            found = statistics.bootstrap(history.final)
            steps, above = int(history.steps[-1]), int((history.final > 0.9).sum())
            speed = steps * args.seeds / history.train_seconds
            print(
                f"| {agent} | {length} | {steps:,} | {args.seeds} | {found.estimate:.4g} "
                f"| {found.low:.4g} to {found.high:.4g} | {above} | {speed:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
