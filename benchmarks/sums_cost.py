"""How a learned rule's sums of squares are best computed for a large matrix: ways that were tried, beside each other.

    python benchmarks/sums_cost.py

Of `celo2_base` in the form for RL on one kernel of 2592 x 256, the dense one of PPO's fast preset on Atari:
milliseconds of processor time per update, in a compiled loop as agents run it, and temporary floats per parameter.
"alone": only the sums, of arrays that lie in memory. Variants take turns in one process; the lowest and the median of
`--rounds`.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from rlopt.training import runtime

runtime.configure(num_devices=1)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

import celo2  # noqa: E402
from celo2 import accumulators, features, reductions  # noqa: E402

SHAPE = (2592, 256)
UPDATES = 6  # per call
Sums = Callable[[Sequence[jax.Array], int], list[jax.Array]]


def apart_by_rows(arrays: Sequence[jax.Array], num_axes: int) -> list[jax.Array]:
    """Every sum for itself, by rows first."""
    return [total for x in arrays for total in reductions.sums([x], num_axes)]


def apart(arrays: Sequence[jax.Array], num_axes: int) -> list[jax.Array]:
    """Every sum for itself, in one piece."""
    return [jnp.sum(x, tuple(range(-num_axes, 0))) for x in arrays]


def in_neighbours(arrays: Sequence[jax.Array], num_axes: int) -> list[jax.Array]:
    """As small tensors are summed: all at once, four neighbours at a time, for more memory."""
    before, reductions._LARGE = reductions._LARGE, math.prod(SHAPE)
    try:
        return reductions.sums(arrays, num_axes)
    finally:
        reductions._LARGE = before


WAYS: dict[str, Sums] = {
    "as it is: one variadic sum by rows": reductions.sums,
    "four neighbours at a time": in_neighbours,
    "each apart, by rows": apart_by_rows,
    "each apart": apart,
}


def normal(number: int, *shape: int) -> jax.Array:
    return 0.02 * jax.random.normal(jax.random.key(number), shape)


def alone(sums: Sums) -> tuple[Callable[[], None], float]:
    """Only the sums, again and again, of slightly other arrays."""
    row, col = normal(4, 3, SHAPE[0], 1), normal(5, 3, 1, SHAPE[1])
    factor = accumulators.Factors(row, col)
    start = features.Inputs(
        normal(0, *SHAPE), normal(1, *SHAPE), normal(2, 3, *SHAPE), normal(3, *SHAPE) ** 2, None, factor, factor
    )

    def many(x: features.Inputs) -> Any:
        def one(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            g, total = carry
            channels = features.elementwise(x._replace(g=g), 1e-8)[1]
            found = jnp.stack(sums([jnp.square(c) for c in channels], 2))
            return g + 1e-9 * found[0], total + found

        return jax.lax.fori_loop(0, UPDATES, one, (x.g, jnp.zeros(18)))

    run = jax.jit(many).lower(start).compile()
    return lambda: jax.block_until_ready(run(start)), floats(run)


def update(sums: Sums) -> tuple[Callable[[], None], float]:
    """Whole updates."""
    usual, features.sums = features.sums, sums  # what is measured is how the rule's own program changes
    try:
        tx = optax.chain(celo2.scale_by_celo2("celo2_base", orthogonalize=False), optax.scale(-1e-3))
        params, grads = {"hidden_1": normal(0, *SHAPE)}, {"hidden_1": normal(1, *SHAPE)}

        def many(grads: Any, state: Any, params: Any) -> Any:
            def one(_: int, carry: Any) -> Any:
                updates, state = tx.update(grads, carry[0], carry[1])
                return state, optax.apply_updates(carry[1], updates)

            return jax.lax.fori_loop(0, UPDATES, one, (state, params))

        state = jax.jit(tx.init)(params)
        run = jax.jit(many, donate_argnums=(1, 2)).lower(grads, state, params).compile()
    finally:
        features.sums = usual
    carried = [state, params]

    def go() -> None:
        carried[:] = run(grads, *carried)
        jax.block_until_ready(carried)

    return go, floats(run)


def floats(run: Any) -> float:
    return float(run.memory_analysis().temp_size_in_bytes / 4 / math.prod(SHAPE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    runs = {(name, of): of(sums) for name, sums in WAYS.items() for of in (alone, update)}
    for run, _ in runs.values():
        run()
    times: dict[Any, list[float]] = {case: [] for case in runs}
    for _ in range(args.rounds):
        for case, (run, _) in runs.items():
            start = time.process_time()
            run()
            times[case].append(1e3 * (time.process_time() - start) / UPDATES)
    print("| | alone: lowest, median | update: lowest, median | temporary floats |\n|---|---|---|---|")
    for name in WAYS:
        cells = [
            f"{min(found):.2f}, {statistics.median(found):.2f}" for found in (times[name, alone], times[name, update])
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} | {runs[name, update][1]:.1f} |")


if __name__ == "__main__":
    main()
