"""Reinforcement-learning agents as bundles of pure functions that take any optax optimizer.

Names load on first use: `agents.config` can be read without importing jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base import Agent, OptimizerFactory
    from agents.config import PPOConfig
    from agents.dqn_agent import DQNHyperparams, dqn, dqn_hyperparams
    from agents.dqn_config import DQNConfig, PQNConfig
    from agents.evaluation import Episodes, evaluate
    from agents.ppo_agent import PPOHyperparams, ppo, ppo_hyperparams
    from agents.pqn_agent import PQNHyperparams, pqn, pqn_hyperparams
    from agents.registry import hyperparams, make

_WHERE = {
    "Agent": "agents.base",
    "OptimizerFactory": "agents.base",
    "PPOConfig": "agents.config",
    "PPOHyperparams": "agents.ppo_agent",
    "ppo_hyperparams": "agents.ppo_agent",
    "ppo": "agents.ppo_agent",
    "DQNConfig": "agents.dqn_config",
    "PQNConfig": "agents.dqn_config",
    "DQNHyperparams": "agents.dqn_agent",
    "dqn_hyperparams": "agents.dqn_agent",
    "dqn": "agents.dqn_agent",
    "PQNHyperparams": "agents.pqn_agent",
    "pqn_hyperparams": "agents.pqn_agent",
    "pqn": "agents.pqn_agent",
    "Episodes": "agents.evaluation",
    "evaluate": "agents.evaluation",
    "make": "agents.registry",
    "hyperparams": "agents.registry",
}
__all__ = [
    "Agent",
    "DQNConfig",
    "DQNHyperparams",
    "Episodes",
    "OptimizerFactory",
    "PPOConfig",
    "PPOHyperparams",
    "PQNConfig",
    "PQNHyperparams",
    "dqn",
    "dqn_hyperparams",
    "evaluate",
    "hyperparams",
    "make",
    "ppo",
    "ppo_hyperparams",
    "pqn",
    "pqn_hyperparams",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'agents' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
