"""Settings per environment, so that `rlopt train ppo --env X` needs no other flag. Imports no jax."""

from agents.config import PPOConfig

AGENTS = ("ppo",)

_MINATAR = PPOConfig(
    total_steps=10_000_000,
    num_envs=64,
    rollout_length=128,
    epochs=4,
    minibatches=8,
    network="minatar",
    hidden=(128,),
    activation="relu",
)


def ppo_config(env_id: str) -> PPOConfig:
    """PPO's settings for an environment; unknown ones get those of classic control."""
    if env_id.endswith("-MinAtar"):
        return _MINATAR
    return PPOConfig()
