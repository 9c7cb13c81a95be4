"""What is in a theta file, and what the rule in it does."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

import celo2
from celo2 import checks, scheduler
from celo2.files import read_json

SIZE = 64
STEPS = 100
TRAINING_LENGTH = 1000


class Loaded(NamedTuple):
    """theta: the weights. rule: "celo2", "celo" or "celo_adam". name: as given. card: {} if there is none."""

    theta: dict[str, Any]
    rule: str
    name: str
    card: dict[str, Any]


class Response(NamedTuple):
    """How one matrix of 64x64 parameters moves; all float32 [64 * 64], divided by their root mean square.

    gradient: of the last step. momentum: of decay 0.9, after it. update: what is subtracted from the parameter.
    """

    gradient: np.ndarray
    momentum: np.ndarray
    update: np.ndarray


def load(source: str) -> Loaded:
    """A theta file, or packaged weights by name, with the card beside it.

    Raises:
      ValueError: if it is neither, or no theta of a known rule, or the card is damaged.
    """
    path = Path(source)
    if path.is_file():
        theta, beside = celo2.load_checkpoint(path), path.with_suffix(".json")
    elif source in celo2.packaged_weights():
        theta = celo2.load_theta(source)
        beside = Path(celo2.__file__).parent / "weights" / f"{source}.json"
    else:
        packaged = ", ".join(celo2.packaged_weights())
        raise ValueError(f"{source!r} is neither a file nor the name of packaged weights ({packaged})")
    return Loaded(theta, checks.rule_of(theta), source, read_json(beside) if beside.is_file() else {})


def sha256(theta: Any) -> str:
    """The hash of a theta's file, as its card gives it."""
    return hashlib.sha256(flax.serialization.to_bytes(theta)).hexdigest()


def info(loaded: Loaded) -> str:
    """Rule, numbers, hash, size of every part, and the card, as text."""
    paths = checks.flatten_paths(loaded.theta)
    sizes: dict[str, list[int]] = {}
    for path, value in paths.items():
        sizes.setdefault("/".join(path[:2]), []).append(value.size)
    norm = float(np.sqrt(sum(np.sum(np.square(x)) for x in paths.values())))
    digest = sha256(loaded.theta)
    theirs = loaded.card.get("sha256", digest)
    lines = [
        f"{loaded.name}: theta of {loaded.rule}, {sum(x.size for x in paths.values()):,} numbers, norm {norm:.4g}",
        f"sha256 {digest}",
        *([] if theirs == digest else [f"the card beside it is of other weights, sha256 {theirs}"]),
        *(f"  {name:28} {sum(parts):7,} numbers in {len(parts)} arrays" for name, parts in sorted(sizes.items())),
        "card:" if loaded.card else "no card beside it",
        *(f"  {key}: {_short(key, value)}" for key, value in loaded.card.items() if key != "config"),
    ]
    return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    """A line in which a foreign card cannot steer the terminal."""
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in line)


def _short(key: str, value: Any) -> Any:
    """An entry of a card in one line; of a long curve its ends. The settings are those of the command."""
    if key == "loss_curve" and value:
        try:
            ends = [f"{point['loss']:.4g} at iteration {point['iteration']:,}" for point in (value[0], value[-1])]
        except (KeyError, TypeError, ValueError, OverflowError):  # a card of somebody else's
            return value
        return " to ".join(ends)
    return value


def response(loaded: Loaded) -> Response:
    """Runs a rule for 100 steps on a random matrix whose gradients are a fixed direction plus twice as much noise."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"w": 0.1 * jax.random.normal(keys[0], (SIZE, SIZE))}
    direction = jax.random.normal(keys[1], (SIZE, SIZE))
    tx: Any
    if loaded.rule == "celo2":
        tx, sign = celo2.scale_by_celo2(loaded.theta, orthogonalize=False), 1.0
    else:
        tx, sign = celo2.scale_by_celo(loaded.theta, num_steps=STEPS, use_scheduler=False), -1.0

    @jax.jit
    def run(params: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            g = direction + 2.0 * jax.random.normal(key, (SIZE, SIZE))
            update, state = tx.update({"w": g}, state, params)
            return state, (g, sign * update["w"])

        state, (g, update) = jax.lax.scan(step, tx.init(params), jax.random.split(keys[2], STEPS))
        return g[-1], state.m["w"][0], update[-1]

    def unit(x: jax.Array) -> np.ndarray:
        return np.asarray(x / jnp.sqrt(jnp.mean(x**2))).ravel()

    return Response(*(unit(x) for x in run(params)))


def schedules(loaded: Loaded) -> dict[str, np.ndarray]:
    """The step-size multiplier over a training of 1,000 updates, for three courses of the loss: float32 [1000] each."""
    t = np.arange(TRAINING_LENGTH, dtype=np.float32)
    courses = {
        "falling loss": 0.2 + 2.1 * np.exp(-t / 150),
        "constant loss": np.full_like(t, 2.3),
        "rising loss": 2.3 + t / 500,
    }

    @jax.jit
    def run(losses: jax.Array) -> jax.Array:
        def step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            count, loss = inputs
            eta, state = scheduler.update(loaded.theta, state, count, loss, TRAINING_LENGTH)
            return state, eta

        counts = jnp.arange(TRAINING_LENGTH, dtype=jnp.int32)
        return jax.lax.scan(step, scheduler.init(loaded.theta), (counts, losses))[1]

    return {name: np.asarray(run(jnp.asarray(losses))) for name, losses in courses.items()}
