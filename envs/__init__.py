"""Reinforcement-learning environments behind one vectorised, pure interface.

Names load on first use: `envs.atari_config` can be read without importing jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.atari_config import AtariConfig, is_atari
    from envs.base import Box, Discrete, EnvSpec, TimeStep, VectorEnv
    from envs.gymnax import from_gymnax
    from envs.registry import check_id, ids, make

_WHERE = {
    "AtariConfig": "envs.atari_config",
    "Box": "envs.base",
    "Discrete": "envs.base",
    "EnvSpec": "envs.base",
    "TimeStep": "envs.base",
    "VectorEnv": "envs.base",
    "check_id": "envs.registry",
    "from_gymnax": "envs.gymnax",
    "ids": "envs.registry",
    "is_atari": "envs.atari_config",
    "make": "envs.registry",
}
__all__ = [
    "AtariConfig",
    "Box",
    "Discrete",
    "EnvSpec",
    "TimeStep",
    "VectorEnv",
    "check_id",
    "from_gymnax",
    "ids",
    "is_atari",
    "make",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
