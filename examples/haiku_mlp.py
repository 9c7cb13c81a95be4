"""A multi-layer perceptron in haiku: celo2 at eight learning rates, in one program.

    python examples/haiku_mlp.py

The learning rate may be traced, so `jax.vmap` runs the whole sweep at once.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import optax

import celo2
from metatrain import datasets


def network(x):
    """[B, 64] -> [B, 10]."""
    for name in ("hidden_0", "hidden_1"):
        x = jax.nn.relu(hk.Linear(64, name=name)(x))
    return hk.Linear(10, name="head")(x)


def main(steps: int = 300) -> dict[float, float]:
    """Trains at every rate; returns the mean loss of the last 20 steps for each."""
    train = datasets.load("digits")
    images, labels = jnp.asarray(train.images, jnp.float32) / 255, jnp.asarray(train.labels)
    init, apply = hk.without_apply_rng(hk.transform(network))
    start = init(jax.random.key(0), images[:1])
    print(celo2.routing_table(start))

    def loss_fn(params, batch):
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, images[batch]), labels[batch]).mean()

    def train_at(learning_rate):
        tx = celo2.celo2(learning_rate)

        def step(carry, key):
            params, state = carry
            batch = jax.random.randint(key, (64,), 0, len(labels))
            loss, grads = jax.value_and_grad(loss_fn)(params, batch)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), loss

        keys = jax.random.split(jax.random.key(1), steps)
        return jax.lax.scan(step, (start, tx.init(start)), keys)[1]

    rates = jnp.asarray([1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2])
    losses = jax.jit(jax.vmap(train_at))(rates)
    result = {float(rate): float(jnp.mean(row[-20:])) for rate, row in zip(rates, losses, strict=True)}
    for rate, loss in result.items():
        print(f"learning rate {rate:<8.0e} loss {losses[0, 0]:.3f} -> {loss:.3f}")
    return result


if __name__ == "__main__":
    main()
