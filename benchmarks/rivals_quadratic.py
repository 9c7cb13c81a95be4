"""What hand-designed optimizers come to on a badly conditioned quadratic, at the best of several rates.

    python benchmarks/rivals_quadratic.py

0.5 tr((W - T)' A (W - T)) for W [12, 8] from 0, A with eigenvalues from 1 to 1e-3 in random directions, T of N(0, 1);
with `--noise`, N(0, noise^2) is added to every entry of the gradient. The rate falls linearly to 0. Printed: the loss
at the end over that of W = 0, mean over seeds, and the rate that did best.
"""

import argparse

import numpy as np

NAMES = (
    *("sgd", "adam", "adam:b2=0.99", "nadamw", "muon", "namo", "muonh", "ano", "trac"),
    *("shampoo", "shampoo:graft=sgd", "soap"),
)
RATES = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", default=list(NAMES))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'optimizer':20} {'loss / start':>14} {'rate':>9}")
    for name in arguments.optimizers:
        losses = final(name, arguments.steps, arguments.noise, arguments.seeds)
        best = int(np.nanargmin(losses))
        print(f"{name:20} {losses[best]:14.3g} {RATES[best]:9.2g}")


def final(name: str, steps: int, noise: float, seeds: int) -> np.ndarray:
    """Loss at the end over that at the start for each rate, mean over seeds."""
    import jax
    import jax.numpy as jnp
    import optax

    from rlopt.optimizers import arms, factory

    arm = arms.parse(name)
    make = factory.make(arm.optimizer, options=arm.options | ({"routing": "all"} if arm.optimizer in ROUTED else {}))

    def run(rate: jax.Array, seed: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.key(seed), 3)
        basis = jnp.linalg.qr(jax.random.normal(keys[0], (12, 12)))[0]
        curvature = (basis * 10.0 ** jnp.linspace(-3, 0, 12)) @ basis.T
        target = jax.random.normal(keys[1], (12, 8))

        def loss(params: dict[str, jax.Array]) -> jax.Array:
            apart = params["kernel"] - target
            return 0.5 * jnp.sum(apart * (curvature @ apart))

        def optimizer(t: jax.Array) -> optax.GradientTransformationExtraArgs:
            return optax.with_extra_args_support(make(rate * (1 - t / steps), steps))

        def step(carry: tuple, t: jax.Array) -> tuple[tuple, None]:
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            drawn = noise * jax.random.normal(jax.random.fold_in(keys[2], t), target.shape)
            updates, state = optimizer(t).update({"kernel": grads["kernel"] + drawn}, state, params, value=value)
            return (optax.apply_updates(params, updates), state), None

        # MuonH keeps the norm that matrices start with.
        start = {"kernel": jnp.zeros_like(target)}
        if arm.optimizer == "muonh":
            start = {"kernel": jax.random.normal(jax.random.fold_in(keys[2], steps), target.shape)}
        (params, _), _ = jax.lax.scan(step, (start, optimizer(jnp.float32(0)).init(start)), jnp.arange(steps))
        return loss(params) / loss({"kernel": jnp.zeros_like(target)})

    over = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))
    return np.asarray(jnp.mean(over(jnp.asarray(RATES), jnp.arange(seeds)), axis=1))


ROUTED = ("muon", "namo", "muonh")

if __name__ == "__main__":
    main()
