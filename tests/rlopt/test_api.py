"""From Python as from the command line."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import optax
import pandas as pd
import pytest

import celo2
import rlopt
from agents import registry
from agents.configs import CONFIGS
from rlopt import cli
from rlopt.runs import results
from rlopt.training import presets, runtime

SMALL = {"total_steps": 1024, "hidden": (8,)}


def own_sgd(learning_rate, momentum=0.0):
    return optax.sgd(learning_rate, momentum)


@pytest.mark.parametrize(("agent", "env"), [("ppo", "Breakout-MinAtar"), ("dqn", "CartPole-v1"), ("ppo", "Pong-v5")])
def test_what_is_not_given_is_the_presets(agent, env):
    config = rlopt.TrainConfig(agent=agent, env=env, optimizer="adam")
    parsed = cli._parse(["train", agent, "--env", env, "--optimizer", "adam"]).config
    assert config == parsed
    assert config.hyper == presets.config(agent, env)
    assert config.resolved_learning_rate == parsed.resolved_learning_rate
    config.check()


def test_the_fast_preset_is_that_of_its_images_too():
    config = rlopt.TrainConfig(env="Pong-v5", preset="fast")
    assert config == cli._parse(["train", "ppo", "--env", "Pong-v5", "--preset", "fast"]).config
    assert config.atari.image_size == 42


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="unknown agent 'pop'; there are ppo, "):
        rlopt.TrainConfig(agent="pop")
    with pytest.raises(ValueError, match="unknown setting 'totalsteps'; the closest are total_steps, "):
        rlopt.configured(totalsteps=3)
    with pytest.raises(ValueError, match="env decides on other settings"):
        rlopt.configured(rlopt.TrainConfig(), env="Acrobot-v1")


def test_functions_are_optimizers():
    assert rlopt.TrainConfig(optimizer=optax.adam).optimizer == "optax:adam"
    assert rlopt.TrainConfig(optimizer=celo2.celo2).optimizer == "celo2:celo2"
    for wrong in (lambda rate: optax.sgd(rate), optax.adam(1e-3), 3):
        with pytest.raises(ValueError, match=r"optimizer must be a name .* such as optax.adam; got"):
            rlopt.TrainConfig(optimizer=wrong)


def test_settings_of_both_levels_in_one_call():
    config = rlopt.configured(env="Acrobot-v1", optimizer="celo2", seeds=3, **SMALL)
    assert (config.env, config.seeds, config.hyper.total_steps, config.hyper.hidden) == ("Acrobot-v1", 3, 1024, (8,))
    usual = presets.config("ppo", "Acrobot-v1")
    assert config.hyper == dataclasses.replace(usual, **SMALL)
    assert rlopt.configured(config, seeds=2, gamma=0.5).hyper.gamma == 0.5


def test_every_agent_has_a_configuration_and_settings_are_of_agents():
    assert list(registry.AGENTS) == list(CONFIGS)


@pytest.mark.usefixtures("shared_programs")
def test_a_run_from_python_is_one_of_the_command_line(tmp_path, command):
    run = rlopt.train(
        out=tmp_path / "python", progress=False, optimizer=optax.adam, learning_rate=1e-3, seeds=2, **SMALL
    )
    words = ["train", "ppo", "--optimizer", "optax:adam", "--learning-rate", "1e-3", "--seeds", "2"]
    words += ["--total-steps", "1024", "--hidden", "8", "--out", tmp_path / "line"]
    done = command(*words)
    assert done.status == 0
    said = [line for line in done.err.replace("\r", "\n").splitlines() if line.strip()]
    assert said[0] == f"run folder: {tmp_path / 'line'}"
    assert said[1].startswith("compiling PPO for 2 members on ")
    assert ", once: optax:adam on CartPole-v1" in said[1]
    again = command(*words)  # a finished run is read
    assert again.status == 0
    assert again.out.replace("\n", "") == done.out.replace("\n", "")
    other = rlopt.load_run(tmp_path / "line")
    np.testing.assert_array_equal(run.returns, other.returns)
    one, two = (json.loads((tmp_path / name / results.CONFIG).read_text()) for name in ("python", "line"))
    assert one == two
    assert rlopt.load_config(tmp_path / "python").optimizer == "optax:adam"
    frame = rlopt.to_dataframe(rlopt.find_runs(tmp_path))
    assert list(frame.columns[:6]) == ["run", "agent", "env", "optimizer", "learning_rate", "seed"]
    assert len(frame) == 2 * run.returns.size
    mine = frame[frame["run"] == str(tmp_path / "python")]
    for seed in (0, 1):
        np.testing.assert_array_equal(mine[mine["seed"] == seed]["return"], run.returns[seed])
        np.testing.assert_array_equal(mine[mine["seed"] == seed]["step"], run.steps)
    assert not frame["stopped"].any()
    pd.testing.assert_frame_equal(rlopt.to_dataframe(run), mine.reset_index(drop=True))


def test_public_names_load_without_jax():
    code = (
        "import sys, rlopt; c = rlopt.TrainConfig(env='Pong-v5'); rlopt.train; print('jax' in sys.modules, dir(rlopt))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert told.startswith("False ['TrainConfig', 'configure', 'configured', 'find_runs'")


def test_a_late_configure_warns_and_goes_on(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.warns(RuntimeWarning, match="jax has been imported already"):
        runtime.configure()
