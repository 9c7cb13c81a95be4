"""Full episodes with the trained networks of a run folder, all seeds in one program."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

import agents
from envs.atari_config import FULL_GAMES
from rlopt.runs import results
from rlopt.training import evaluations, loop, watchdog
from rlopt.training.config import TrainConfig


def evaluate(
    folder: Path,
    *,
    episodes: int = 100,
    greedy: bool = True,
    seed: int = 0,
    max_steps: int | None = None,
    params: str = "final",
    trust: bool = False,
) -> np.ndarray:
    """Returns of the first episodes of fresh environments, float32 [S, episodes]; NaN: not over in time.

    Args:
      folder: of a finished run.
      episodes: per seed of the run.
      greedy: the best action each time; False: as at the end of training.
      seed: fixes the environments' first states and everything random; the same for every seed of the run.
      max_steps: steps after which an episode is given up; None: the environment's time limit, or else
        `evaluations.MAX_STEPS`.
      params: which of the run's, as `results.read_params`.
      trust: as `results.check_trusted`.

    Raises:
      ValueError: for a folder without a finished run, or without such parameters, one that is not trusted, or less than
        one episode or step.
    """
    for name, value in (("episodes", episodes), ("max_steps", max_steps)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    config = results.check_trusted(folder, results.read_config(folder), trust)
    agent, policies = load_policies(folder, config, params)
    env = loop.make_env(config, episodes, **FULL_GAMES)
    limit = max_steps or evaluations.limit(env)

    @jax.jit
    def run(policies: object, key: jax.Array) -> jax.Array:
        def one(policy: object) -> jax.Array:
            return agents.evaluate(agent, env, policy, key, max_steps=limit, greedy=greedy).returns

        return jax.vmap(one)(policies)

    with watchdog.watch(f"playing {config.env}", enabled=jax.default_backend() == "cpu"):
        return np.asarray(run(policies, jax.random.key(seed)))


def load_policies(folder: Path, config: TrainConfig, params: str = "final") -> tuple[agents.Agent, Any]:
    """The agent of a run, and what its `act` needs: all seeds' policies, leaves [S, ...]; params: as `read_params`.

    Raises:
      ValueError: as `results.read_params`.
    """
    # Nothing is trained, so neither the optimizer nor its weight file matters; the shapes of the networks do.
    plain = dataclasses.replace(config, optimizer="adam", learning_rate=1.0, theta=None, options={}, optimizer_of={})
    agent = loop.make_agent(plain)
    seeds = jax.ShapeDtypeStruct((config.seeds,), np.uint32)
    template = jax.eval_shape(
        jax.vmap(lambda seed: agent.policy(agent.init(jax.random.key(seed), agent.hyperparams(0.0)))),
        seeds,
    )
    return agent, results.read_params(folder, template, params)
