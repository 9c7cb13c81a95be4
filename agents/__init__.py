"""Reinforcement-learning agents as bundles of pure functions that take any optax optimizer.

Names load on first use: `agents.config` can be read without importing jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base import Agent, NetworkLike, OptimizerFactory, Recurrence
    from agents.config import PPOConfig
    from agents.dqn_agent import DQNHyperparams, DQNState, dqn
    from agents.dqn_config import DQNConfig, PQNConfig
    from agents.evaluation import Episodes, evaluate
    from agents.metrics import QMetrics, SACMetrics
    from agents.ppo_agent import PPOHyperparams, PPOMetrics, PPOPolicy, PPOState, ppo
    from agents.pqn_agent import PQNHyperparams, PQNState, pqn
    from agents.registry import make, train
    from agents.rppo_agent import RPPOHyperparams, RPPOState, rppo
    from agents.rppo_config import RPPOConfig
    from agents.sac_agent import SACHyperparams, SACState, sac
    from agents.sac_config import SACConfig

_WHERE = {
    "agents.base": ("Agent", "NetworkLike", "OptimizerFactory", "Recurrence"),
    "agents.config": ("PPOConfig",),
    "agents.dqn_agent": ("DQNHyperparams", "DQNState", "dqn"),
    "agents.dqn_config": ("DQNConfig", "PQNConfig"),
    "agents.evaluation": ("Episodes", "evaluate"),
    "agents.metrics": ("QMetrics", "SACMetrics"),
    "agents.ppo_agent": ("PPOHyperparams", "PPOMetrics", "PPOPolicy", "PPOState", "ppo"),
    "agents.pqn_agent": ("PQNHyperparams", "PQNState", "pqn"),
    "agents.registry": ("make", "train"),
    "agents.rppo_agent": ("RPPOHyperparams", "RPPOState", "rppo"),
    "agents.rppo_config": ("RPPOConfig",),
    "agents.sac_agent": ("SACHyperparams", "SACState", "sac"),
    "agents.sac_config": ("SACConfig",),
}
__all__ = [
    "Agent",
    "DQNConfig",
    "DQNHyperparams",
    "DQNState",
    "Episodes",
    "NetworkLike",
    "OptimizerFactory",
    "PPOConfig",
    "PPOHyperparams",
    "PPOMetrics",
    "PPOPolicy",
    "PPOState",
    "PQNConfig",
    "PQNHyperparams",
    "PQNState",
    "QMetrics",
    "RPPOConfig",
    "RPPOHyperparams",
    "RPPOState",
    "Recurrence",
    "SACConfig",
    "SACHyperparams",
    "SACMetrics",
    "SACState",
    "dqn",
    "evaluate",
    "make",
    "ppo",
    "pqn",
    "rppo",
    "sac",
    "train",
]


def __getattr__(name: str) -> Any:
    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'agents' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
