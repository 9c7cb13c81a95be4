"""Full episodes with the trained networks of a run folder, all seeds in one program."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

import agents
from rlopt import escape
from rlopt.runs import results
from rlopt.statistics import iqm
from rlopt.training import loop, watchdog
from rlopt.training.config import TrainConfig

# For environments without a time limit of their own.
MAX_STEPS = 10_000


def evaluate(
    folder: Path, *, episodes: int = 100, greedy: bool = True, seed: int = 0, trust: bool = False
) -> np.ndarray:
    """Returns of the first episodes of fresh environments, float32 [S, episodes]; NaN: not over in time.

    Args:
      folder: of a finished run.
      episodes: per seed of the run.
      greedy: the best action each time; False: as at the end of training.
      seed: fixes the environments' first states and everything random; the same for every seed of the run.
      trust: as `results.check_trusted`.

    Raises:
      ValueError: for a folder without a finished run, one that is not trusted, or less than one episode.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    config = results.check_trusted(folder, results.read_config(folder), trust)
    agent, policies = load_policies(folder, config)
    env = loop.make_env(config, episodes, episodic_life=False, clip_rewards=False)
    max_steps = env.spec.time_limit or MAX_STEPS

    @jax.jit
    def run(policies: object, key: jax.Array) -> jax.Array:
        def one(policy: object) -> jax.Array:
            return agents.evaluate(agent, env, policy, key, max_steps=max_steps, greedy=greedy).returns

        return jax.vmap(one)(policies)

    with watchdog.watch(f"playing {config.env}", enabled=jax.default_backend() == "cpu"):
        return np.asarray(run(policies, jax.random.key(seed)))


def load_policies(folder: Path, config: TrainConfig) -> tuple[agents.Agent, Any]:
    """The agent of a finished run, and what its `act` needs: all seeds' policies, leaves [S, ...].

    Raises:
      ValueError: as `results.read_params`.
    """
    # Nothing is trained, so neither the optimizer nor its weight file matters; the shapes of the networks do.
    plain = dataclasses.replace(config, optimizer="adam", learning_rate=1.0, theta=None, options={}, optimizer_of={})
    agent = loop.build(plain)
    seeds = jax.ShapeDtypeStruct((config.seeds,), np.uint32)
    template = jax.eval_shape(
        jax.vmap(lambda seed: agent.policy(agent.init(jax.random.key(seed), agent.hyperparams(0.0)))),
        seeds,
    )
    return agent, results.read_params(folder, template)


def table(config: TrainConfig, returns: np.ndarray, greedy: bool) -> Table:
    """Mean return of each seed's policy, and their interquartile mean."""
    how = "greedy" if greedy else "sampled"
    title = f"{config.agent.upper()} with {config.title} on {config.env}: {returns.shape[1]} {how} episodes each"
    rendered = Table(title=escape.rich(title, "table.title"))
    for heading in ("seed", "mean", "lowest", "highest", "not over"):
        rendered.add_column(heading, justify="right")
    means = []
    for i, row in enumerate(returns):
        over = row[np.isfinite(row)]
        missing = str(len(row) - len(over))
        means.append(over.mean() if len(over) else np.nan)
        shown = [f"{x:.1f}" for x in (over.mean(), over.min(), over.max())] if len(over) else ["-"] * 3
        rendered.add_row(str(config.seed + i), *shown, missing)
    if np.all(np.isfinite(means)):
        rendered.add_section()
        rendered.add_row("IQM", f"{float(iqm(np.asarray(means))):.1f}", "", "", "")
    return rendered
