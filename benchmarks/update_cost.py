"""What one optimizer update costs: gradients in, new parameters out, jitted, as a ratio to AdamW.

    python benchmarks/update_cost.py
    python benchmarks/update_cost.py --seeds 16      # the same under vmap over seeds

The optimizers take turns in one process, `--rounds` times. "call": one jitted update called from Python; "loop": that
update in a compiled `lax.fori_loop`, as in a training program that never leaves the device. Printed are median times,
the ratios to `optax.adamw` and to `optax.contrib.muon` with the routing of `celo2` (medians of the ratios within a
round), and floats of state and of temporary memory per parameter (the latter as XLA reports them for the call).
The machine should be idle.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from rlopt.training import runtime

# Name: shape. Kernels are [in, out] or [height, width, in, out].
CARTPOLE_TOWER = {
    "input": {"kernel": (4, 64), "bias": (64,)},
    "hidden_1": {"kernel": (64, 64), "bias": (64,)},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "cartpole": {
        "actor": {**CARTPOLE_TOWER, "head": {"kernel": (64, 2), "bias": (2,)}},
        "critic": {**CARTPOLE_TOWER, "head": {"kernel": (64, 1), "bias": (1,)}},
    },
    "minatar": {
        "input": {"kernel": (3, 3, 4, 16), "bias": (16,)},
        "hidden_1": {"kernel": (1024, 128), "bias": (128,)},
        "policy_head": {"kernel": (128, 6), "bias": (6,)},
        "value_head": {"kernel": (128, 1), "bias": (1,)},
    },
    "small": {
        "input": {"kernel": (4, 4, 4, 16), "bias": (16,)},
        "conv_1": {"kernel": (4, 4, 16, 32), "bias": (32,)},
        "hidden_2": {"kernel": (2592, 256), "bias": (256,)},
        "policy_head": {"kernel": (256, 6), "bias": (6,)},
        "value_head": {"kernel": (256, 1), "bias": (1,)},
    },
    "nature": {
        "input": {"kernel": (8, 8, 4, 32), "bias": (32,)},
        "conv_1": {"kernel": (4, 4, 32, 64), "bias": (64,)},
        "conv_2": {"kernel": (3, 3, 64, 64), "bias": (64,)},
        "hidden_3": {"kernel": (3136, 512), "bias": (512,)},
        "policy_head": {"kernel": (512, 6), "bias": (6,)},
        "value_head": {"kernel": (512, 1), "bias": (1,)},
    },
}
STEPS_PER_CALL = {"cartpole": 200, "minatar": 30, "small": 10, "nature": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--optimizers", nargs="+", default=None)
    parser.add_argument("--seeds", type=int, default=1, help="updates under one vmap; times are per seed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--settings", choices=("jax", "rlopt"), default="jax", help="JAX's own, or those of our commands"
    )
    args = parser.parse_args()
    if args.settings == "rlopt":
        runtime.configure(num_devices=1)
    import jax

    makers = optimizers()
    chosen = args.optimizers or list(makers)
    for name in args.networks:
        params, grads = example(NETWORKS[name], args.seeds)
        size = sum(x.size for x in jax.tree.leaves(params)) // args.seeds
        runs, memory = {}, {}
        for optimizer in dict.fromkeys(["adamw", "muon", *chosen]):
            runs[optimizer], memory[optimizer] = compile_steps(
                makers[optimizer](), params, grads, STEPS_PER_CALL[name], args.seeds
            )
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(args.rounds):
            for optimizer, modes in runs.items():
                for mode, run in modes.items():
                    start = time.perf_counter()
                    run()
                    seconds = (time.perf_counter() - start) / STEPS_PER_CALL[name] / args.seeds
                    times.setdefault((optimizer, mode), []).append(seconds)
        print(f"\n{name}: {size:,} parameters, {args.seeds} seed(s), settings of {args.settings}")
        print(
            f"{'optimizer':14} {'call us':>9} {'x adamw':>8} {'x muon':>7} {'loop us':>10} {'x adamw':>8} {'x muon':>7}"
            f" {'state':>6} {'temp':>6}"
        )
        for optimizer in runs:
            cells = []
            for mode in ("call", "loop"):
                values = times[optimizer, mode]
                cells.append(1e6 * statistics.median(values))
                for other in ("adamw", "muon"):
                    cells.append(statistics.median(a / b for a, b in zip(values, times[other, mode], strict=True)))
            print("{:14} {:9.1f} {:8.2f} {:7.2f} {:10.1f} {:8.2f} {:7.2f}".format(optimizer, *cells), end="")
            print(" {:6.2f} {:6.2f}".format(*memory[optimizer]))


def optimizers() -> dict[str, Callable[[], Any]]:
    import jax
    import optax

    import celo2
    from celo2.labels import ADAM, RULE
    from rlopt.optimizers import factory

    def muon() -> Any:
        matrices = optax.contrib.scale_by_muon(weight_dimension_numbers=celo2.fan_in_fan_out)
        decayed = optax.chain(matrices, optax.add_decayed_weights(1e-4), optax.scale_by_learning_rate(1e-3))
        adamw = optax.adamw(1e-3, weight_decay=1e-4)
        return optax.partition({RULE: decayed, ADAM: adamw}, celo2.matrix_labels)

    def rival(name: str) -> Callable[[], Any]:
        return lambda: factory.make(name)(1e-3, 100_000)

    return {
        "adamw": lambda: optax.adamw(1e-3, weight_decay=1e-4),
        "muon": muon,
        "celo2": lambda: celo2.celo2(1e-3, "celo2_v1", weight_decay=1e-4),
        "celo2_base": lambda: celo2.celo2_base(1e-3, "celo2_base_v1", weight_decay=1e-4),
        # As agents use them: odd, with Adam's size, on hidden matrices. "even": the same, not odd.
        "celo2_rl": lambda: celo2.celo2(1e-3, **celo2.RL),
        # With five Newton-Schulz steps in place of two; with none for matrices of which one side is long.
        "celo2_rl_five": lambda: celo2.celo2(1e-3, newton_schulz_steps=5, **celo2.RL),
        "celo2_rl_ratio": lambda: celo2.celo2(1e-3, newton_schulz_ratio=1.5, **celo2.RL),
        "base_rl": lambda: celo2.celo2_base(1e-3, **celo2.RL),
        "base_rl_even": lambda: celo2.celo2_base(1e-3, odd=False, **celo2.RL),
        # The cost does not depend on the weights.
        "celo": lambda: celo2.celo(100_000, celo2.init_theta("celo", jax.random.key(0))),
        "celo_adam": lambda: celo2.celo_adam(100_000, celo2.init_theta("celo_adam", jax.random.key(0))),
        "nnadam": lambda: celo2.nnadam(celo2.init_theta("nnadam", jax.random.key(0))),
        "adafac_mlp": lambda: celo2.adafac_mlp(celo2.init_theta("adafac_mlp", jax.random.key(0))),
        "rnn_mlp": lambda: celo2.rnn_mlp(celo2.init_theta("rnn_mlp", jax.random.key(0))),
        "ano": rival("ano"),
        "trac": rival("trac"),
        "namo": rival("namo"),
        "muonh": rival("muonh"),
        "shampoo": rival("shampoo"),
        "soap": rival("soap"),
        "open": lambda: celo2.open_rule(celo2.init_theta("open", jax.random.key(0))),
        "velo": lambda: celo2.velo(100_000, celo2.init_theta("velo", jax.random.key(0))),
    }


def example(shapes: dict[str, Any], seeds: int) -> tuple[Any, Any]:
    """Random parameters and gradients; with a leading axis if there is more than one seed."""
    import jax

    leading = (seeds,) if seeds > 1 else ()
    leaves, treedef = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(jax.random.key(0), 2 * len(leaves))
    arrays = [jax.random.normal(k, leading + leaves[i % len(leaves)]) * 0.1 for i, k in enumerate(keys)]
    return treedef.unflatten(arrays[: len(leaves)]), treedef.unflatten(arrays[len(leaves) :])


def compile_steps(
    tx: Any, params: Any, grads: Any, steps: int, seeds: int
) -> tuple[dict[str, Callable[[], None]], tuple[float, float]]:
    """Warm functions that run `steps` updates each way, and (state floats, temporary floats) per parameter."""
    import jax
    import optax

    from agents import telling

    tx = optax.with_extra_args_support(tx)

    def step(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        ones = jax.tree.map(lambda _: 1.0, params)
        # Another key for every update, as from an agent: else the loop draws once.
        key = jax.random.fold_in(jax.random.key(0), jax.tree.leaves(params)[0].ravel()[0].astype(int))
        told = telling.extra_args(params, value=1.0, progress=0.5, epoch=0.5, key=key, dormancy=lambda: ones)
        updates, state = tx.update(grads, state, params, **told)
        return state, optax.apply_updates(params, updates)

    init = jax.vmap(tx.init) if seeds > 1 else tx.init
    step = jax.vmap(step) if seeds > 1 else step
    params = jax.tree.map(lambda x: x.copy(), params)
    state = jax.jit(init)(params)
    compiled = jax.jit(step, donate_argnums=(1, 2)).lower(grads, state, params).compile()

    def many(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        return jax.lax.fori_loop(0, steps, lambda _, carry: step(grads, *carry), (state, params))

    looped = jax.jit(many, donate_argnums=(1, 2)).lower(grads, state, params).compile()
    size = sum(x.size for x in jax.tree.leaves(params))
    floats = sum(x.nbytes for x in jax.tree.leaves(state)) / 4 / size
    temporary = compiled.memory_analysis().temp_size_in_bytes / 4 / size
    carried = [state, params]

    def call() -> None:
        for _ in range(steps):
            carried[:] = compiled(grads, *carried)
        jax.block_until_ready(carried)

    def loop() -> None:
        carried[:] = looped(grads, *carried)
        jax.block_until_ready(carried)

    call()
    loop()
    return {"call": call, "loop": loop}, (floats, temporary)


if __name__ == "__main__":
    main()
