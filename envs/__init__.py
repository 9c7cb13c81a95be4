"""Reinforcement-learning environments behind one vectorised, pure interface."""

from envs.base import Box, Discrete, EnvSpec, TimeStep, VectorEnv
from envs.registry import check_id, ids, make

__all__ = ["Box", "Discrete", "EnvSpec", "TimeStep", "VectorEnv", "check_id", "ids", "make"]
