"""The command line as a person meets it."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jax
import numpy as np
import pytest

import celo2
from agents import PPOConfig
from helpers import SMALL_META
from rlopt import cli
from rlopt.play import evaluation
from rlopt.runs import experiment, results
from rlopt.training import loop, presets
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SMALL = PPOConfig(total_steps=2048, num_envs=4, rollout_length=32, minibatches=2, hidden=(8,))
TINY = ["--total-steps", "2048", "--num-envs", "4", "--rollout-length", "32", "--minibatches", "2", "--hidden", "8"]


def rlopt(*arguments, cwd, program=(sys.executable, "-m", "rlopt")):
    environment = {k: v for k, v in os.environ.items() if k != "NPROC"} | {"XLA_FLAGS": os.environ["CHILD_XLA_FLAGS"]}
    return subprocess.run([*program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("command", [[], ["train"], ["compare"], ["sweep"], ["metatrain"]])
def test_help_needs_no_jax(command):
    code = "import sys, rlopt.cli\ntry:\n rlopt.cli.main(sys.argv[1:])\nfinally:\n print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "usage: rlopt" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "ppo", "--optimizer", "adamm"], "unknown optimizer 'adamm'; there are adam, radam, adamw"),
        (["train", "pppo"], "unknown agent 'pppo'; there are ppo"),
        (["train", "ppo", "--env", "CartPole-v2"], "unknown environment 'CartPole-v2'; the nearest are CartPole-v1,"),
        (["train", "ppo", "--seeds", "0"], "seeds must be at least 1, got 0"),
        (["train", "ppo", "--learning-rate", "-1"], "learning_rate must be positive and finite, got -1.0"),
        (["train", "ppo", "--minibatches", "3"], "does not divide into 3 minibatches"),
        (["train", "ppo", "--theta", "no.theta"], "No such file or directory: 'no.theta'"),
        (["compare", "ppo", "--optimizers", "adam", "--learning-rates", "1", "2"], "give one for each, or none"),
        (["compare", "ppo", "--optimizers", "adam", "adam"], "each optimizer may be named once"),
        (["compare", "ppo", "--optimizers", "adamm"], "unknown optimizer 'adamm'"),
        (
            ["compare", "ppo", "--optimizers", "adam", "sgd", "--options", "weight_decay", "1"],
            "none of adam, sgd has an option 'weight_decay'; there are b1, b2, eps, schedule, warmup, head, momentum",
        ),
        (
            ["sweep", "ppo", "--optimizers", "adam", "--theta", "celo2", "x.theta"],
            "theta was given for 'celo2', which is not compared; there are adam",
        ),
        (["compare", "ppo", "--optimizers", "adam", "--theta", "adam", "x.theta"], "'adam' has no weights to load"),
        (["compare", "ppo", "--optimizers", "celo", "--learning-rates", "1"], "celo takes no learning rate, got 1.0"),
        (["train", "ppo", "--seed", "5000000000"], "seed must lie in [0, 2**32 - seeds], got 5000000000"),
        (["train", "ppo", "--theta", "."], "not a regular file"),
        (["train", "ppo", "--optimizer", "celo", "--learning-rate", "1"], "celo takes no learning rate, got 1.0"),
        (["train", "dqn", "--learning-starts", "5"], "learning_starts (5) must be at least batch_size (128)"),
        (["train", "pqn", "--env", "Pendulum-v1"], "pqn needs discrete actions; Pendulum-v1 has Box"),
        (["train", "ppo", "--env", "nowhere:Env"], "cannot make an environment from 'nowhere:Env'"),
        (["train", "--optimizer", "adam", "dqn", "--learning-starts", "5"], "learning_starts (5) must be at least"),
        (["train", "ppo", "--tracker-wait", "-1"], "tracker_wait must lie in [0, 86400] seconds, got -1.0"),
        (["metatrain", "celo3"], "unknown rule 'celo3'; there are celo"),
        (["metatrain", "celo2", "--std", "0"], "std must be positive and finite, got 0.0"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, said = command(*arguments)
    assert status == 2
    assert message in said
    assert said.startswith("rlopt: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_theta_file_is_refused_with_the_reason(tmp_path, command):
    (tmp_path / "bad.theta").write_bytes(b"\x81\xa1x")
    status, _, said = command("train", "ppo", "--theta", tmp_path / "bad.theta")
    assert status == 2
    assert "bad.theta: not a flax-msgpack theta file, or cut short" in said


def test_compare_leaves_complete_run_folders_a_table_and_a_plot(tmp_path, command):
    words = ["compare", "ppo", "--optimizers", "celo2", "adam", "--seeds", "3", "--out", tmp_path / "run", *TINY]
    done = command(*words)
    assert done.status == 0, done.err
    assert "celo2" in done.out
    assert "95 % interval" in done.out
    plot = tmp_path / "run" / "plots" / "learning_curves.png"
    assert plot.read_bytes().startswith(b"\x89PNG")
    for name in ("celo2", "adam"):
        run = results.read_run(tmp_path / "run" / name)
        assert run.returns.shape == (3, len(run.steps))
        assert run.steps[-1] == 2048
        assert run.final.shape == (3,)
        summary = run.summary
        assert (summary["optimizer"], summary["env_id"], summary["seeds"]) == (name, "CartPole-v1", 3)
        assert summary["final_return_ci95"][0] <= summary["final_return_iqm"] <= summary["final_return_ci95"][1]
        rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == run.steps.tolist()
        assert len(rows[0]["return"]) == 3
        config = json.loads((run.folder / "config.json").read_text())
        assert config["seed_list"] == [0, 1, 2]
        assert config["hyper"]["total_steps"] == 2048
        assert "jax" in config["packages"]
        assert config["theta_sha256"] == (celo2_card_hash() if name == "celo2" else None)
    again = command("compare", "ppo", "--optimizers", "rmsprop", "adam", "--out", tmp_path / "run", *TINY)
    assert again.status == 2
    assert "run/adam belongs to other settings (seeds: 3 there, 8 here)" in again.err
    assert not (tmp_path / "run" / "rmsprop").exists()


def celo2_card_hash():
    return json.loads((resources.files("celo2.weights") / "celo2.json").read_text())["sha256"]


# Others are faster: `tests/agents` has members side by side, `tests/rlopt/runs` each on its device.
@pytest.mark.slow
def test_seeds_are_independent_of_their_company():
    config = TrainConfig(optimizer="adam", learning_rate=1e-3, hyper=SMALL)
    few, many = (loop.train(dataclasses.replace(config, seeds=n), progress=False).returns for n in (2, 10))
    np.testing.assert_allclose(few[:, :3], many[:2, :3], rtol=1e-4)


@pytest.mark.usefixtures("shared_programs")
def test_metatrain_writes_theta_and_continues(tmp_path, command):
    words = ["metatrain", "celo_adam", *SMALL_META, "--validate-every", "0", "--out", tmp_path / "meta", "--iterations"]
    assert command(*words, "2").status == 0
    assert (tmp_path / "meta" / "celo_adam.theta").exists()
    assert (tmp_path / "meta" / "plots" / "meta_loss.png").exists()
    assert command(*words, "3").status == 0
    assert json.loads((tmp_path / "meta" / "celo_adam.json").read_text())["iterations"] == 3
    weights = ["--optimizer", "celo_adam", "--theta", tmp_path / "meta" / "celo_adam.theta"]
    assert command("train", "ppo", *weights, *TINY, "--seeds", "1", "--out", tmp_path / "run").status == 0
    recorded = json.loads((tmp_path / "run" / results.CONFIG).read_text())
    assert recorded["theta_sha256"] == json.loads((tmp_path / "meta" / "celo_adam.json").read_text())["sha256"]


# An attack (tests/reliability) trains on such a class too, by `python -m rlopt`.
@pytest.mark.slow
def test_a_class_in_the_current_folder_is_an_environment(tmp_path):
    (tmp_path / "own_env.py").write_text(
        "from gymnax.environments.classic_control.cartpole import CartPole\nclass Mine(CartPole):\n    pass\n"
    )
    script = Path(sys.executable).with_name("rlopt")
    flags = ["--env", "own_env:Mine", "--optimizer", "adam", "--seeds", "3", *TINY, "--out", "run"]
    done = rlopt("train", "ppo", *flags, cwd=tmp_path, program=[script])
    assert done.returncode == 0, done.stderr
    assert results.read_run(tmp_path / "run").summary["env_id"] == "own_env:Mine"


def test_each_optimizer_of_a_comparison_gets_the_options_weights_and_rates_that_are_its_own(tmp_path, monkeypatch):
    (tmp_path / "own_rule.py").write_text("import optax\ndef rule(rate, b1=0.5):\n    return optax.adam(rate, b1=b1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = ["--optimizers", "adamw", "sgd", "celo2", "celo", "own_rule:rule", "--theta", "celo2", "mine.theta"]
    settings += ["--options", "weight_decay", "0.3", "b1", "0.8", "momentum", "0.7"]
    words = [*settings, "--learning-rates", "0.1", "none", "0.2", "none", "0.3"]
    compared = cli._parse(["compare", "ppo", *words]).configs()
    adam_like = {"weight_decay": 0.3, "b1": 0.8}
    wanted = [adam_like, {"momentum": 0.7}, adam_like, {"share": 1 / 3}, {"b1": 0.8}]
    assert [config.options for config in compared] == wanted
    assert [config.theta for config in compared] == [None, None, Path("mine.theta"), None, None]
    assert [config.learning_rate for config in compared] == [0.1, None, 0.2, None, 0.3]
    words = [*settings[:-1], "0.6", "--optimizers", "sgd", "celo2", "adamw"]
    swept = cli._parse(["sweep", "ppo", *words]).configs()
    assert [config.options for config in swept] == [{"momentum": 0.6}, adam_like, adam_like]
    assert swept[1].theta == Path("mine.theta")


def test_a_finished_run_can_be_evaluated_and_others_are_refused(tmp_path, monkeypatch, command):
    config = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, hyper=SMALL)
    experiment.run(config, tmp_path / "run", progress=False)
    monkeypatch.chdir(tmp_path)
    greedy = evaluation.evaluate(Path("run"), episodes=5)
    assert greedy.shape == (2, 5)
    assert np.all((greedy >= 8) & (greedy <= 500))
    status, shown, _ = command("evaluate", "run", "--episodes", "5")
    assert status == 0
    assert f"{greedy[0].mean():.1f}" in shown
    for words in (("run", ".", "--sampled"), (".", "--max-steps", "3")):  # "." holds one run
        assert command("evaluate", *words, "--episodes", "5").status == 0
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())["evaluations"]
    assert [(one["greedy"], one["max_steps"]) for one in kept] == [(True, None), (False, None), (True, 3)]
    np.testing.assert_array_equal(kept[0]["returns"], greedy)
    assert not np.array_equal(kept[1]["returns"], greedy)
    assert kept[0]["seeds"] == [0, 1]
    assert kept[0]["ci95"][0] <= kept[0]["iqm"] <= kept[0]["ci95"][1]
    assert kept[2]["mean_returns"] == [None, None]  # nobody falls within three steps
    assert kept[2]["iqm"] is None
    config = tmp_path / "run" / results.CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | {"optimizer": "celo2", "theta": "gone.theta"}))
    # Playing needs the trained networks, not the weight file of the rule that trained them.
    np.testing.assert_array_equal(greedy, evaluation.evaluate(Path("run"), episodes=5))
    (tmp_path / "run" / "params.msgpack").write_bytes(b"\x81\xa1x")
    for arguments, message in (
        (["evaluate", "nowhere"], "nowhere holds no run"),
        (["evaluate", "run", "--episodes", "0"], "episodes must be at least 1, got 0"),
        (["evaluate", "run", "--max-steps", "0"], "max_steps must be at least 1, got 0"),
        (["evaluate", "run"], "params.msgpack cannot be read"),
    ):
        status, _, said = command(*arguments)
        assert status == 2
        assert message in said


def test_listings(command):
    assert "celo2_base" in command("optimizers").out
    known = command("envs").out.splitlines()
    assert "Breakout-MinAtar" in known
    presets_shown = command("presets").out.splitlines()
    assert "ppo   Breakout-MinAtar                       10,000,000 steps   adam 0.005" in presets_shown
    assert "ppo   any Atari game, fast                    1,300,000 steps   adam 0.0008" in presets_shown
    assert {env_id for _, env_id in presets.PRESETS} <= set(known)


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["dqn", "pqn"])
def test_value_learners_train_with_a_rule_that_schedules_itself(tmp_path, agent, command):
    celo2.save_checkpoint(tmp_path / "mine.theta", celo2.init_theta("celo_adam", jax.random.key(0)))
    sizes = {
        "dqn": ["--total-steps", "2000", "--learning-starts", "200", "--hidden", "8"],
        "pqn": ["--total-steps", "4096", "--hidden", "8"],
    }[agent]
    flags = ["--optimizer", "celo_adam", "--theta", tmp_path / "mine.theta", "--seeds", "2", *sizes]
    done = command("train", agent, *flags, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    run = results.read_run(tmp_path / "run")
    assert run.summary["learning_rate"] is None
    assert run.summary["agent"] == agent
    assert np.all(np.isfinite(run.final))
