"""A multi-layer perceptron in equinox, trained with celo2_base in a single compiled loop.

    python examples/equinox_mlp.py

Equinox keeps functions and sizes among the leaves; `eqx.filter(model, eqx.is_inexact_array)` leaves the parameters, and
celo2_base gives every one of them to the learned rule. With celo2.celo2 you would name the output layer for the Adam
branch, since equinox numbers its layers: `label_fn=celo2.Routing(pattern=r"layers/2/")`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import celo2
from metatrain import datasets


def main(steps: int = 400) -> float:
    """Trains and returns the accuracy on images that were not trained on."""
    train, test = (datasets.load("digits", split) for split in ("train", "outer_valid"))
    images, labels = jnp.asarray(train.images, jnp.float32) / 255, jnp.asarray(train.labels)
    model = eqx.nn.MLP(64, 10, width_size=64, depth=2, key=jax.random.key(0))
    print(celo2.routing_table(eqx.filter(model, eqx.is_inexact_array), celo2.Routing(pattern=r"layers/2/")))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    tx = celo2.celo2_base(1e-3)

    def loss_fn(params, batch):
        logits = jax.vmap(eqx.combine(params, static))(images[batch])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()

    def step(carry, key):
        params, state = carry
        batch = jax.random.randint(key, (64,), 0, len(labels))
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = tx.update(grads, state, params)
        return (eqx.apply_updates(params, updates), state), loss

    keys = jax.random.split(jax.random.key(1), steps)
    (params, _), losses = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), keys))(params)
    logits = jax.vmap(eqx.combine(params, static))(jnp.asarray(test.images, jnp.float32) / 255)
    accuracy = float(jnp.mean(jnp.argmax(logits, -1) == test.labels))
    print(f"loss {losses[0]:.3f} -> {losses[-20:].mean():.3f}, accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
