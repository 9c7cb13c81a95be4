"""Inner steps per second of meta-training at the published setting (64 trajectories of 50 steps per outer iteration).

    python benchmarks/metatrain_speed.py

Each row runs in a process of its own, in turn, `--rounds` times: our CPU settings (`rlopt.runtime`: one single-threaded
device per core) and JAX's defaults. Prints the median of each, the range, and the ratio of the medians. The machine
should be idle otherwise.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

RULES = ("celo2_base", "celo2")
SETTINGS = ("ours", "default")


def measure(rule: str, settings: str, seconds: float) -> None:
    if settings == "ours":
        from rlopt import runtime

        runtime.configure()
    import jax

    from metatrain import outer
    from metatrain.config import MetaTrainConfig

    config = MetaTrainConfig(rule=rule)
    program = outer.build(config)
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
    parser.add_argument("--child", nargs=2, metavar=("RULE", "SETTINGS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        measure(*args.child, args.seconds)
        return
    results: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for rule in RULES:
            for settings in SETTINGS:
                command = [sys.executable, __file__, "--seconds", str(args.seconds), "--child", rule, settings]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results.setdefault((rule, settings), []).append(json.loads(output.splitlines()[-1]))
    print(f"{'rule':12} {'settings':9} {'inner steps/s':>14} {'range':>18} {'first step s':>13}")
    for rule in RULES:
        medians = {}
        for settings in SETTINGS:
            rows = results[rule, settings]
            rates = [row["rate"] for row in rows]
            medians[settings] = statistics.median(rates)
            first = statistics.median(row["compile"] for row in rows)
            spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
            print(f"{rule:12} {settings:9} {medians[settings]:14,.0f} {spread:>18} {first:13.1f}")
        print(f"{rule:12} {'ratio':9} {medians['ours'] / medians['default']:14.2f}")


if __name__ == "__main__":
    main()
