"""Optimizers of an agent's parts: which there are, and at what rates."""

import dataclasses

import jax
import numpy as np
import pytest

from agents import SACConfig
from rlopt import cli
from rlopt.training import loop, presets
from rlopt.training.config import TrainConfig

HYPER = SACConfig(200, 4, learning_starts=16, replay_capacity=128, batch_size=8, hidden=(8,))
CONFIG = TrainConfig(agent="sac", env="Pendulum-v1", optimizer="sgd", optimizer_of={"critic": "adam"}, hyper=HYPER)


def test_a_part_has_an_optimizer_of_its_own_at_its_own_rate():
    def moved(config):
        agent = loop.make_agent(config)
        rate = np.float32(config.handed_rate)
        state = agent.init(jax.random.key(0), agent.hyperparams(rate))
        state = state._replace(iteration=state.iteration + HYPER.warmup_iterations)
        return jax.tree.map(np.subtract, agent.step(state)[0].params, state.params)

    both = moved(dataclasses.replace(CONFIG, optimizer_of={"critic": "adam:b1=0.5"}))
    adam = moved(dataclasses.replace(CONFIG, optimizer="adam", optimizer_of={}))
    sgd = moved(dataclasses.replace(CONFIG, optimizer_of={}))
    for a, b in zip(*map(jax.tree.leaves, (both["critic"], adam["critic"])), strict=True):
        # Adam's first step is as long whatever its decay.
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(both["temperature"], sgd["temperature"], rtol=1e-5)
    assert abs(sgd["temperature"]) > 10 * abs(adam["temperature"])


def test_parts_that_there_are_not_and_code_are_told():
    with pytest.raises(ValueError, match="sac has no part 'actr'; there are critic, actor, temperature"):
        dataclasses.replace(CONFIG, optimizer_of={"actr": "adam"}).check()
    with pytest.raises(ValueError, match="ppo has no part 'critic'; one optimizer trains all of it"):
        TrainConfig(optimizer_of={"critic": "adam"}).check()
    with pytest.raises(ValueError, match="unknown optimizer 'adm'"):
        loop.make_agent(dataclasses.replace(CONFIG, optimizer_of={"critic": "adm"}))
    assert dataclasses.replace(CONFIG, optimizer_of={"critic": "mine:make:b1=0.5"}).code == ("mine:make",)


def test_the_command_line_names_parts():
    words = ["sac", "--env", "Pendulum-v1", "--optimizer-of", "critic", "celo2", "temperature", "adam:b1=0.5"]
    train = cli._parse(["train", *words])
    assert train.config.optimizer_of == {"critic": "celo2", "temperature": "adam:b1=0.5"}
    assert train.config.hyper == presets.config("sac", "Pendulum-v1")
    compare = cli._parse(["compare", *words])
    assert compare.optimizer_of == train.config.optimizer_of
