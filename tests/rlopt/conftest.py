"""Run folders made up in a moment, for what reads them."""

import dataclasses

import numpy as np
import pytest

from agents import PPOConfig
from rlopt.runs import results
from rlopt.training.config import TrainConfig
from rlopt.training.loop import History


def _write(folder, config, final, stopped=None, intervals=5):
    """A finished run whose seeds rise linearly to their final returns."""
    final = np.asarray(final, np.float32)
    stopped = np.full(len(final), -1) if stopped is None else np.asarray(stopped)
    steps = config.hyper.total_steps // intervals * np.arange(1, intervals + 1)
    history = History(
        steps=steps,
        returns=final[:, None] * np.linspace(1 / intervals, 1, intervals, dtype=np.float32),
        lengths=np.ones((len(final), intervals), np.float32),
        final=final,
        stopped=stopped,
        metrics={},
        params={},
        compile_seconds=1.0,
        train_seconds=2.0,
        cpu_seconds=3.0,
        devices="1 x cpu",
    )
    config = dataclasses.replace(config, seeds=len(final))
    results.write_config(folder, config)
    results.write_summary(results.write_history(folder, config, history))
    return folder


@pytest.fixture
def write_run():
    return _write


@pytest.fixture
def made_up(write_run):
    """A function that writes a run with what a test says of it."""

    def write(folder, final, optimizer="adam", rate=0.01, env="CartPole-v1", seed=0, agent="ppo", **rest):
        config = TrainConfig(agent, env, optimizer, rate, seed=seed, hyper=PPOConfig(total_steps=1000))
        return write_run(folder, config, final, **rest)

    return write
