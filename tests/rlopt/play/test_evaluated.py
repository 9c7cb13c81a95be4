"""What is kept of an evaluation, and its tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rlopt.play.evaluated import Evaluated, check, keep, runs_table, seeds_table, write
from rlopt.training.config import TrainConfig

RETURNS = np.asarray([[1.0, 2, 3], [4, np.nan, 6], [7, 8, 9], [1, 1, 1]])


def evaluated(folder, returns=RETURNS, **settings):
    told = {"episodes": returns.shape[1], "greedy": True, "seed": 0, "max_steps": None} | settings
    return Evaluated(folder, TrainConfig(seeds=len(returns), seed=5), told, returns)


def shown(table):
    console = Console(width=200, record=True)
    console.print(table)
    return [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]


def test_means_are_of_the_episodes_that_were_over(tmp_path):
    found = evaluated(tmp_path)
    np.testing.assert_allclose(found.means, [2, 5, 8, 1])
    assert found.interval.estimate == 3.5
    assert evaluated(tmp_path, np.full((2, 3), np.nan)).interval is None


def test_an_evaluation_of_other_settings_is_kept_and_one_of_the_same_replaced(tmp_path):
    for seed in (0, 1, 0):
        path = write(evaluated(tmp_path, RETURNS + seed, seed=seed))
    kept = json.loads(path.read_text())["evaluations"]
    assert [one["seed"] for one in kept] == [1, 0]
    assert kept[1]["returns"][1] == [4, None, 6]
    assert kept[1]["mean_returns"] == [2, 5, 8, 1]
    assert kept[1]["seeds"] == [5, 6, 7, 8]


@pytest.mark.parametrize("content", ["[]", "{}", '{"evaluations": [1]}', "{"])
def test_what_is_no_evaluation_there_is_left_alone(tmp_path, content):
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    for use in (lambda: check(tmp_path), lambda: write(evaluated(tmp_path))):
        with pytest.raises(ValueError, match=r"evaluation\.json"):
            use()
    assert path.read_text() == content


def test_parameters_that_were_not_kept_are_refused_before_anything_is_played(tmp_path):
    check(tmp_path)
    with pytest.raises(ValueError, match="has no parameters 'best'; it has final"):
        check(tmp_path, "best")


def test_a_folder_that_cannot_be_written_to_costs_only_the_file(tmp_path):
    check(tmp_path)
    (tmp_path / "file").touch()
    found = evaluated(tmp_path / "file" / "run")
    with pytest.raises(OSError, match="Not a directory"):
        write(found)
    with pytest.warns(RuntimeWarning, match=r"run.evaluation\.json is not written: .*Not a directory"):
        keep(found)


def test_no_link_is_written_through(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evaluation.json").symlink_to(tmp_path / "elsewhere")
    for use in (lambda: check(tmp_path / "run"), lambda: write(evaluated(tmp_path / "run"))):
        with pytest.raises(ValueError, match="link"):
            use()
    assert not (tmp_path / "elsewhere").exists()


def test_tables(tmp_path):
    lines = shown(seeds_table(evaluated(tmp_path)))
    assert "6 5.0 4.0 6.0 1" in lines
    assert "IQM 3.5" in lines
    many = [evaluated(tmp_path / "[a]"), evaluated(tmp_path / "b", np.full((1, 3), np.nan))]
    one, nothing = (line for line in shown(runs_table(many)) if "CartPole" in line)
    assert "[a]" in one
    assert one.endswith("1.0 8.0 1")
    assert nothing.endswith("1 - - - - 3")


def test_a_table_says_what_was_not_over_and_after_how_many_steps():
    cut = evaluated(Path("a"), max_steps=1200)
    for table in (seeds_table(cut), runs_table([evaluated(Path("b"), np.ones((1, 2)), max_steps=1200), cut])):
        said = " ".join(shown(table))
        assert "not over: episodes that went on after 1,200 steps (--max-steps), which count nowhere" in said
    assert "went on" not in " ".join(shown(seeds_table(evaluated(Path("a"), np.ones((2, 2))))))
