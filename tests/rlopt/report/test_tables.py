"""Tables of a report: numbers, CSV and LaTeX."""

import pytest

from rlopt.report import tables
from rlopt.statistics import Interval


def test_scores_are_normalised_by_a_random_policy_and_tuned_adam(bench, kit):
    assert "Read with care" not in kit.report(bench)
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


def test_windows_of_learning_rates(bench, kit):
    kit.report(bench)
    (adam, *_) = kit.read_csv(bench, "sensitivity")
    assert (adam["optimizer"], adam["best rate"]) == ("adam", "0.0025")
    # Returns fall from 50 to 30 over a decade, so to 45 over a quarter of one to either side.
    assert float(adam["width"]) == pytest.approx(10**0.5)


def test_tables_survive_csv_and_latex():
    table = tables.Table(
        "x", "Title", "A note.", ("name_1", "value, %"), [("a_b & c", Interval(1.0, 0.5, 2.0)), ("d", None), ('"e"', 3)]
    )
    assert tables.to_csv(table).splitlines() == [
        'name_1,"value, %","value, % low","value, % high"',
        "a_b & c,1.0,0.5,2.0",
        "d,,,",
        '"""e""",3,,',
    ]
    latex = tables.to_latex(table)
    assert r"a\_b \& c & 1.00 [0.50, 2.00] \\" in latex
    assert r"name\_1 & value, \% \\" in latex
    assert latex.count("{") == latex.count("}")
