"""Flags as people write them."""

import re

import pytest

from rlopt import cli


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train --lr 3e-4", "train --learning-rate 3e-4"),
        ("sweep --lr 3e-4 1e-3", "sweep --learning-rates 3e-4 1e-3"),
        ("train --learning_rates 3e-4", "train --learning-rate 3e-4"),
        ("train --steps 1e6", "train --total-steps 1000000"),
        ("train dqn --steps=500k", "train dqn --total-steps 500000"),
        ("compare --total-steps 1.5M", "compare --total-steps 1500000"),
        ("benchmark --steps 2e5", "benchmark --steps 200000"),
        ("metatest --steps 1_000", "metatest --steps 1000"),
        ("train --hidden 1e2 64", "train --hidden 100 64"),
        ("train --anneal False", "train --no-anneal"),
        ("train --no-anneal --clip-value=true", "train --no-anneal --clip-value"),
        ("train --env Pong-v5 --atari.clip-rewards off", "train --env Pong-v5 --atari.no-clip-rewards"),
        ("train --optimizers adam", "train --optimizer adam"),
        ("watch a --members 3 4", "watch a --member 3 4"),
        ("compare --optimizer adam sgd", "compare --optimizers adam sgd"),
        ("benchmark --optimizer adam celo", "benchmark --optimizers adam celo"),
        ("resume --tensorboard True runs/x", "resume --tensorboard runs/x"),
        ("train --anneal ppo --seeds 4", "train ppo --anneal --seeds 4"),
        ("compare --learning-rates 1e-3 none", "compare ppo --learning-rates 1e-3 none"),
        ("train --target-kl None --lr 1e-3", "train --lr 1e-3"),
    ],
)
def test_what_is_meant_is_understood(written, meant):
    assert cli._parse(written.split()) == cli._parse(meant.split())


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("train --optimzer adam", "has no flag --optimzer; the nearest: --optimizer,"),
        ("train --zzz 3", "has no flag --zzz; `rlopt train --help` lists all"),
        ("train ppo --target-interval 3", "for this agent; dqn has it"),
        ("evaluate runs/x --epsodes 3", "has no flag --epsodes; the nearest: --episodes;"),
        ("train --steps 1.5", "--steps takes whole numbers up to"),
        ("train --no-anneal False", "--no-anneal takes no value; write --anneal or --no-anneal, got 'False'"),
        ("train ppo --seeds x", "--seeds takes whole numbers, such as 1000000, 1e6, 500k or 2M, got 'x'"),
        ("train ppo --steps 1e6x", "--steps takes whole numbers, .*, got '1e6x'"),
        ("train ppo --lr fast", "--lr takes numbers, got 'fast'"),
        ("sweep ppo --factors 0.1 1 ten", "--factors takes numbers, got 'ten'"),
        ("train ppo --anneal maybe", "--anneal is given as such, or with true or false, got 'maybe'"),
        ("train --optimizers adam sgd", "`rlopt compare` several; got adam sgd"),
    ],
)
def test_what_is_not_understood_is_explained(written, message):
    with pytest.raises(ValueError, match=message):
        cli._parse(written.split())


@pytest.mark.parametrize("command", [name for name in cli._COMMANDS if name != "theta"])
def test_every_flag_of_the_parser_is_known(command, capsys):
    with pytest.raises(SystemExit):
        cli._parse([command, "--help"])
    shown = set(re.findall(r"^[^\w\n-]*(--[a-z][a-z0-9.-]*\b)", capsys.readouterr().out, re.MULTILINE))
    assert shown or command in ("optimizers", "suites", "presets", "envs", "plot")
    known = cli.flags.of(cli._COMMANDS[command], cli.presets.CONFIGS["ppo"])
    for word in shown - {"--help"}:
        assert cli.flags.understood(command, [word], known) == [word]
