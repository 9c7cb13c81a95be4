"""Everything that a GPU or TPU could do otherwise than a CPU, in one command of a few minutes.

    python benchmarks/accelerator.py             # on whatever device JAX finds
    python benchmarks/accelerator.py --small     # the same at a hundredth of the size

Prints a Markdown table: how far updates on the device are from those on the host's CPU, at JAX's own precision of
matrix products and in float32; what an update costs beside AdamW's; steps per second of PPO with one seed and with 64;
how far a seed among 64 is from the same seed alone; inner steps per second of meta-training; and whether the same
program gives the same bits twice. On a CPU the first part compares it with itself.
"""

import argparse
import importlib.metadata
import statistics
import time
from collections.abc import Callable
from typing import Any

from rlopt.training import runtime

RULES = ("adam", "muon_routed", "celo2", "celo2_base", "celo_adam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="fewer seeds, steps and repetitions")
    parser.add_argument("--env", default="SpaceInvaders-MinAtar")
    args = parser.parse_args()
    runtime.configure(num_devices=1)
    import jax

    began = time.perf_counter()
    device = jax.devices()[0]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "optax"))
    print(f"{device.device_kind} ({device.platform}), {len(jax.devices())} device(s), {versions}\n")
    print("| what | measured |\n|---|---|")
    seeds, iterations = (4, 2) if args.small else (64, 20)
    for rows in (
        parity(steps=3 if args.small else 20),
        costs(("cartpole",) if args.small else ("cartpole", "minatar", "nature"), 5 if args.small else 100),
        training(args.env, seeds, iterations),
        meta_training(2 if args.small else 20),
    ):
        for name, value in rows:
            print(f"| {name} | {value} |", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s in all")


def parity(steps: int) -> list[tuple[str, str]]:
    """How far the last of some updates on the device is from that on the host (`distance`)."""
    import jax
    from update_cost import NETWORKS, example

    host = jax.devices("cpu")[0]
    params, grads = example(NETWORKS["minatar"], 1)
    rows = []
    for rule in RULES:
        texts = []
        for precision in ("default", "float32"):
            with jax.default_matmul_precision(precision):
                here = last_update(rule, params, grads, steps)
            with jax.default_device(host), jax.default_matmul_precision("float32"):
                there = last_update(rule, *jax.device_put((params, grads), host), steps)
            texts.append(f"{distance(here, there):.1e} ({precision})")
        rows.append((f"{rule}: update {steps} on the device against the host's", ", ".join(texts)))
    return rows


def last_update(rule: str, params: Any, grads: Any, steps: int) -> Any:
    """The last of some updates, gradients turned a little each time."""
    import jax
    import jax.numpy as jnp
    import optax

    from rlopt.optimizers import factory

    tx = optax.with_extra_args_support(factory.make(rule)(1e-3, 1_000))

    @jax.jit
    def run(params: Any, grads: Any) -> Any:
        def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
            state, params, _ = carry
            turned = jax.tree.map(lambda g, p: g * jnp.cos(0.3 * i) + 0.1 * p, grads, params)
            updates, state = tx.update(turned, state, params, value=1.0)
            return (state, optax.apply_updates(params, updates), updates), None

        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(step, (tx.init(params), params, zeros), jnp.arange(steps))[0][2]

    return run(params, grads)


def distance(here: Any, there: Any) -> float:
    """Root mean square difference of two trees, over the root mean square of the second."""
    import jax
    import numpy as np

    pairs = list(zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True))
    difference = sum(float(np.sum((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)) for a, b in pairs)
    return float(np.sqrt(difference / sum(float(np.sum(np.asarray(b, np.float64) ** 2)) for _, b in pairs)))


def costs(networks: tuple[str, ...], repetitions: int) -> list[tuple[str, str]]:
    """Time of an update in a compiled loop, over AdamW's."""
    from update_cost import NETWORKS, compile_steps, example, optimizers

    makers = optimizers()
    rows = []
    for network in networks:
        params, grads = example(NETWORKS[network], 1)
        seconds = {}
        for name in ("adamw", "celo2_rl", "base_rl"):
            runs, _ = compile_steps(makers[name](), params, grads, repetitions, 1)
            seconds[name] = timed(runs["loop"]) / repetitions
        texts = [f"{name} {1e6 * x:,.0f} us ({x / seconds['adamw']:.1f})" for name, x in seconds.items()]
        rows.append((f"an update, network `{network}` (over AdamW's)", ", ".join(texts)))
    return rows


def timed(function: Callable[[], Any], rounds: int = 3) -> float:
    """Median seconds of a call that waits for its result."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def training(env: str, seeds: int, iterations: int) -> list[tuple[str, str]]:
    """Speed of PPO with one seed and with many, the same bits twice, and a seed among many beside itself alone."""
    import jax

    from rlopt.training import loop, placement, presets
    from rlopt.training.config import TrainConfig

    rows = []
    for optimizer in ("adam", "celo2"):
        config = TrainConfig(agent="ppo", env=env, optimizer=optimizer, hyper=presets.config("ppo", env))
        agent = loop.make_agent(config)
        hyperparams = agent.hyperparams(config.handed_rate)
        keys = jax.vmap(jax.random.key)(jax.numpy.arange(seeds))
        rates, policies, same = {}, {}, True
        for count in (1, seeds):
            init = jax.jit(jax.vmap(agent.init, (0, None)))
            chunk = placement.compile_chunk(
                placement.mesh_for(1), agent, iterations, init(keys[:count], hyperparams), in_turn=False
            )
            found = []
            for _ in range(3):
                state = jax.block_until_ready(init(keys[:count], hyperparams))
                start = time.perf_counter()
                state, _ = jax.block_until_ready(chunk(state))
                found.append((time.perf_counter() - start, agent.policy(state)))
            steps = count * iterations * config.hyper.env_steps_per_iteration
            rates[count] = steps / statistics.median(seconds for seconds, _ in found)
            policies[count] = found[0][1]
            same &= equal(found[0][1], found[1][1])
        among = jax.tree.map(lambda x: x[:1], policies[seeds])
        rows += [
            (f"PPO on {env} with {optimizer}, steps/s", ", ".join(f"{n} seeds {x:,.0f}" for n, x in rates.items())),
            ("the same bits twice", "yes" if same else "no"),
            (f"a seed among {seeds} against itself alone", f"{distance(among, policies[1]):.1e} of the parameters"),
        ]
    return rows


def equal(here: Any, there: Any) -> bool:
    """Whether two trees have the same bits."""
    import jax
    import numpy as np

    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True)
    )


def meta_training(iterations: int) -> list[tuple[str, str]]:
    """Speed of PES in the default recipe, and the same bits twice."""
    import jax

    from metatrain import outer
    from metatrain.config import MetaTrainConfig

    config = MetaTrainConfig(rule="celo2_base")
    program = outer.make_program(config)
    thetas, seconds = [], []
    for _ in range(2):
        state, _ = jax.block_until_ready(program.step(program.init()))  # compiles at the first time
        start = time.perf_counter()
        for _ in range(iterations):
            state, _ = program.step(state)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - start)
        thetas.append(state.theta)
    rate = iterations * config.inner_steps_per_iteration / min(seconds)
    return [
        ("meta-training `celo2_base`, inner steps/s", f"{rate:,.0f}"),
        ("the same bits twice", "yes" if equal(*thetas) else "no"),
    ]


if __name__ == "__main__":
    main()
