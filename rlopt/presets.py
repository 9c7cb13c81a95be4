"""Settings per agent and environment, so that `rlopt train AGENT --env X` needs no other flag. Imports no jax."""

from agents.config import PPOConfig
from agents.dqn_config import DQNConfig, PQNConfig

Config = PPOConfig | DQNConfig | PQNConfig

CONFIGS: dict[str, type[PPOConfig] | type[DQNConfig] | type[PQNConfig]] = {
    "ppo": PPOConfig,
    "dqn": DQNConfig,
    "pqn": PQNConfig,
}
AGENTS = tuple(CONFIGS)

_MINATAR: dict[str, Config] = {
    "ppo": PPOConfig(
        total_steps=10_000_000,
        num_envs=64,
        rollout_length=128,
        epochs=4,
        minibatches=8,
        network="minatar",
        hidden=(128,),
        activation="relu",
    ),
    "dqn": DQNConfig(
        total_steps=5_000_000, replay_capacity=100_000, target_interval=1000, network="minatar", hidden=(128,)
    ),
    "pqn": PQNConfig(total_steps=10_000_000, num_envs=128, rollout_length=32, network="minatar", hidden=(128,)),
}


def config(agent: str, env_id: str) -> Config:
    """An agent's settings for an environment; environments without a preset get those of classic control."""
    return _MINATAR[agent] if env_id.endswith("-MinAtar") else CONFIGS[agent]()
