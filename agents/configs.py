"""The agents by name, as their settings. Nothing here imports jax."""

from agents.config import PPOConfig
from agents.dqn_config import DQNConfig, PQNConfig
from agents.rppo_config import RPPOConfig
from agents.sac_config import SACConfig

Config = PPOConfig | DQNConfig | PQNConfig | RPPOConfig | SACConfig
CONFIGS: dict[str, type[Config]] = {
    "ppo": PPOConfig,
    "dqn": DQNConfig,
    "pqn": PQNConfig,
    "rppo": RPPOConfig,
    "sac": SACConfig,
}
