"""Reinforcement-learning environments behind one vectorised, pure interface."""

from envs.atari_config import AtariConfig
from envs.base import Box, Discrete, EnvSpec, TimeStep, VectorEnv
from envs.registry import check_id, ids, make

__all__ = ["AtariConfig", "Box", "Discrete", "EnvSpec", "TimeStep", "VectorEnv", "check_id", "ids", "make"]
