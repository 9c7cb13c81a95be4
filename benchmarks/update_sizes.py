"""What an optimizer does to each tensor while PPO learns: updates beside weights, and dormant units.

    python benchmarks/update_sizes.py --env SpaceInvaders-MinAtar --optimizers adam:0.005 celo2:0.002 celo

One seed each, at the given tenths of the training: root mean square of an update (over the last hundred or so) and of
the weights, per tensor; value loss and return; and the share of dormant units of each hidden layer on the observations
at hand (mean activation at most 0.025 of the layer's, Sokar et al. 2023, arXiv 2302.12902). For dense ReLU networks.
"""

import argparse
import dataclasses
from typing import Any, NamedTuple

from rlopt.training import runtime

DORMANT = 0.025


class Recorded(NamedTuple):
    """State of `recorded`: the optimizer's own, and a running mean of squared updates per tensor."""

    inner: Any
    squares: Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="SpaceInvaders-MinAtar")
    parser.add_argument("--optimizers", nargs="+", default=["adam", "celo2"], help="NAME or NAME:RATE")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--tenths", nargs="+", type=int, default=[1, 5, 9])
    args = parser.parse_args()
    runtime.configure(num_devices=1)
    for name in args.optimizers:
        follow(args.env, *name.partition(":")[::2], args.steps, sorted(args.tenths))


def follow(env_id: str, name: str, rate: str, steps: int, tenths: list[int]) -> None:
    import jax

    import agents
    import envs
    from rlopt.optimizers import factory
    from rlopt.training import presets

    config = dataclasses.replace(presets.config("ppo", env_id), total_steps=steps)
    learning_rate = float(rate) if rate else presets.learning_rate("ppo", env_id, name) or 0.0
    make = factory.make(name, updates_per_target=config.updates_per_target)
    env = envs.make(env_id, config.num_envs)
    agent = agents.make(env, config, lambda rate, num_updates: recorded(make(rate, num_updates)))
    advance = jax.jit(lambda n, state: jax.lax.fori_loop(0, n, lambda _, s: agent.step(s)[0], state))
    step = jax.jit(agent.step)
    state = jax.jit(agent.init)(jax.random.key(0), agent.hyperparams(learning_rate))
    done = 0
    for tenth in tenths:
        until = config.num_iterations * tenth // 10
        state, metrics = step(advance(until - done - 1, state))
        done = until
        found = float(metrics.return_sum) / max(1, int(metrics.num_episodes))
        print(f"\n{name} {rate} on {env_id} after {done * config.env_steps_per_iteration:,} steps: ", end="")
        print(f"return {found:.3g}, value loss {float(metrics.value_loss):.3g}, entropy {float(metrics.entropy):.3g}")
        show(state, jax)


def show(state: Any, jax: Any) -> None:
    import numpy as np

    leaves = jax.tree.leaves(state.opt_state, is_leaf=lambda x: isinstance(x, Recorded))
    (squares,) = [leaf.squares for leaf in leaves if isinstance(leaf, Recorded)]
    recent = dict(jax.tree_util.tree_leaves_with_path(squares))
    for path, weights in jax.tree_util.tree_leaves_with_path(state.params):
        update, size = float(np.sqrt(recent[path])), float(np.sqrt(np.mean(np.square(weights))))
        label = jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/")
        print(f"  {label:24} update {update:8.1e}  weights {size:8.1e}  share {update / max(size, 1e-30):8.1e}")
    for tower, layers in state.params["params"].items():
        x = np.asarray(state.obs, np.float32).reshape(len(state.obs), -1)
        for layer in sorted((n for n in layers if n != "head"), key=lambda n: (n != "input", n)):
            x = np.maximum(x @ np.asarray(layers[layer]["kernel"]) + np.asarray(layers[layer]["bias"]), 0)
            mean = x.mean(axis=0)
            share = np.mean(mean <= DORMANT * mean.mean())
            print(f"  {tower + '/' + layer:24} dormant {share:.0%}")


def recorded(inner: Any) -> Any:
    """The optimizer, noting how large its updates are."""
    import jax
    import jax.numpy as jnp
    import optax

    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> Recorded:
        return Recorded(inner.init(params), jax.tree.map(lambda _: jnp.zeros([]), params))

    def update(grads: Any, state: Recorded, params: Any = None, **extra: Any) -> tuple[Any, Recorded]:
        updates, own = inner.update(grads, state.inner, params, **extra)
        squares = jax.tree.map(lambda old, x: 0.99 * old + 0.01 * jnp.mean(x * x), state.squares, updates)
        return updates, Recorded(own, squares)

    return optax.GradientTransformationExtraArgs(init, update)


if __name__ == "__main__":
    main()
