"""What a learned rule does: tried on one random matrix."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import celo2
from celo2 import rule_celo, scheduler
from rlopt.optimizers.theta import Loaded

SIZE = 64
STEPS = 100
# Rules whose steps and schedule can be drawn.
DRAWN = ("celo2", "celo", "celo_adam")
TRAINING_LENGTH = 1000
# Of the drift on noise: steps with a root mean square of 1e-3 on a matrix of N(0, 0.1^2).
NOISE_STEPS, NOISE_RATE, NOISE_SCALE, NOISE_SEEDS = 300, 1e-3, 0.1, 16


class Response(NamedTuple):
    """How one matrix of 64x64 parameters moves; all float32 [64 * 64], divided by their root mean square.

    gradient: of the last step. momentum: the first one, after it. update: what is subtracted from the parameter.
    mirrored: the update where gradients and parameters had the other sign; an odd rule gives the negative.
    """

    gradient: np.ndarray
    momentum: np.ndarray
    update: np.ndarray
    mirrored: np.ndarray


class Drift(NamedTuple):
    """What pure noise does to a matrix; R noise seeds, T steps.

    path: float64 [T], displacement of the parameters so far, averaged over the matrix and the seeds, over the length of
      the path, likewise: 0 for a rule that noise moves nowhere.
    growth: root mean square of the parameters at the end over that at the start.
    """

    path: np.ndarray
    growth: float


def response(loaded: Loaded) -> Response:
    """Runs a rule for 100 steps on a random matrix whose gradients are a fixed direction plus twice as much noise."""
    keys = jax.random.split(jax.random.key(0), 3)
    tx = _direction(loaded)
    start = NOISE_SCALE * jax.random.normal(keys[0], (SIZE, SIZE))
    direction = jax.random.normal(keys[1], (SIZE, SIZE))

    @jax.jit
    def run(side: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        params = {"w": side * start}

        def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            g = side * (direction + 2.0 * jax.random.normal(key, (SIZE, SIZE)))
            update, state = tx.update({"w": g}, state, params)
            return state, (g, update["w"])

        state, (g, update) = jax.lax.scan(step, tx.init(params), jax.random.split(keys[2], STEPS))
        return g[-1], state.m["w"][0], update[-1]

    gradient, momentum, update = run(jnp.float32(1))
    mirrored = run(jnp.float32(-1))[2]

    def unit(x: jax.Array, like: jax.Array | None = None) -> np.ndarray:
        return np.asarray(x / jnp.sqrt(jnp.mean((x if like is None else like) ** 2))).ravel()

    return Response(unit(gradient), unit(momentum), unit(update), unit(mirrored, update))


def even_share(response: Response) -> float:
    """Root mean square of the part of the step that keeps its sign over that of the part that changes it; 0: odd."""
    even, odd = response.update + response.mirrored, response.update - response.mirrored
    return float(np.sqrt(np.mean(np.square(even)) / np.mean(np.square(odd))))


def drift(loaded: Loaded, seeds: int = NOISE_SEEDS) -> Drift:
    """Runs a rule for 300 steps on gradients N(0, 1), from a 64x64 matrix of N(0, 0.1^2).

    Celo2's steps are taken with size 1 (a sized step hardly moves on noise), each times 1e-3; Celo's without schedule,
    in its own size, or where it has another one, that one times 1e-3.
    """
    # A theta of celo2 and of celo2_base are alike; the card says whether its steps are orthogonalised.
    tx = _direction(loaded, orthogonalize=loaded.card.get("rule") == "celo2")
    rate = NOISE_RATE
    if loaded.rule == "celo":
        rate = 1.0 if loaded.form.size == "unit" else NOISE_RATE / rule_celo.SIZED_STEP_MULT

    @jax.jit
    @jax.vmap
    def run(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        start_key, noise_key = jax.random.split(key)
        start = {"w": NOISE_SCALE * jax.random.normal(start_key, (SIZE, SIZE))}

        def step(carry: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            params, state = carry
            update, state = tx.update({"w": jax.random.normal(key, (SIZE, SIZE))}, state, params)
            moved = {"w": params["w"] - rate * update["w"]}
            change = moved["w"] - params["w"]
            return (moved, state), (jnp.mean(change), jnp.mean(jnp.abs(change)))

        (end, _), changes = jax.lax.scan(step, (start, tx.init(start)), jax.random.split(noise_key, NOISE_STEPS))
        return *changes, jnp.sqrt(jnp.mean(end["w"] ** 2) / jnp.mean(start["w"] ** 2))

    displacement, length, growth = (np.asarray(x, np.float64) for x in run(jax.random.split(jax.random.key(0), seeds)))
    path = np.cumsum(displacement.mean(0)) / np.cumsum(length.mean(0))
    return Drift(path, float(growth.mean()))


def describe(loaded: Loaded) -> str:
    """The numbers of `even_share` and `drift` as text; "" for a rule without an update of its own."""
    if loaded.rule not in ("celo2", "celo"):
        return ""
    found = drift(loaded)
    return (
        f"part of a step that keeps its sign over the part that changes it: {even_share(response(loaded)):.2g}\n"
        f"on noise, {NOISE_STEPS} steps: displacement over path {found.path[-1]:+.4f}, weights grow "
        f"{found.growth:.2f} times"
    )


def _direction(loaded: Loaded, orthogonalize: bool = False) -> Any:
    """The rule in its form, with steps of unit size; Celo's without schedule."""
    weights = celo2.Weights(loaded.theta, loaded.form)
    if loaded.rule == "celo2":
        return celo2.scale_by_celo2(weights, orthogonalize=orthogonalize, size="unit")
    return celo2.scale_by_celo(STEPS, weights, use_scheduler=False)


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
            eta, state = scheduler.update(loaded.theta, state, count, loss, TRAINING_LENGTH, loaded.form.schedule_form)
            return state, eta

        counts = jnp.arange(TRAINING_LENGTH, dtype=jnp.int32)
        return jax.lax.scan(step, scheduler.init(loaded.theta), (counts, losses))[1]

    return {name: np.asarray(run(jnp.asarray(losses))) for name, losses in courses.items()}
