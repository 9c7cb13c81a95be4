"""What tests in several folders make up."""

import jax
import numpy as np
from jax.sharding import Mesh

from metatrain.config import MetaTrainConfig
from rlopt.training import placement

_SMALL = {
    "rule": "celo_adam",
    "iterations": 8,
    "families": ("digits",),
    "tasks_per_family": 1,
    "hidden": 8,
    "batch_size": 8,
    "truncation": 5,
    "min_unroll": 5,
    "max_unroll": 20,
}


def small_meta_training(**changes) -> MetaTrainConfig:
    """A meta-training run of milliseconds per iteration; Celo-Adam compiles in half the time of the other rules."""
    return MetaTrainConfig(**_SMALL | changes)


def one_device(members: int) -> Mesh:
    """In place of `placement.mesh_for`: a machine with one device."""
    return Mesh(np.asarray(jax.devices()[:1]), (placement.AXIS,))
