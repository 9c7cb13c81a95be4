"""The agents by name, as their settings. Nothing here imports jax."""

from agents.config import PPOConfig
from agents.dqn_config import DQNConfig, PQNConfig

Config = PPOConfig | DQNConfig | PQNConfig
CONFIGS: dict[str, type[PPOConfig] | type[DQNConfig] | type[PQNConfig]] = {
    "ppo": PPOConfig,
    "dqn": DQNConfig,
    "pqn": PQNConfig,
}
