"""Tasks of mujoco_playground (Zakka et al., arXiv 2502.08844): MuJoCo in JAX. Only those that need no further files.

Its robots for walking and grasping are of MuJoCo's menagerie, which the package clones from the network at first use.
"""

from typing import Any

from mujoco_playground import registry
from mujoco_playground._src import mjx_env

from envs.suites import brax
from envs.suites.adapter import Adapter


def knows(name: str) -> bool:
    """Whether the package has an environment of the name."""
    return name in registry.ALL_ENVS


def make(name: str, **arguments: Any) -> Adapter:
    """arguments: overrides of the task's configuration, such as `episode_length=500`.

    Raises:
      ValueError: for a task whose robot would be downloaded.
    """
    if name not in registry.dm_control_suite.ALL_ENVS and not mjx_env.MENAGERIE_PATH.exists():
        raise ValueError(
            f"playground:{name} needs the robots of mujoco_menagerie, which mujoco_playground clones from GitHub when "
            f"it is made; clone it yourself into {mjx_env.MENAGERIE_PATH} first"
        )
    # On a GPU too, "warp" would run outside XLA's hands.
    config = registry.get_default_config(name)
    overrides = {"impl": "jax"} | arguments if "impl" in config else arguments
    env = registry.load(name, config_overrides=overrides)
    return brax.adapted(env, int(overrides.get("episode_length", config.episode_length)))
