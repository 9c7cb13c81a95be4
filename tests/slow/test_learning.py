"""Learning runs of minutes: `make test-slow`."""

import os
import subprocess
import sys

import pytest

from rlopt import presets, training
from rlopt.config import TrainConfig
from rlopt.statistics import iqm

pytestmark = pytest.mark.slow


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("optimizer", ["celo2", "celo2_base", "adam"])
def test_cartpole_is_solved_at_the_default_rate(optimizer):
    config = TrainConfig(env="CartPole-v1", optimizer=optimizer, seeds=8, hyper=presets.config("ppo", "CartPole-v1"))
    history = training.train(config, progress=False)
    assert history.steps[-1] <= 500_000
    assert iqm(history.final) >= 475


CHILD = """
import dataclasses, sys
import numpy as np
from rlopt import runtime
runtime.configure(num_devices=1)
from rlopt import training
from rlopt.config import TrainConfig
from rlopt import presets
hyper = dataclasses.replace(presets.config("ppo", sys.argv[1]), total_steps=100_000)
history = training.train(TrainConfig(env=sys.argv[1], optimizer="adam", seeds=4, hyper=hyper), progress=False)
assert np.all(np.isfinite(history.metrics["loss"]))
"""


@pytest.mark.parametrize("env_id", ["Freeway-MinAtar", "SpaceInvaders-MinAtar"])
def test_four_vmapped_seeds_on_one_device_do_not_hang(env_id):
    # With LAPACK's batched QR in the program these two hung for ever on two cores.
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    subprocess.run([sys.executable, "-c", CHILD, env_id], env=environment, check=True, timeout=500)
