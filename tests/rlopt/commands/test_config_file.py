"""`--config`: a run's own file."""

import dataclasses
import json

import pytest

from rlopt import cli
from rlopt.runs import results
from rlopt.training.config import TrainConfig


def written(folder, **settings):
    config = TrainConfig(**settings)
    folder.mkdir()
    results.write_config(folder, config)
    return results.read_config(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"agent": "dqn", "env": "Acrobot-v1", "optimizer": "adamw", "options": {"weight_decay": 0.1}, "seeds": 3},
        {"optimizer": "celo", "options": {"share": 0.7}, "env": "Breakout-MinAtar"},
        {"env": "Pong-v5", "preset": "fast", "optimizer": "adam", "arm": "calm", "seed": 5},
        {"agent": "sac", "env": "Pendulum-v1", "optimizer": "adam", "optimizer_of": {"critic": "celo2"}},
    ],
)
def test_a_runs_own_file_starts_the_same_run_and_flags_win(tmp_path, settings):
    config = written(tmp_path / "run", **settings)
    assert cli._parse(["train", "--config", str(tmp_path / "run" / "config.json")]).config == config
    words = ["train", "--seeds", "2", "--config", str(tmp_path / "run"), "--total-steps", "999"]
    assert cli._parse(words).config == dataclasses.replace(
        config, seeds=2, hyper=dataclasses.replace(config.hyper, total_steps=999)
    )


def test_an_optimizers_own_settings_go_with_it(tmp_path):
    written(tmp_path / "run", optimizer="adamw", learning_rate=0.5, options={"b1": 0.8, "weight_decay": 0.1})
    words = ["train", "--config", str(tmp_path / "run")]
    same = cli._parse([*words, "--options", "b1", "0.7"]).config
    assert (same.options, same.learning_rate) == ({"b1": 0.7, "weight_decay": 0.1}, 0.5)
    other = cli._parse([*words, "--optimizer", "sgd"]).config
    assert (other.options, other.learning_rate) == ({}, None)


def test_a_sweeps_file_starts_the_same_sweep(tmp_path):
    config = written(tmp_path / "run", optimizer="adamw", rates=(0.1, 0.2), options={"b1": 0.8}, seeds=2)
    assert cli._parse(["sweep", "--config", str(tmp_path / "run")]).configs() == [config]
    with pytest.raises(ValueError, match="of a sweep of 2 rates; it goes with `rlopt sweep`"):
        cli._parse(["train", "--config", str(tmp_path / "run")])


def test_a_searchs_file_gives_all_but_its_trials(tmp_path):
    written(tmp_path / "run", optimizer="adamw", trials=({"b1": 0.8}, {"b1": 0.9}), seeds=2)
    words = ["sweep", "--config", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="of a search of 2 trials: give --grid or --space too"):
        cli._parse(words)
    (again,) = cli._parse([*words, "--grid", "b1", "0.8", "0.9"]).configs()
    assert (again.trials, again.seeds, again.optimizer) == (({"b1": 0.8}, {"b1": 0.9}), 2, "adamw")
    with pytest.raises(ValueError, match="of a search of 2 trials, each with a folder: name one"):
        cli._parse(["train", *words[1:]])


def test_files_that_cannot_be_used_are_refused(tmp_path):
    written(tmp_path / "run", env="own:Env", optimizer="adam")
    words = ["train", "--config", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="names 'own:Env', which is code"):
        cli._parse(words)
    assert cli._parse([*words, "--env", "own:Env"]).config.env == "own:Env"
    with pytest.raises(ValueError, match="is of agent ppo, which decides on all other settings, got dqn"):
        cli._parse(["train", "dqn", *words[1:]])
    for text in ("[1]", "{", json.dumps({"agent": "ppo"})):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.json"):
            cli._parse(["train", "--config", str(tmp_path / "bad.json")])
