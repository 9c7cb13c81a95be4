"""A multi-layer perceptron in flax nnx, trained with celo2 under a cosine schedule.

    python examples/flax_nnx.py

An nnx state is a pytree like any other; biases go to AdamW by their rank, the output layer by its name.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import celo2
from metatrain import datasets


class Network(nnx.Module):
    """[B, 64] -> [B, 10]."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden_0 = nnx.Linear(64, 64, rngs=rngs)
        self.hidden_1 = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.hidden_1(nnx.relu(self.hidden_0(x)))))


def main(steps: int = 300) -> float:
    """Trains and returns the accuracy on images that were not trained on."""
    train, test = (datasets.load("digits", split) for split in ("train", "outer_valid"))
    images, labels = jnp.asarray(train.images, jnp.float32) / 255, jnp.asarray(train.labels)
    network = Network(nnx.Rngs(0))
    print(celo2.routing_table(nnx.state(network, nnx.Param)))
    schedule = optax.cosine_decay_schedule(2e-3, steps)
    optimizer = nnx.Optimizer(network, celo2.celo2(schedule), wrt=nnx.Param)

    @nnx.jit
    def step(network, optimizer, key):
        batch = jax.random.randint(key, (64,), 0, len(labels))

        def loss_fn(network):
            return optax.softmax_cross_entropy_with_integer_labels(network(images[batch]), labels[batch]).mean()

        loss, grads = nnx.value_and_grad(loss_fn)(network)
        optimizer.update(network, grads)
        return loss

    for key in jax.random.split(jax.random.key(1), steps):
        loss = step(network, optimizer, key)
    predicted = jnp.argmax(network(jnp.asarray(test.images, jnp.float32) / 255), -1)
    accuracy = float(jnp.mean(predicted == test.labels))
    print(f"loss {loss:.3f}, accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
