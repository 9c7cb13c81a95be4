"""What a language model needs on each of many devices, and what its optimizer sends between them. Nothing is trained.

    python examples/language_model_plan.py --size 1.3b --devices 8 64

Parameters, gradients and optimizer state are split over all devices (fully sharded), the batch too: one window per
device. The step is compiled for as many forced host devices, whose memory is what XLA's analysis says; nothing of
that size is ever allocated. "sent": how many collective operations the update alone has, without the gradient.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
from typing import Any

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
OPTIMIZERS = ("adamw", "muon", "celo2")
TITLES = ("devices", "optimizer", "parameters, MB", "state, MB", "temporary, MB", "sent by the update")


def plan(size: str, name: str, count: int) -> dict[str, Any]:
    """Bytes on one device and collectives, in a process that has `count` devices."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax.sharding import NamedSharding, PartitionSpec
    from language_model import SIZES, init, loss, optimizers

    shape = SIZES[size]
    mesh = jax.make_mesh((count,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))

    def split(x: Any) -> NamedSharding:
        """Over the last axis that the devices divide; layers stay together."""
        spec: list[str | None] = [None] * x.ndim
        if axes := [axis for axis in range(x.ndim) if x.shape[axis] % count == 0 and (x.ndim < 3 or axis > 0)]:
            spec[axes[-1]] = "devices"
        return NamedSharding(mesh, PartitionSpec(*spec))

    def placed(tree: Any, shardings: Any) -> Any:
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)

    def split_all(tree: Any) -> Any:
        return placed(tree, jax.tree.map(split, tree))

    params = split_all(jax.eval_shape(lambda: init(jax.random.key(0), shape)))
    tx = optimizers(1000)[name]
    # States follow the parameters that they are of from `tx.init` on, which can be seen of a model that fits in here.
    little = shape._replace(width=count, context=count, depth=2, vocabulary=2 * count + 1)
    seen = tx.init(jax.tree.map(lambda x: jax.device_put(x, split(x)), init(jax.random.key(0), little)))
    specs = jax.tree.map(lambda x: getattr(x.sharding, "spec", PartitionSpec()), seen)
    state = jax.tree.map(
        lambda x, spec: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec)),
        jax.eval_shape(tx.init, params),
        specs,
    )
    rows = NamedSharding(mesh, PartitionSpec("devices"))
    windows = jax.ShapeDtypeStruct((count, shape.context + 1), jnp.int32, sharding=rows)

    def place(x: Any) -> Any:
        # Else XLA may gather what was computed in place of the parameters.
        return jax.lax.with_sharding_constraint(x, rows)

    def step(params: Any, state: Any, windows: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, windows, shape, place)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    memory = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, windows).compile().memory_analysis()
    update = jax.jit(tx.update).lower(params, state, params).compile().as_text()
    sent = collections.Counter(re.findall(rf" ({'|'.join(COLLECTIVES)})(?:-start)?\(", update))
    return {
        "parameters": on_one(params),
        "state": on_one(state),
        "temporary": memory.temp_size_in_bytes,
        "sent": dict(sent),
    }


def on_one(tree: Any) -> int:
    """Bytes of a tree on one device."""
    import jax
    import numpy as np

    return sum(int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def main() -> None:
    """A row for every number of devices and optimizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1.3b")
    parser.add_argument("--devices", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(plan(args.size, args.child[0], int(args.child[1]))))
        return
    print(f"{args.size}\n\n| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}")
    for count in args.devices:
        for name in args.optimizers:
            # The number of host devices is fixed when JAX is imported.
            flags = f"--xla_force_host_platform_device_count={count}"
            environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
            command = [sys.executable, __file__, "--size", args.size, "--child", name, str(count)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            found = json.loads(output.splitlines()[-1])
            megabytes = [f"{found[what] / 1e6:,.0f}" for what in ("parameters", "state", "temporary")]
            sent = ", ".join(f"{n} {kind}" for kind, n in sorted(found["sent"].items())) or "nothing"
            print(f"| {count} | {name} | {' | '.join(megabytes)} | {sent} |", flush=True)


if __name__ == "__main__":
    main()
