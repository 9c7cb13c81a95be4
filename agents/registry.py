"""Agents by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from agents.base import Agent, OptimizerFactory
from agents.config import PPOConfig
from agents.dqn_agent import dqn, dqn_hyperparams
from agents.dqn_config import DQNConfig, PQNConfig
from agents.ppo_agent import ppo, ppo_hyperparams
from agents.pqn_agent import pqn, pqn_hyperparams
from envs import VectorEnv

Config = PPOConfig | DQNConfig | PQNConfig


class Kind(NamedTuple):
    """make(env, config, optimizer) -> Agent. hyperparams(config, learning_rate) -> what its `init` takes."""

    make: Callable[[VectorEnv, Any, OptimizerFactory], Agent]
    hyperparams: Callable[[Any, Any], Any]


KINDS: dict[type, Kind] = {
    PPOConfig: Kind(ppo, ppo_hyperparams),
    DQNConfig: Kind(dqn, dqn_hyperparams),
    PQNConfig: Kind(pqn, pqn_hyperparams),
}


def make(env: VectorEnv, config: Config, optimizer: OptimizerFactory) -> Agent:
    """The agent that a configuration is of."""
    return KINDS[type(config)].make(env, config, optimizer)


def hyperparams(config: Config, learning_rate: Any) -> Any:
    """The traced scalars of a configuration."""
    return KINDS[type(config)].hyperparams(config, learning_rate)
