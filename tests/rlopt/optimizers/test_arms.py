"""Optimizers under names and with options of their own, in every command that compares."""

import re

import pytest

from rlopt.benchmark import protocol
from rlopt.benchmark.plan import Plan
from rlopt.optimizers import arms
from rlopt.runs import results

TINY = ["--total-steps", "2048", "--num-envs", "4", "--rollout-length", "32", "--minibatches", "2", "--hidden", "8"]


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("celo2", ("celo2", "celo2", {})),
        ("plain=celo2:odd=false,size=unit", ("plain", "celo2", {"odd": "false", "size": "unit"})),
        ("celo2:multiplier=5", ("celo2:multiplier=5", "celo2", {"multiplier": 5.0})),
        ("mine=my.module:function", ("mine", "my.module:function", {})),
        ("my.module:function", ("my.module:function", "my.module:function", {})),
        ("mine=my.module:function:b1=1e-3", ("mine", "my.module:function", {"b1": 1e-3})),
        ("slow=adam", ("slow", "adam", {})),
    ],
)
def test_an_arm_is_read(text, arm):
    assert arms.parse(text) == arm


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b=adam", "a name may have letters, digits, dots, dashes and underscores, got 'a b'"),
        ("=adam", "got ''"),
        ("x=", "'x=' names no optimizer"),
        ("celo2:odd=", "options are written OPTION=VALUE,OPTION=VALUE, got 'odd='"),
        ("celo2:odd=1,size", "got 'size'"),
        ("celo2:odd=1,odd=0", "option odd is given twice"),
    ],
)
def test_what_is_no_arm_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        arms.parse(text)


def test_names_are_given_once():
    with pytest.raises(ValueError, match=r"'adam' twice; NAME=adam:OPTION=VALUE gives it another name"):
        arms.parse_all(["adam", "celo2", "adam"])
    with pytest.raises(ValueError, match="at least one optimizer, got none"):
        arms.parse_all([])


@pytest.mark.slow
def test_the_same_optimizer_is_compared_under_two_names(tmp_path, command):
    words = ["compare", "ppo", "--optimizers", "adam", "steady=adam:b2=0.99", *TINY, "--seeds", "2"]
    done = command(*words, "--options", "b1", "0.8", "--out", tmp_path / "run")
    assert done.status == 0
    runs = {run.folder.name: run for run in results.find_runs([tmp_path / "run"])}
    assert {name: run.summary["optimizer"] for name, run in runs.items()} == {"adam": "adam", "steady": "steady"}
    configs = {name: results.read_config(run.folder) for name, run in runs.items()}
    assert configs["adam"].options == {"b1": 0.8}
    assert (configs["steady"].optimizer, configs["steady"].options) == ("adam", {"b1": 0.8, "b2": 0.99})
    assert "steady" in done.out


def test_a_single_run_takes_an_arm_and_goes_on_as_one(tmp_path, command):
    words = ["train", "ppo", "--optimizer", "fast=adam:b2=0.99", *TINY, "--seeds", "1", "--out", tmp_path / "a"]
    assert command(*words).status == 0
    assert results.read_run(tmp_path / "a").summary["optimizer"] == "fast"
    assert results.read_config(tmp_path / "a").title == "fast"


def test_an_option_that_the_arms_optimizer_lacks_is_named(tmp_path, command):
    done = command("compare", "ppo", "--optimizers", "x=adam:b3=1", "--out", tmp_path / "a")
    assert done.status == 2
    assert "unknown option of adam 'b3'" in done.err
    assert not (tmp_path / "a").exists()


def test_a_benchmark_keeps_arms_apart(tmp_path):
    plan = Plan(optimizers=("celo2", "plain=celo2:odd=false,size=unit"), options={"b2": 0.99})
    assert plan.all_optimizers == ("adam", "celo2", "plain")
    plan.check()
    config = plan.tuning_config("plain", "CartPole-v1")
    assert (config.optimizer, config.title) == ("celo2", "plain")
    assert config.options == {"b2": 0.99, "odd": "false", "size": "unit"}
    assert protocol.place(tmp_path, "final", "CartPole-v1", "plain").name == "plain"
    protocol.write_plan(tmp_path / "b", plan)
    with pytest.raises(ValueError, match="'plain' twice"):
        protocol.write_plan(tmp_path / "b", Plan(optimizers=("plain=celo2:odd=true",), options={"b2": 0.99}))
