"""How the defaults of `celo2_v1` and `celo2_base_v1` were chosen: by PPO on CartPole, on which no report is judged.

    python benchmarks/default_rates.py --rule celo2

Their steps have unit size, as published (`--options odd false size unit`). Every learning rate, multiple of it for
Adam's part (input layers, heads, tensors of rank 0 and 1) and schedule, several seeds each. Prints a Markdown table of
interquartile means over seeds: of the return over the whole training (each tenth counts the same), and in its last
tenth.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from rlopt.training import runtime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", default="celo2", choices=("celo2", "celo2_base"))
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3, 1e-2])
    parser.add_argument("--multipliers", type=float, nargs="+", default=[1.0, 5.0, 20.0])
    parser.add_argument("--schedules", nargs="+", default=["linear", "constant"], choices=("linear", "constant"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200_000)
    args = parser.parse_args()
    runtime.configure()
    import jax
    import numpy as np
    from jax.sharding import Mesh, PartitionSpec

    import agents
    import envs
    from rlopt.optimizers import factory
    from rlopt.statistics import iqm
    from rlopt.training import presets

    preset = presets.config("ppo", "CartPole-v1")
    env = envs.make("CartPole-v1", preset.num_envs)
    mesh = Mesh(np.asarray(jax.devices()), ("runs",))
    # Every device gets the same number of runs; those that fill up are dropped.
    pairs = [(rate, seed) for rate in args.rates for seed in range(args.seeds)]
    padded = [*pairs, *[pairs[-1]] * (-len(pairs) % mesh.size)]
    rates, seeds = (np.asarray(x) for x in zip(*padded, strict=True))

    spec = PartitionSpec("runs")

    def train(agent: agents.Agent, config: agents.PPOConfig, rate: jax.Array, seed: jax.Array) -> tuple[Any, Any]:
        def step(state: Any, _: None) -> tuple[Any, Any]:
            return agent.step(state)

        state = agent.init(jax.random.key(seed), agent.hyperparams(rate))
        metrics = jax.lax.scan(step, state, None, length=config.num_iterations)[1]
        return metrics.return_sum, metrics.num_episodes

    print("| rate | Adam's multiple | schedule | whole training | last tenth |\n|---|---|---|---|---|")
    for schedule in args.schedules:
        config = dataclasses.replace(preset, total_steps=args.steps, anneal=schedule == "linear")
        for multiplier in args.multipliers:
            form = {"odd": False, "size": "unit", "multiplier": multiplier}
            made = factory.make(args.rule, Path(f"{args.rule}_v1"), form)
            agent = agents.ppo(env, config, made)

            run = partial(train, agent, config)
            program = jax.jit(jax.shard_map(jax.vmap(run), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
            sums, counts = map(np.asarray, program(rates.astype(np.float32), seeds.astype(np.uint32)))
            tenths = [np.array_split(x[: len(pairs)], 10, axis=1) for x in (sums, counts)]
            means = np.stack([s.sum(1) / np.maximum(n.sum(1), 1) for s, n in zip(*tenths, strict=True)], axis=1)
            for i, rate in enumerate(args.rates):
                mine = means[i * args.seeds : (i + 1) * args.seeds]
                whole, last = float(iqm(mine.mean(1))), float(iqm(mine[:, -1]))
                print(f"| {rate:g} | {multiplier:g} | {schedule} | {whole:.1f} | {last:.1f} |", flush=True)


if __name__ == "__main__":
    main()
