"""Inner steps per second of meta-training: rules, particles, settings of XLA.

    python benchmarks/metatrain_speed.py

The published setting is four families of eight problems (64 trajectories, 50 steps of each per outer iteration) with
64-32-10 networks; "shipped" is the default recipe, eight families of three kinds of networks. 512: eight times as many
trajectories. "one device": the same on one core, as several runs side by side have it. "JAX's defaults": without
`training.runtime`. Each row runs in a process of its own, in turn, `--rounds` times; prints median, range and ratio to
the first row, and the time of the first step, for which everything is compiled anew. The machine should be idle
otherwise.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PUBLISHED = {"families": ("digits", "mnist", "fashion", "fashion_binary"), "tasks_per_family": 8}
# rule, what is varied, settings of the run, number of host devices (0: JAX's defaults)
CASES = {
    "celo2_base": ("celo2_base", PUBLISHED, None),
    "celo2_base, JAX's defaults": ("celo2_base", PUBLISHED, 0),
    "celo2_base, one device": ("celo2_base", PUBLISHED, 1),
    "celo2_base, one device, 512": ("celo2_base", PUBLISHED | {"tasks_per_family": 64}, 1),
    "celo2": ("celo2", PUBLISHED, None),
    "celo_phase1": ("celo_phase1", PUBLISHED, None),
    "celo": ("celo", PUBLISHED, None),
    "celo_adam": ("celo_adam", PUBLISHED, None),
    "celo2_base, shipped": ("celo2_base", {}, None),
    "celo2, shipped": ("celo2", {}, None),
}


def measure(case: str, seconds: float) -> None:
    rule, settings, devices = CASES[case]
    if devices != 0:
        from rlopt.training import runtime

        runtime.configure(devices, concurrent=True)
    import jax

    import celo2
    from metatrain import outer
    from metatrain.config import NEEDS_INIT_THETA, MetaTrainConfig

    start = Path(celo2.__file__).with_name("weights") / f"{rule}.theta" if rule in NEEDS_INIT_THETA else None
    config = MetaTrainConfig(rule=rule, init_theta=start, **settings)
    program = outer.make_program(config)
    state = program.init()
    jax.block_until_ready(state)
    begun = time.perf_counter()
    state, _ = program.step(state)
    jax.block_until_ready(state)
    compile_seconds = time.perf_counter() - begun
    begun, iterations = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        for _ in range(5):
            state, _ = program.step(state)
        jax.block_until_ready(state)
        iterations += 5
    rate = iterations * config.inner_steps_per_iteration / (time.perf_counter() - begun)
    print(json.dumps({"rate": rate, "compile": compile_seconds, "devices": len(jax.devices())}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time per run")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--child", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        measure(args.child, args.seconds)
        return
    results: dict[str, list[dict[str, float]]] = {case: [] for case in args.cases}
    for _ in range(args.rounds):
        for case, rows in results.items():
            command = [sys.executable, __file__, "--seconds", str(args.seconds), "--child", case]
            environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            rows.append(json.loads(output.splitlines()[-1]))
    medians = {case: statistics.median(row["rate"] for row in rows) for case, rows in results.items()}
    print("| case | inner steps/s (median) | range | ratio | first step, s |\n|---|---|---|---|---|")
    for case, rows in results.items():
        rates = [row["rate"] for row in rows]
        first = statistics.median(row["compile"] for row in rows)
        ratio = medians[case] / medians[args.cases[0]]
        print(f"| {case} | {medians[case]:,.0f} | {min(rates):,.0f}-{max(rates):,.0f} | {ratio:.2f} | {first:.1f} |")


if __name__ == "__main__":
    main()
