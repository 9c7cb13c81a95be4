"""Environments by id."""

import difflib

from envs import gymnax, probes
from envs.base import VectorEnv


def ids() -> tuple[str, ...]:
    """Every id that `make` knows."""
    return gymnax.ids() + probes.ids()


def check_id(env_id: str) -> None:
    """Refuses an unknown id; the message lists what there is, closest first. `module:Class` is not looked up yet."""
    if env_id in gymnax.NEEDS_NETWORK:
        raise ValueError(f"{env_id} downloads its images when it is made, and is not offered")
    if env_id not in ids() and ":" not in env_id:
        close = difflib.get_close_matches(env_id, ids(), n=len(ids()), cutoff=0.0)
        raise ValueError(f"unknown environment {env_id!r}; there are {', '.join(close)}")


def make(env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of an environment, stepped together.

    Args:
      env_id: one of `ids()`, or `module:Class` for any other class with gymnax's interface (1.0).
      num_envs: how many, at least 1.

    Raises:
      ValueError: for an unknown id, a class that cannot be made, or num_envs < 1.

    Example:
      >>> import envs, jax
      >>> env = envs.make("CartPole-v1", num_envs=4)
      >>> state, obs = env.reset(jax.random.key(0))
      >>> obs.shape
      (4, 4)
    """
    check_id(env_id)
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    if ":" in env_id:
        return gymnax.from_class(env_id, num_envs)
    return (probes if env_id in probes.ids() else gymnax).make(env_id, num_envs)
