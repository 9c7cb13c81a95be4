"""Microseconds per iteration of DQN's replay, ours against flashbax's item buffer: add 10 rows, draw 128 uniformly.

    python benchmarks/replay_cost.py

Of all seeds together, on one core. Both hold the same transitions and run inside a compiled loop, in turn in each of
`--rounds` rounds; prints the medians and their ratio. flashbax's buffer stores every row that it is given, ours leaves
out those that are not valid.
"""

import argparse
import statistics
import time

from rlopt.training import runtime

CASES = {"CartPole": ((4,), "float32"), "Breakout-MinAtar": ((10, 10, 4), "bool")}
ROWS, DRAWN = 10, 128


def programs(shape: tuple[int, ...], dtype: str, capacity: int, seeds: int) -> dict[str, tuple]:
    """Both replays on rows of a kind: a compiled loop and a state each."""
    import flashbax
    import jax
    import jax.numpy as jnp

    from agents import replay

    obs = jnp.zeros(shape, dtype)
    row = {"obs": obs, "action": jnp.int32(0), "reward": jnp.float32(0), "factor": jnp.float32(0), "next_obs": obs}
    rows = jax.tree.map(lambda x: jnp.broadcast_to(x, (ROWS, *x.shape)), row)
    item = flashbax.make_item_buffer(capacity, ROWS, DRAWN, add_sequences=False, add_batches=True)

    def ours(state, key):
        state = replay.add(state, rows, jnp.ones(ROWS, bool))
        return state, replay.sample(state, key, DRAWN).rows

    def theirs(state, key):
        state = item.add(state, rows)
        return state, item.sample(state, key).experience

    def loop(one):
        def total(state, key):
            state, drawn = one(state, key)
            return state, sum(jnp.sum(x, dtype=jnp.float32) for x in jax.tree.leaves(drawn))

        def run(state, keys):
            return jax.lax.scan(lambda s, key: jax.vmap(total)(s, jax.random.split(key, seeds)), state, keys)

        return jax.jit(run, donate_argnums=0)

    def copies(state):
        return jax.tree.map(lambda x: jnp.stack([x] * seeds), state)

    return {
        "ours": (loop(ours), copies(replay.init(row, capacity, False))),
        "flashbax": (loop(theirs), copies(item.init(row))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacities", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 8], help="vmapped on one core")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    runtime.configure(num_devices=1)
    import jax

    print("| transitions | capacity | seeds | ours | flashbax | flashbax / ours |")
    print("|---|---|---|---|---|---|")
    keys = jax.random.split(jax.random.key(0), args.iterations)
    for name, (shape, dtype) in CASES.items():
        for capacity in args.capacities:
            for seeds in args.seeds:
                running = programs(shape, dtype, capacity, seeds)
                times: dict[str, list[float]] = {who: [] for who in running}
                for _ in range(args.rounds + 1):  # the first compiles
                    for who, (run, state) in running.items():
                        start = time.perf_counter()
                        state, _ = jax.block_until_ready(run(state, keys))
                        times[who].append((time.perf_counter() - start) / args.iterations * 1e6)
                        running[who] = (run, state)
                ours, theirs = (statistics.median(times[who][1:]) for who in ("ours", "flashbax"))
                print(f"| {name} | {capacity:,} | {seeds} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.2f} |")


if __name__ == "__main__":
    main()
