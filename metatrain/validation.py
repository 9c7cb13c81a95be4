"""Meta-validation: how well weights train tasks that they were not meta-trained on."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from celo2.form import PUBLISHED, Form
from metatrain import batches, families, rules, tasks
from metatrain.config import Inner
from metatrain.unroll import capped

# Networks or variants of sets that the default families leave out, on images that no task is meta-trained on.
STATIONARY = ("fashion/tanh", "digits_inverted", "mnist_noisy/deep", "mnist/autoencoder")
NOISY = ("mnist/tanh@bandit_ppo", "fashion_binary@bandit", "digits_binary/deep@value", "digits_inverted/tanh@drift")
FAMILIES = STATIONARY + NOISY
# Of the families and their lengths: losses of different versions cannot be compared. 1: STATIONARY alone.
VERSION = 2
NOISY_SHARE = 4
SPLIT = "inner_valid"
_SEED = 20_260


class Score(NamedTuple):
    """loss: mean over families. family_loss: mean objective over training per family, a share of that before training.

    rate: the one multiple of the rule's step size that served all families best, of those in `rules.Rule.rates`;
      learning_rate: what that is as a learning rate, None for a rule with a schedule of its own.
    stationary: mean over the families of plain supervised learning, all that version 1 had, at the rate that served
      these best; None: there are none. version: see `VERSION`.
    """

    loss: float
    rate: float
    family_loss: dict[str, float]
    learning_rate: float | None = None
    stationary: float | None = None
    version: int = VERSION


def make(
    rule_name: str,
    form: Form = PUBLISHED,
    specs: tuple[str, ...] = FAMILIES,
    *,
    steps: int = 1000,
    problems: int = 2,
    hidden: int = 32,
    batch_size: int = 64,
    inner: Inner = rules.DEFAULT,
) -> Callable[[Any], Score]:
    """Prepares theta -> `Score`; the problems are the same for every theta and every run.

    Args:
      rule_name: rule as in `rules`. form: that of its weights.
      specs: families, see `families.load`.
      steps: length of the inner training runs.
      problems: runs per family; four times as many where the loss is noisy. hidden, batch_size: of the inner networks.
      inner: settings of the inner optimizer.
    """
    rule = rules.get(rule_name, form, inner)
    compiled = []
    for group in families.load(specs, hidden, batch_size, SPLIT):
        noisy = group.task.objective is not None
        run = jax.jit(_runner(rule, group, steps, NOISY_SHARE * problems if noisy else problems, batch_size))
        compiled.append((run, [specs[i] for i in group.members], group.task.loss_cap / tasks.CAP))

    def score(theta: Any) -> Score:
        theta = jax.tree.map(np.asarray, theta)
        scores = [score_at(theta, rate) for rate in rule.rates]
        best = min(scores, key=lambda found: found.loss)
        if best.stationary is None:
            return best
        return best._replace(stationary=min(found.stationary for found in scores if found.stationary is not None))

    def score_at(theta: Any, rate: float) -> Score:
        found: dict[str, float] = {}
        for run, names, guess in compiled:
            losses = np.asarray(run(theta, np.float32(rate))) / guess
            found.update(zip(names, losses.tolist(), strict=True))
        ordered = {name: round(found[name], 6) for name in specs}
        still = [loss for name, loss in ordered.items() if "@" not in name]
        return Score(
            loss=round(statistics.fmean(ordered.values()), 6),
            rate=rate,
            family_loss=ordered,
            learning_rate=None if rule.step_mult is None else float(f"{rate * rule.step_mult:.6g}"),
            stationary=round(statistics.fmean(still), 6) if still else None,
        )

    return score


def _runner(
    rule: rules.Rule, group: families.Group, steps: int, problems: int, batch_size: int
) -> Callable[[Any, jax.Array], jax.Array]:
    task, data = group.task, group.data

    def train(theta: Any, rate: jax.Array, place: jax.Array, key: jax.Array) -> jax.Array:
        init_key, data_key = jax.random.split(key)
        params = task.init(init_key)
        optimizer = rule.optimizer(theta, jnp.int32(steps))
        order = jax.random.bits(data_key, dtype=jnp.uint32)
        size = jnp.asarray(data.sizes).astype(jnp.uint32)[place]
        rows = batches.rows(jnp.arange(steps, dtype=jnp.uint32), jnp.broadcast_to(size, (steps,)), order, batch_size)

        def body(carry: Any, xs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            (params, state, memory), (rows_t, t) = carry, xs
            images = jnp.asarray(data.images)[place, rows_t].astype(jnp.float32) / 255
            noise_key = None if task.start is None else batches.step_key(order, t)
            batch = tasks.Batch(images, jnp.asarray(data.labels)[place, rows_t], t, noise_key)
            if task.remember is not None:
                memory = task.remember(params, memory, batch)
            loss, grads = jax.value_and_grad(task.loss)(params, memory, batch)
            counted = loss if task.objective is None else task.objective(params, memory, batch)
            updates, state = optimizer.update(grads, state, params, value=loss)
            updates = jax.tree.map(lambda u: rate * u, updates)
            return (optax.apply_updates(params, updates), state, memory), capped(counted, task.loss_cap)

        memory = None if task.start is None else task.start(jax.random.fold_in(init_key, 1), params)
        xs = (rows, jnp.arange(steps, dtype=jnp.int32))
        return jnp.mean(jax.lax.scan(body, (params, optimizer.init(params), memory), xs)[1])

    def run(theta: Any, rate: jax.Array) -> jax.Array:
        """Mean loss of each family of the group, [F]."""
        places = jnp.arange(len(group.members))
        keys = jax.random.split(jax.random.key(_SEED), problems)
        each = jax.vmap(jax.vmap(train, in_axes=(None, None, None, 0)), in_axes=(None, None, 0, None))
        return jnp.mean(each(theta, rate, places, keys), axis=1)

    return run
