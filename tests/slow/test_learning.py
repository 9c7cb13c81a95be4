"""Learning runs of minutes: `make test-slow`."""

import numpy as np
import pytest

from rlopt import training
from rlopt.config import TrainConfig
from rlopt.presets import ppo_config
from rlopt.statistics import iqm

pytestmark = pytest.mark.slow


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("optimizer", ["celo2", "celo2_base", "adam"])
def test_cartpole_is_solved_at_the_default_rate(optimizer):
    config = TrainConfig(env="CartPole-v1", optimizer=optimizer, seeds=8, hyper=ppo_config("CartPole-v1"))
    history = training.train(config, progress=False)
    assert history.steps[-1] <= 500_000
    assert iqm(history.final) >= 475


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("env_id", ["Freeway-MinAtar", "SpaceInvaders-MinAtar"])
def test_vmapped_minatar_does_not_hang(env_id):
    import dataclasses

    hyper = dataclasses.replace(ppo_config(env_id), total_steps=200_000)
    history = training.train(TrainConfig(env=env_id, optimizer="adam", seeds=4, hyper=hyper), progress=False)
    assert np.all(np.isfinite(history.metrics["loss"]))
