"""Agents by name."""

from collections.abc import Callable
from typing import Any

import jax

from agents.base import Agent, NetworkLike, OptimizerFactory
from agents.configs import CONFIGS, Config
from agents.dqn_agent import dqn
from agents.ppo_agent import ppo
from agents.pqn_agent import pqn
from agents.rppo_agent import rppo
from agents.sac_agent import sac
from envs import VectorEnv

# (env, config, optimizer, network) -> Agent.
AGENTS: dict[str, Callable[..., Agent]] = {"ppo": ppo, "dqn": dqn, "pqn": pqn, "rppo": rppo, "sac": sac}


def make(env: VectorEnv, config: Config, optimizer: OptimizerFactory, network: NetworkLike | None = None) -> Agent:
    """The agent that a configuration is of; arguments and errors as of `ppo` and the others.

    Raises:
      ValueError: for a configuration of no known agent.
    """
    for name, config_type in CONFIGS.items():
        if isinstance(config, config_type):
            return AGENTS[name](env, config, optimizer, network)
    known = ", ".join(config_type.__name__ for config_type in CONFIGS.values())
    raise ValueError(f"a configuration must be one of {known}, got {config!r}")


def train(agent: Agent, key: jax.Array, hyperparams: Any, iterations: int) -> tuple[Any, Any]:
    """A whole training as one loop.

    Args:
      agent: of `make`, or `ppo` and the others.
      key: PRNG key.
      hyperparams: as `agent.hyperparams` gives them. Under `jax.vmap` over key and hyperparams a population is trained.
      iterations: how many, at least 1; all are the configuration's num_iterations.

    Returns:
      The state after them, and the metrics of every one: leaves [iterations].

    Raises:
      ValueError: for less than one iteration.

    Examples:
      >>> import agents, envs, jax, optax
      >>> config = agents.PPOConfig(total_steps=2_048)
      >>> env = envs.make("CartPole-v1", config.num_envs)
      >>> agent = agents.ppo(env, config, lambda rate, num_updates: optax.adam(rate))
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> train = jax.vmap(lambda key: agents.train(agent, key, agent.hyperparams(1e-3), config.num_iterations))
      >>> state, metrics = jax.jit(train)(keys)
      >>> metrics.return_sum.shape
      (3, 4)
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    return jax.lax.scan(lambda state, _: agent.step(state), agent.init(key, hyperparams), None, iterations)
