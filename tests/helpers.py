"""What tests in several folders make up."""

from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

import celo2
from celo2.baselines import thetas
from metatrain.config import MetaTrainConfig
from rlopt.optimizers.catalog import OPTIMIZERS
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


def weights_for(optimizer: str, folder: Path) -> Path | None:
    """A file of random weights, as small as can be, for a rule that has none packaged; None for all others."""
    info = OPTIMIZERS.get(optimizer)
    if info is None or not info.learned or info.weights is not None:
        return None
    sizes = dict.fromkeys(thetas.BASELINES[info.rule].sizes, 4)
    path = folder / f"{optimizer}.theta"
    celo2.save_checkpoint(path, celo2.init_theta(info.rule, jax.random.key(0), **sizes))
    return path
