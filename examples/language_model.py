"""A small character-level transformer, trained with the composition that Celo2's authors show, and with AdamW.

    python examples/language_model.py

celo2 on matrices, AdamW on embeddings, norm scales and biases at 20 times the rate; decoupled weight decay; warm-up
and cosine schedule. The text is this project's own documentation.
"""

import argparse
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import celo2

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = 64
BATCH = 16


class Block(nn.Module):
    """Causal attention and a two-layer network, both residual, norms first."""

    width: int

    @nn.compact
    def __call__(self, x):
        mask = nn.make_causal_mask(jnp.ones(x.shape[:2]))
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(nn.LayerNorm()(x), mask=mask)
        y = nn.Dense(2 * self.width, name="up")(nn.LayerNorm()(x))
        return x + nn.Dense(self.width, name="down")(nn.gelu(y))


class LanguageModel(nn.Module):
    """Tokens [B, T] -> logits [B, T, vocabulary]; the token embedding serves as output layer too."""

    vocabulary: int
    width: int = 64
    depth: int = 2

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(self.vocabulary, self.width, name="token_embed")
        x = embed(tokens) + nn.Embed(CONTEXT, self.width, name="position_embed")(jnp.arange(tokens.shape[1]))
        for i in range(self.depth):
            x = Block(self.width, name=f"block_{i}")(x)
        return embed.attend(nn.LayerNorm()(x))


def load_text() -> tuple[np.ndarray, int]:
    """The documentation as token numbers [N], and the size of the vocabulary."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    vocabulary, tokens = np.unique(np.frombuffer(text.encode(), np.uint8), return_inverse=True)
    return tokens.astype(np.int32), len(vocabulary)


def celo2_as_published(steps: int, learning_rate: float, weight_decay: float, mult_1d: float = 20.0):
    """The composition of the usage note, written out; `celo2.celo2(schedule, weight_decay=...)` is the short form."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 10, steps, learning_rate / 10)
    return optax.multi_transform(
        transforms={
            "celo2": optax.chain(
                celo2.scale_by_celo2(celo2.load_theta("celo2"), orthogonalize=True),
                optax.add_decayed_weights(weight_decay),
                optax.scale_by_learning_rate(schedule),
            ),
            "adam": optax.adamw(lambda count: mult_1d * schedule(count), 0.9, 0.95, weight_decay=weight_decay),
        },
        param_labels=lambda params: jax.tree.map_with_path(
            lambda path, x: "adam" if x.ndim <= 1 or "embed" in jax.tree_util.keystr(path) else "celo2", params
        ),
    )


def adamw(steps: int, learning_rate: float, weight_decay: float):
    """AdamW under the same schedule."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 10, steps, learning_rate / 10)
    return optax.adamw(schedule, 0.9, 0.95, weight_decay=weight_decay)


def main(steps: int = 200) -> dict[str, float]:
    """Trains with both optimizers; returns the mean loss of the last tenth of the steps for each."""
    tokens, vocabulary = load_text()
    model = LanguageModel(vocabulary)
    text = jnp.asarray(tokens)
    start = jax.jit(model.init)(jax.random.key(0), text[None, :CONTEXT])

    def loss_fn(params, windows):
        logits = model.apply(params, windows[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()

    optimizers = {
        "celo2": celo2_as_published(steps, learning_rate=1e-3, weight_decay=0.01),
        "adamw": adamw(steps, learning_rate=3e-3, weight_decay=0.01),
    }
    result = {}
    for name, tx in optimizers.items():

        @jax.jit
        def step(params, state, key, tx=tx):
            starts = jax.random.randint(key, (BATCH, 1), 0, len(text) - CONTEXT - 1)
            loss, grads = jax.value_and_grad(loss_fn)(params, text[starts + jnp.arange(CONTEXT + 1)])
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state, loss

        params, state, losses = start, tx.init(start), []
        for i, key in enumerate(jax.random.split(jax.random.key(1), steps)):
            params, state, loss = step(params, state, key)
            losses.append(float(loss))
            if i % max(1, steps // 10) == 0:
                print(f"{name:6} step {i:4d} loss {loss:.3f}")
        result[name] = float(np.mean(losses[-max(1, steps // 10) :]))
    for name, loss in result.items():
        print(f"{name:6} mean loss of the last tenth: {loss:.3f} nats per character")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    main(parser.parse_args().steps)
