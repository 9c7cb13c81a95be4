"""A learned baseline on its way from meta-training into a run, as a user takes it."""

import json

import pytest

import celo2
from celo2 import checks


# That a rule goes this way is tried of Celo-Adam (tests/rlopt/test_cli.py); that baselines are trained, in tests/metatrain, and
# that they train, in tests/rlopt/optimizers.
@pytest.mark.slow
def test_a_baseline_is_meta_trained_and_trains_an_agent(tmp_path, command):
    small = ("--families", "digits", "--tasks-per-family", 1, "--hidden", 8, "--batch-size", 8, "--truncation", 5)
    lengths = ("--min-unroll", 5, "--max-unroll", 20, "--iterations", 2, "--validate-every", 0)
    done = command("metatrain", "nnadam", *small, *lengths, "--out", tmp_path / "meta")
    assert done.status == 0, done.err
    path = tmp_path / "meta" / "nnadam.theta"
    assert checks.rule_of(celo2.load_theta(path)) == "nnadam"
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["rule"], card["form"]["size"]) == ("nnadam", "unit")

    done = command("theta", "info", path)
    assert done.status == 0
    assert "theta of nnadam, 21,896 numbers" in done.out
    assert "\nform: " not in done.out
    assert "drawn are celo2, celo, celo_adam" in command("theta", "plot", path).err

    agent = ("--total-steps", 256, "--num-envs", 4, "--rollout-length", 32, "--seeds", 1, "--hidden", 8)
    out = ("--out", tmp_path / "run")
    assert "has no packaged weights" in command("train", "ppo", "--optimizer", "nnadam", *agent, *out).err
    done = command("train", "ppo", "--optimizer", "nnadam", "--theta", path, *agent, *out)
    assert done.status == 0, done.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["optimizer"] == "nnadam"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["options"]["share"] == 1


def test_settings_that_a_baseline_has_not_are_refused(command):
    done = command("metatrain", "velo", "--size", "adam")
    assert done.status == 2
    assert "size and momentum_decays are for celo2 and celo; velo has steps of its own" in done.err
