"""Trains presets with one optimizer at its default rate and says what they reach.

    python benchmarks/preset_returns.py --agents dqn --envs CartPole-v1 Acrobot-v1

Each is a run folder under runs/presets/OPTIMIZER, and a finished one is not trained again. Prints a Markdown table of
all that is finished there, and draws a page of learning curves per agent.
"""

import argparse
from pathlib import Path

from rlopt.training import runtime


def main() -> None:
    runtime.configure()
    from envs import names
    from rlopt.runs import experiment, plots, results
    from rlopt.training import presets
    from rlopt.training.config import TrainConfig

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=list(presets.AGENTS), choices=presets.AGENTS)
    parser.add_argument("--envs", nargs="+", help="default: all presets of the agents")
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/presets"))
    parser.add_argument("--plots", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    root = args.out / args.optimizer
    for agent, env_id in presets.PRESETS:
        folder = root / f"{agent}-{env_id}"
        if agent not in args.agents or (args.envs and env_id not in args.envs) or (folder / results.SUMMARY).exists():
            continue
        suite = names.suite(env_id)
        if suite is not None and not names.is_installed(suite):
            print(f"left out: {env_id}, since {suite} is not installed")
            continue
        config = TrainConfig(
            agent=agent, env=env_id, optimizer=args.optimizer, seeds=args.seeds, hyper=presets.config(agent, env_id)
        )
        experiment.run(config, folder)

    print("| agent | environment | steps | learning rate | seeds | IQM | 95 % interval | worst | best | steps/s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for agent in presets.AGENTS:
        runs = []
        for preset_agent, env_id in presets.PRESETS:
            folder = root / f"{agent}-{env_id}"
            if preset_agent != agent or not (folder / results.SUMMARY).exists():
                continue
            runs.append(results.read_run(folder))
            s = runs[-1].summary
            low, high = s["final_return_ci95"] or (float("nan"), float("nan"))  # one seed has none
            print(
                f"| {agent} | {env_id} | {s['env_steps']:,} | {s['learning_rate']:g} | {s['seeds']} "
                f"| {s['final_return_iqm']:.4g} | {low:.4g} to {high:.4g} | {min(s['final_returns']):.4g} "
                f"| {max(s['final_returns']):.4g} | {s['env_steps_per_second']:,.0f} |"
            )
        if runs:
            plots.curve_grid(runs, args.plots / f"presets_{agent}.png")


if __name__ == "__main__":
    main()
