"""Meta-training at several outer learning rates with several seeds: the same runs as alone, and the best of them."""

import dataclasses
import json
import re

import numpy as np
import pytest

import celo2
from helpers import ask_to_stop, set_up_already, small_meta_training
from metatrain import outer, validation
from rlopt import cli
from rlopt.metatraining import grid, trainer

CONFIG = small_meta_training(iterations=4, outer_schedule="inverse_sqrt", outer_hold=2)
RATES, SEEDS = (1e-2, 3e-2), (0, 1)

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def score():
    """A meta-validation of milliseconds."""
    return validation.make("celo_adam", specs=("digits_inverted",), steps=20, problems=1, hidden=8)


def train(score, out, rates=RATES, seeds=SEEDS, config=CONFIG, **options):
    """A grid with checkpoints and meta-validations every two iterations."""
    every = {"checkpoint_every": 2, "validate_every": 2, "log_every": 2, "progress": False}
    return grid.train(config, rates, seeds, out, score=score, **every | options)


@pytest.fixture(scope="module")
def finished(score, tmp_path_factory):
    """A grid that came to its end: its outcomes and its folder."""
    out = tmp_path_factory.mktemp("grid")
    return train(score, out), out


def weights(folder):
    """The bytes of all theta files below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.theta")}


def test_a_run_of_a_grid_is_the_same_as_by_itself(finished, score, tmp_path):
    outcomes, _ = finished
    config, folder = outcomes[3].member
    assert (config.outer_learning_rate, config.seed) == (3e-2, 1)
    alone = dataclasses.replace(CONFIG, outer_learning_rate=3e-2, seed=1)
    every = {"checkpoint_every": 2, "validate_every": 2, "log_every": 2, "progress": False}
    trainer.train(alone, tmp_path / "alone", score=score, **every)
    assert weights(tmp_path / "alone") == weights(folder)
    assert len({path.read_bytes() for path in folder.parent.glob("rate-*/celo_adam.theta")}) == 4


def test_runs_of_a_grid_share_what_is_compiled():
    first, second = outer.make_programs(CONFIG, [(1e-2, 0), (3e-2, 1)])
    for name in ("init", "step", "refresh"):
        assert getattr(first, name).func is getattr(second, name).func


def test_the_best_weights_lie_beside_the_runs(finished):
    outcomes, out = finished
    losses = [outcome.loss for outcome in outcomes]
    best = grid.best(outcomes)
    assert best.loss == min(losses)
    assert best.loss == json.loads((out / "celo_adam.best.json").read_text())["validation"]["loss"]
    assert (out / "celo_adam.best.theta").read_bytes() == (best.member.folder / "celo_adam.best.theta").read_bytes()
    assert celo2.load_checkpoint(out / "celo_adam.best.theta")
    runs = json.loads((out / grid.GRID).read_text())["runs"]
    assert [run["validation_loss"] for run in runs] == losses
    lines = grid.table(outcomes)
    assert sum("*" in line for line in lines) == 1
    assert f"| 0.01 | mean of 2 | {np.mean(losses[:2]):.4f} | |" in lines


def test_a_grid_that_was_stopped_is_resumed_and_may_grow(finished, score, tmp_path):
    calls = []

    def and_stop(theta):
        calls.append(theta)
        if len(calls) == 3:  # within the second run
            ask_to_stop()
        return score(theta)

    stopped = train(and_stop, tmp_path, seeds=(0,))
    assert [outcome.stopped for outcome in stopped] == [False, True]
    train(score, tmp_path, seeds=(0,))
    train(score, tmp_path)
    assert weights(tmp_path) == weights(finished[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": (1e-2, 1e-2)}, "outer learning rates must be different from each other, and one at least"),
        ({"seeds": ()}, "seeds must be different from each other, and one at least, got []"),
        ({"rates": (-1.0,)}, "outer_learning_rate must be positive and finite, got -1.0"),
        ({"validate_every": 0}, "validate_every must be from 1 to iterations (4), got 0"),
        ({"validate_every": 6}, "validate_every must be from 1 to iterations (4), got 6"),
    ],
)
def test_impossible_grids_are_refused_before_anything_is_written(score, tmp_path, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(score, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_folders_of_something_else_are_refused(finished, score, tmp_path):
    _, out = finished
    with pytest.raises(ValueError, match=r"belongs to other settings \(std: 0.01 there, 0.02 here\)"):
        train(score, out, config=dataclasses.replace(CONFIG, std=0.02))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is neither empty nor a grid of meta-training"):
        train(score, tmp_path)


@pytest.mark.parametrize("flag", ["--seed", "--outer-learning-rate"])
def test_one_and_several_exclude_each_other(flag, capsys):
    several = {"--seed": ["--seeds", "0", "1"], "--outer-learning-rate": ["--outer-learning-rates", "0.1", "0.2"]}
    assert cli.main(["metatrain", "celo2", flag, "3", *several[flag]], set_up_already) == 2
    assert "exclude each other" in capsys.readouterr().err
