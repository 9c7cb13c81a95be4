"""A small convolutional network in flax linen, trained with celo2.

    python examples/flax_linen.py

Shows which tensor takes the learned rule, and what the two readings of a convolution kernel give: one matrix per tap
(as published) or one matrix fan-in x fan-out.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import celo2
from metatrain import datasets


class Network(nn.Module):
    """[B, 8, 8, 1] -> [B, 10]."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(16, (3, 3), name="conv_0")(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2, name="conv_1")(x))
        x = nn.relu(nn.Dense(64, name="hidden")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, name="head")(x)


def main(steps: int = 150) -> dict[str, float]:
    """Trains once per reading of the kernels; returns the accuracy on images that were not trained on."""
    network = Network()
    train, test = (datasets.load("digits", split) for split in ("train", "outer_valid"))
    images = jnp.asarray(train.images, jnp.float32).reshape(-1, 8, 8, 1) / 255
    labels = jnp.asarray(train.labels)
    start = network.init(jax.random.key(0), images[:1])
    print(celo2.routing_table(start))

    def loss_fn(params, batch):
        logits = network.apply(params, images[batch])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()

    accuracies = {}
    for name, numbers in {"a matrix per tap": None, "one matrix": celo2.fan_in_fan_out}.items():
        tx = celo2.celo2(1e-3, weight_dimension_numbers=numbers)

        @jax.jit
        def step(params, state, key, tx=tx):
            batch = jax.random.randint(key, (64,), 0, len(labels))
            loss, grads = jax.value_and_grad(loss_fn)(params, batch)
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state, loss

        params, state = start, tx.init(start)
        for key in jax.random.split(jax.random.key(1), steps):
            params, state, loss = step(params, state, key)
        logits = network.apply(params, jnp.asarray(test.images, jnp.float32).reshape(-1, 8, 8, 1) / 255)
        accuracies[name] = float(jnp.mean(jnp.argmax(logits, -1) == test.labels))
        print(f"kernels as {name:16} loss {loss:.3f}, accuracy {accuracies[name]:.3f}")
    return accuracies


if __name__ == "__main__":
    main()
