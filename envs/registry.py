"""Environments by id."""

from envs import atari, gymnax, names, probes
from envs.atari_config import AtariConfig, is_atari
from envs.base import VectorEnv


def ids() -> tuple[str, ...]:
    """Every id that `make` knows."""
    return gymnax.ids() + probes.ids() + atari.ids()


def check_id(env_id: str) -> None:
    """Refuses an unknown id; the message names the nearest. `module:Class` is not looked up yet."""
    # Ids of the others are known without importing envpool, which takes a second.
    if ":" in env_id or env_id in gymnax.ids() + probes.ids():
        return
    if is_atari(env_id) and atari.suite(env_id) == atari.SUITE:
        return
    if env_id in gymnax.NEEDS_NETWORK:
        raise ValueError(f"{env_id} downloads its images when it is made, and is not offered")
    suite = atari.suite(env_id)
    if suite is not None:
        raise ValueError(
            f"{env_id} is of envpool's {suite.removeprefix('envpool.')} suite; of envpool, only Atari is offered"
        )
    why = atari.why_not()
    without = f" (without Atari games, since envpool cannot be imported: {why})" if why else ""
    raise ValueError(f"{names.unknown(env_id, ids())}{without}")


def make(env_id: str, num_envs: int, atari_config: AtariConfig | None = None) -> VectorEnv:
    """num_envs copies of an environment, stepped together.

    Args:
      env_id: one of `ids()`, or `module:name` for a class or function of your own with gymnax's interface (1.0); with
        arguments `module:name(size=8)`.
      num_envs: how many, at least 1.
      atari_config: how an Atari game is shown and played; default: `AtariConfig()`. Others have no such settings.

    Raises:
      ValueError: for an unknown id, a class that cannot be made, num_envs < 1, or settings of a game for another
        environment.

    Examples:
      >>> import envs, jax
      >>> env = envs.make("CartPole-v1", num_envs=4)
      >>> state, obs = env.reset(jax.random.key(0))
      >>> obs.shape
      (4, 4)
    """
    check_id(env_id)
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    if is_atari(env_id):
        return atari.make(env_id, num_envs, atari_config)
    if atari_config is not None:
        raise ValueError(f"{env_id} is not an Atari game; atari_config must be None")
    if ":" in env_id:
        return gymnax.from_path(env_id, num_envs)
    return (probes if env_id in probes.ids() else gymnax).make(env_id, num_envs)
