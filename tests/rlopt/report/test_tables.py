"""Tables of a report: numbers, CSV and LaTeX."""

import dataclasses
import json

import numpy as np
import pytest

from rlopt.benchmark import protocol
from rlopt.report import formats
from rlopt.report.formats import Rated, Table
from rlopt.statistics import Interval


def test_scores_are_normalised_by_a_random_policy_and_tuned_adam(bench, kit):
    page = kit.report(bench)
    assert "of Adam itself may be a little off 1, since it leaves out the best and the worst" in page
    assert "that the learning rate was chosen, and from how few seeds, is not part of them" in page
    rows = {row["optimizer"]: row for row in kit.read_csv(bench, "leaderboard_tuned")}
    assert list(rows) == ["celo_adam", "adam", "sgd"]
    # A random policy has 10, Adam 50 in the mean: sgd's interquartile mean of 20 is a quarter.
    assert [float(rows[name]["IQM"]) for name in rows] == [1.625, 1.0, 0.25]
    assert float(rows["sgd"]["mean"]) == 0.25
    assert float(rows["sgd"]["optimality gap"]) == 0.75
    assert (rows["celo_adam"]["better than Adam"], rows["sgd"]["better than Adam"]) == ("1.0", "0.0")
    assert float(rows["celo_adam"]["difference to Adam"]) == pytest.approx(27.5 / 40)
    assert float(rows["adam"]["IQM low"]) < 1 < float(rows["adam"]["IQM high"])
    assert rows["adam"]["better than Adam"] == ""
    returns = {row["optimizer"]: row for row in kit.read_csv(bench, "returns_shared")}
    assert (returns["sgd"]["CartPole-v1"], returns["sgd"]["rate, CartPole-v1"]) == ("20.0", "0.1")
    assert returns["celo_adam"]["rate, CartPole-v1"] == ""


def test_a_benchmark_that_tunes_nothing_has_one_table_of_each_and_empty_cells_are_explained(tmp_path, write_run, kit):
    plan = dataclasses.replace(kit.PLAN, tuning_seeds=0, factors=(1.0,))
    protocol.write_plan(tmp_path, plan)
    (tmp_path / protocol.RANDOM).write_text(json.dumps({env: [0.0, 20.0] for env in kit.ENVS}))
    for optimizer in plan.all_optimizers:
        for env in kit.ENVS:
            nothing = (optimizer, env) == ("sgd", "Catch-bsuite")
            final = [np.nan] * 8 if nothing else kit.FINAL[optimizer]
            kit.write_cells(
                tmp_path, plan, write_run, protocol.FINAL, optimizer, env, plan.candidates(optimizer), final
            )
    page = kit.report(tmp_path)
    assert "Learning rates were not tuned: one was trained of each optimizer, each optimizer&#x27;s own" in page
    assert "Adam&#x27;s mean is 1" in page
    assert "tuned Adam" not in page
    assert "the learning rate was chosen" not in page
    assert "sgd is not among the scores: it has no result on Catch-bsuite." in page
    assert "Empty: the run is missing, or no episode ended in any of its seeds" in page
    names = {path.stem for path in (tmp_path / "report" / "tables").glob("*.csv")}
    assert names == {"leaderboard", "returns", "settings"}
    (adam, sgd, _) = kit.read_csv(tmp_path, "returns")
    assert (adam["Catch-bsuite"], adam["rate, Catch-bsuite"], sgd["Catch-bsuite"]) == ("50.0", "0.0025", "")
    assert "--tuning-seeds 0 --factors 1 " in page


def test_windows_of_learning_rates(bench, kit):
    kit.report(bench)
    (adam, *_) = kit.read_csv(bench, "sensitivity")
    assert (adam["optimizer"], adam["best rate"]) == ("adam", "0.0025")
    # Returns fall from 50 to 30 over a decade, so to 45 over a quarter of one to either side.
    assert float(adam["width"]) == pytest.approx(10**0.5)


def test_tables_survive_csv_and_latex():
    table = Table(
        "x", "Title", "A note.", ("name_1", "value, %"), [("a_b & c", Interval(1.0, 0.5, 2.0)), ("d", None), ('"e"', 3)]
    )
    assert formats.to_csv(table).splitlines() == [
        'name_1,"value, %","value, % low","value, % high"',
        "a_b & c,1.0,0.5,2.0",
        "d,,,",
        '"""e""",3,,',
    ]
    latex = formats.to_latex(table)
    assert r"a\_b \& c & 1.00 [0.50, 2.00] \\" in latex
    assert r"name\_1 & value, \% \\" in latex
    assert latex.count("{") == latex.count("}")


def test_a_return_has_its_rate_beside_it_and_a_star_at_the_edge():
    table = Table(
        "x",
        "Title",
        "A note.",
        ("optimizer", "Pong"),
        [
            ("adam", Rated(Interval(1.0, 0.5, 2.0), 0.005, "highest")),
            ("celo", Rated(Interval(3.0, float("nan"), float("nan")), None)),
            ("sgd", None),
        ],
    )
    assert formats.to_csv(table).splitlines() == [
        'optimizer,Pong,Pong low,Pong high,"rate, Pong","edge, Pong"',
        "adam,1.0,0.5,2.0,0.005,highest",
        "celo,3.0,,,,",
        "sgd,,,,,",
    ]
    assert [formats.text(row[1]) for row in table.rows] == ["1.00 [0.50, 2.00] @ 0.005*", "3.00 [-]", ""]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Interval(-0.001, -0.004, 0.3), "0.00 [0.00, 0.30]"),
        (Interval(-0.012, -0.5, -0.001), "-0.01 [-0.50, 0.00]"),
        (-0.0, "0"),
        (0.0079, "0.0079"),
        (float("nan"), "-"),
        (12345, "12,345"),
        (None, ""),
    ],
)
def test_numbers_have_no_negative_zero(value, text):
    assert formats.text(value) == text


def test_amounts_of_one_are_singular():
    assert [formats.count(n, "environment") for n in (1, 2, 1000)] == [
        "1 environment",
        "2 environments",
        "1,000 environments",
    ]
