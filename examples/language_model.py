"""A decoder-only transformer of GPT-2's kind on bytes of English text: Celo2 beside AdamW and Muon.

    python examples/language_model.py                    # a million parameters, 200 steps of each optimizer
    python examples/language_model.py --size 10m --steps 1000 --optimizers celo2 adamw muon
    python examples/language_model.py --text book.txt    # your own text

The text is Python's own reference manual, as every Python brings it with it; a tenth of it is held out. All layers of
one kind lie in one array [layers, in, out], so that a model of 24 layers compiles as fast as one of two;
`weight_dimension_numbers` says that these are matrices side by side. What larger sizes need on many devices:
`language_model_plan.py`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.contrib import MuonDimensionNumbers as Axes

import celo2

BATCH = 16


class Shape(NamedTuple):
    """Sizes of a model."""

    width: int
    depth: int
    heads: int
    context: int
    vocabulary: int


# The larger ones are GPT-2's (Radford et al., 2019) and GPT-3 XL's (Brown et al., arXiv 2005.14165), on GPT-2's tokens.
SIZES = {
    "tiny": Shape(32, 2, 2, 32, 256),
    "1m": Shape(128, 5, 4, 64, 256),
    "10m": Shape(320, 8, 5, 128, 256),
    "124m": Shape(768, 12, 12, 1024, 50_257),
    "355m": Shape(1024, 24, 16, 1024, 50_257),
    "774m": Shape(1280, 36, 20, 1024, 50_257),
    "1.3b": Shape(2048, 24, 16, 2048, 50_257),
}


def init(key: jax.Array, shape: Shape) -> dict[str, Any]:
    """Parameters: normal numbers of deviation 0.02, smaller before each residual sum."""
    width, depth = shape.width, shape.depth
    keys = iter(jax.random.split(key, 8))

    def normal(*size: int, share: float = 1.0) -> jax.Array:
        return 0.02 * share * jax.random.normal(next(keys), size)

    def layers(fan_in: int, fan_out: int, share: float = 1.0) -> dict[str, jax.Array]:
        return {"kernel": normal(depth, fan_in, fan_out, share=share), "bias": jnp.zeros((depth, fan_out))}

    def norm(*size: int) -> dict[str, jax.Array]:
        return {"scale": jnp.ones(size), "bias": jnp.zeros(size)}

    last = (2 * depth) ** -0.5
    return {
        "token_embed": {"embedding": normal(shape.vocabulary, width)},
        "position_embed": {"embedding": normal(shape.context, width)},
        "blocks": {
            "norm_1": norm(depth, width),
            **{name: layers(width, width) for name in ("query", "key", "value")},
            "mix": layers(width, width, last),
            "norm_2": norm(depth, width),
            "up": layers(width, 4 * width),
            "down": layers(4 * width, width, last),
        },
        "last_norm": norm(width),
    }


def logits(
    params: dict[str, Any], tokens: jax.Array, shape: Shape, place: Callable[[jax.Array], jax.Array] = lambda x: x
) -> jax.Array:
    """[B, T] -> [B, T, vocabulary]; the token embedding is the output layer too; blocks are recomputed backwards.

    place: says on which devices [B, T, ...] lies.
    """

    def dense(x: jax.Array, layer: dict[str, jax.Array]) -> jax.Array:
        return x @ layer["kernel"] + layer["bias"]

    def norm(x: jax.Array, layer: dict[str, jax.Array]) -> jax.Array:
        return jax.nn.standardize(x, epsilon=1e-5) * layer["scale"] + layer["bias"]

    @jax.checkpoint
    def block(x: jax.Array, layer: dict[str, Any]) -> tuple[jax.Array, None]:
        y = norm(x, layer["norm_1"])
        split = (*x.shape[:2], shape.heads, shape.width // shape.heads)
        query, key, value = (dense(y, layer[name]).reshape(split) for name in ("query", "key", "value"))
        attended = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        x = x + dense(attended.reshape(x.shape), layer["mix"])
        return place(x + dense(jax.nn.gelu(dense(norm(x, layer["norm_2"]), layer["up"])), layer["down"])), None

    table = params["token_embed"]["embedding"]
    x = place(table[tokens] + params["position_embed"]["embedding"][: tokens.shape[1]])
    x, _ = jax.lax.scan(block, x, params["blocks"])
    return place(norm(x, params["last_norm"]) @ table.T)


def loss(
    params: dict[str, Any], windows: jax.Array, shape: Shape, place: Callable[[jax.Array], jax.Array] = lambda x: x
) -> jax.Array:
    """Mean cross-entropy of the next token, nats; windows: int [B, T + 1]."""
    found = logits(params, windows[:, :-1], shape, place)
    return optax.softmax_cross_entropy_with_integer_labels(found, windows[:, 1:]).mean()


def side_by_side(params: Any) -> Any:
    """Dimension numbers: kernels [layers, in, out] are matrices side by side."""
    return jax.tree.map(lambda x: Axes(1, 2) if x.ndim == 3 else None, params)


def optimizers(steps: int) -> dict[str, optax.GradientTransformation]:
    """Each with decay 0.01 and the same schedule, a warm-up of a tenth and a cosine, at a usual rate, not tuned."""

    def schedule(rate: float) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps // 10), steps, rate / 10)

    kernels = {
        "weight_decay": 0.01,
        "weight_dimension_numbers": side_by_side,
        # There is no output layer of its own, which a `Routing` without a pattern would warn of.
        "label_fn": celo2.labels_by_pattern("embed"),
    }
    return {
        # Adam's rate and size (`celo2.celo2`); as the paper uses it, with AdamW at 20 times the rate elsewhere; Muon.
        "celo2": celo2.celo2(schedule(3e-3), **kernels),
        "celo2_published": celo2.celo2(schedule(1e-3), "celo2_v1", **kernels),
        "adamw": optax.adamw(schedule(3e-3), 0.9, 0.95, weight_decay=0.01),
        "muon": optax.contrib.muon(
            schedule(3e-3),
            weight_decay=0.01,
            adam_weight_decay=0.01,
            muon_weight_dimension_numbers=side_by_side,
            consistent_rms=0.2,
        ),
    }


def load_text(path: Path | None = None) -> np.ndarray:
    """Bytes of a text file, or of Python's reference manual (465,000): uint8 [N]."""
    if path is None:
        from pydoc_data.topics import topics

        return np.frombuffer("\n\n".join(topics[name] for name in sorted(topics)).encode(), np.uint8)
    return np.frombuffer(path.read_bytes(), np.uint8)


def main(
    size: str = "1m", names: tuple[str, ...] = ("celo2", "adamw", "muon"), steps: int = 200, text: Path | None = None
) -> dict[str, float]:
    """Trains with each optimizer from the same parameters on the same windows; the losses on held-out text."""
    shape = SIZES[size]
    if shape.vocabulary != 256:
        raise ValueError(f"size must be one on bytes ({', '.join(k for k, s in SIZES.items() if s.vocabulary == 256)})")
    tokens = load_text(text)
    if len(tokens) < 20 * (shape.context + 1):
        raise ValueError(f"text must have at least {20 * (shape.context + 1)} bytes, got {len(tokens)}")
    data, held_out = np.split(tokens, [len(tokens) * 9 // 10])
    data = jnp.asarray(data)
    whole = held_out[: len(held_out) // (shape.context + 1) * (shape.context + 1)].reshape(-1, shape.context + 1)
    test = jnp.asarray(whole[:: max(1, len(whole) // 64)])
    start = init(jax.random.key(0), shape)
    count = sum(x.size for x in jax.tree.leaves(start))
    print(f"{count:,} parameters, {len(data):,} bytes of text, {BATCH} windows of {shape.context} a step\n")
    print(celo2.routing_table(start), end="\n\n")
    found = {}
    for name in names:
        tx = optimizers(steps)[name]

        @jax.jit
        def step(params, state, key, tx=tx):
            starts = jax.random.randint(key, (BATCH, 1), 0, len(data) - shape.context - 1)
            value, grads = jax.value_and_grad(loss)(params, data[starts + jnp.arange(shape.context + 1)], shape)
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state, value

        params, state = start, jax.jit(tx.init)(start)
        began = time.perf_counter()
        for i, key in enumerate(jax.random.split(jax.random.key(1), steps)):
            params, state, value = step(params, state, key)
            if i == 0:
                jax.block_until_ready(value)
                began = time.perf_counter()
            if i % max(1, steps // 10) == 0:
                print(f"{name:16} step {i:5d} loss {float(value):.3f}")
        seconds = (time.perf_counter() - began) / max(1, steps - 1)
        found[name] = float(jax.jit(loss, static_argnums=2)(params, test, shape))
        print(f"{name:16} held-out loss {found[name]:.3f} nats per byte, {1000 * seconds:.0f} ms per step\n")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1m", choices=[name for name, s in SIZES.items() if s.vocabulary == 256])
    parser.add_argument("--optimizers", nargs="+", default=["celo2", "adamw", "muon"], choices=list(optimizers(10)))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--text", type=Path)
    args = parser.parse_args()
    main(args.size, tuple(args.optimizers), args.steps, args.text)
