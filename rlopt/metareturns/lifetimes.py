"""Whole trainings of agents whose optimizer has a head, many heads and seeds in one program, and what they earned."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import agents
from rlopt.metareturns.config import PARTS
from rlopt.optimizers import factory
from rlopt.training import loop
from rlopt.training.config import TrainConfig

# Of a training's parts: a tenth.
LAST = 2


class Lifetimes(NamedTuple):
    """What H heads with K keys each earned: sums and counts of episodes, float32 [H, K, T]; finite: bool [H, K]."""

    sums: Any
    counts: Any
    finite: Any


def make_program(config: TrainConfig) -> Callable[[Any, jax.Array], Lifetimes]:
    """A program (heads, keys) -> `Lifetimes`: heads [H, F], see `celo2.scale_by_step_head`; keys [K].

    Args:
      config: of one training; updates are the optimizer's at a learning rate of 1, times the head, times the rate.

    Raises:
      ValueError: as `loop.make_agent`.
    """
    loop.check(config)
    plain = factory.make(
        config.optimizer,
        config.theta,
        config.options,
        config.hyper.updates_per_target,
        epochs_per_target=config.hyper.epochs_per_target,
    )
    env = loop.make_env(config, config.hyper.num_envs)

    def lifetime(head: jax.Array, key: jax.Array) -> Lifetimes:
        agent = agents.make(env, config.hyper, factory.headed(plain, head))
        hyperparams = agent.hyperparams(config.handed_rate)
        _, metrics = agents.train(agent, key, hyperparams, config.hyper.num_iterations)
        counts = metrics.num_episodes.astype(jnp.float32)
        return Lifetimes(metrics.return_sum, counts, jnp.all(jnp.isfinite(metrics.loss)))

    return jax.jit(jax.vmap(jax.vmap(lifetime, (None, 0)), (0, None)))


def scores(earned: Lifetimes) -> np.ndarray:
    """Half the mean over training and half the end, float64 [H, K]; NaN for a lost seed.

    Returns of `PARTS` equal parts of training; one in which no episode ended has that of the one before, or at the
    beginning the first that there is. Lost: a loss that is not finite, or no episode that ever ended.
    """
    sums, counts = (np.asarray(x, np.float64) for x in (earned.sums, earned.counts))
    edges = np.linspace(0, sums.shape[-1], PARTS + 1).round().astype(int)[:-1]
    totals, numbers = (np.add.reduceat(x, edges, axis=-1) for x in (sums, counts))
    means = np.where(numbers > 0, totals / np.maximum(numbers, 1), np.nan)
    filled = _forward(_forward(means)[..., ::-1])[..., ::-1]
    lost = ~np.asarray(earned.finite) | np.isnan(filled[..., 0])
    found = (filled.mean(axis=-1) + filled[..., -LAST:].mean(axis=-1)) / 2
    return np.where(lost, np.nan, found)


def _forward(x: np.ndarray) -> np.ndarray:
    """NaN replaced by the last number before it along the last axis."""
    places = np.where(np.isnan(x), 0, np.arange(x.shape[-1]))
    return np.take_along_axis(x, np.maximum.accumulate(places, axis=-1), axis=-1)
