"""Environments by id."""

from envs import atari, gymnax, names, pool_ids, pools, probes, suites
from envs.atari_config import AtariConfig, is_atari
from envs.base import VectorEnv


def ids() -> tuple[str, ...]:
    """Every id that `make` knows and can make here: of gymnax, probes, envpool, and of the suites that are installed.

    Those of gymnasium are `envs.gymnasium.ids()`, `gymnasium:` before each.
    """
    of_suites = (env_id for prefix in names.SUITES if names.is_installed(prefix) for env_id in names.of_suite(prefix))
    return (*gymnax.ids(), *probes.ids(), *atari.ids(), *pools.ids(), *of_suites)


def check_id(env_id: str) -> None:
    """Refuses an unknown id; the message names the nearest. `module:Class` is not looked up yet."""
    if env_id.startswith(names.GYMNASIUM):
        from envs import gymnasium

        return gymnasium.check_id(env_id)
    if names.suite(env_id) is not None:
        return suites.check_id(env_id)
    # Ids of the others are known without importing envpool, which takes a second.
    if ":" in env_id or env_id in gymnax.ids() + probes.ids():
        return None
    suite = pools.suite(env_id)
    if (is_atari(env_id) and suite == atari.SUITE) or (suite is not None and env_id in pool_ids.ALL):
        return None
    if env_id in names.NEEDS_NETWORK:
        raise ValueError(f"{env_id} downloads its images when it is made, and is not offered")
    if suite is not None:
        offered = ", ".join(name.removeprefix("envpool.") for name in (atari.SUITE, *pool_ids.SUITES))
        raise ValueError(f"{env_id} is of envpool's {suite.removeprefix('envpool.')} suite; offered are {offered}")
    why = pools.why_not()
    without = f" (without Atari games and MuJoCo, since envpool cannot be imported: {why})" if why else ""
    raise ValueError(f"{names.unknown(env_id, ids())}{without}")


def make(env_id: str, num_envs: int, atari_config: AtariConfig | None = None) -> VectorEnv:
    """num_envs copies of an environment, stepped together.

    Args:
      env_id: one of `ids()`; `gymnasium:ID` for any environment of gymnasium, stepped on the host; or `module:name` for
        a class or function of your own with gymnax's interface (1.0). Whatever has a colon takes arguments:
        `module:name(size=8)`.
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
    if env_id.startswith(names.GYMNASIUM):
        from envs import gymnasium

        return gymnasium.make(env_id, num_envs)
    if names.suite(env_id) is not None:
        return suites.make(env_id, num_envs)
    if ":" in env_id:
        return gymnax.from_path(env_id, num_envs)
    if env_id in pool_ids.ALL:
        return pools.make(env_id, num_envs)
    return (probes if env_id in probes.ids() else gymnax).make(env_id, num_envs)
