"""Learning runs of minutes: `make test-slow`."""

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
