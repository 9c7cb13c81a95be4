"""Verdicts: none from too few seeds, a level that holds, what they could have shown, and where time changes them."""

import json
import math

import numpy as np
import pytest
import scipy.stats

from rlopt import significance
from rlopt.report import equal_time, reading, scores, verdicts
from rlopt.runs import results


def judged(tmp_path, made_up, adam, **others):
    """Verdicts and limits of runs on one environment."""
    made_up(tmp_path / "adam", adam)
    for name, final in others.items():
        made_up(tmp_path / name, final, optimizer=name)
    found = reading.read([tmp_path])
    matrices = scores.matrices(found, "tuned")
    told = verdicts.verdicts(found, matrices)
    return told, verdicts.limits(found, matrices, told)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_too_few_seeds_give_no_verdict(tmp_path, made_up, seeds):
    told, limits = judged(tmp_path, made_up, np.zeros(seeds), celo2=np.arange(seeds) + 100.0)
    assert told == {"celo2": verdicts.Verdict(None, "too few seeds")}
    assert verdicts.said(told) == ""
    some = "1 seed" if seeds == 1 else f"{seeds} seeds"
    assert limits == [f"With {some} per environment there is no verdict on celo2: it takes at least 5."]


def test_clear_differences_are_found_and_equals_are_not(tmp_path, made_up):
    spread = np.arange(10.0)
    told, limits = judged(tmp_path, made_up, spread, celo2=spread + 20, sgd=spread - 20, lion=spread + 0.1)
    assert {name: verdict.word for name, verdict in told.items()} == {
        "celo2": "better",
        "sgd": "worse",
        "lion": "not told apart",
    }
    assert verdicts.said(told) == "better: celo2; worse: sgd; not told apart: lion"
    (limit,) = limits
    assert limit.startswith("With 10 seeds against 10 on 1 environment and 3 optimizers compared, a true difference of")
    assert "not told apart does not mean equal" in limit


def test_the_page_says_when_nothing_could_be_significant(tmp_path, made_up):
    names = ("celo2", "celo", "sgd", "lion", "adamw", "muon", "yogi", "lamb", "lars")
    told, limits = judged(
        tmp_path, made_up, np.arange(5.0), **{name: np.arange(5.0) + 100 * (i + 1) for i, name in enumerate(names)}
    )
    assert {verdict.word for verdict in told.values()} == {"not told apart"}
    assert limits == [
        "No difference could be significant: with 5 seeds against 5 on 1 environment the smallest possible p is 0.0079, "
        "and with 9 optimizers compared it would have to be 0.0056. More seeds are needed for a verdict."
    ]


@pytest.mark.parametrize(("seeds", "others"), [(5, 5), (6, 7), (10, 7)])
def test_p_on_one_environment_is_that_of_the_exact_rank_test(seeds, others):
    rng = np.random.default_rng(seeds)
    for shift in (0.0, 1.0):
        x, y = rng.normal(size=seeds) + shift, rng.normal(size=others)
        expected = scipy.stats.mannwhitneyu(x, y, method="exact").pvalue
        got = significance.permutation_p(x[:, None], y[:, None])
        np.testing.assert_allclose(got, expected)


def test_random_exchanges_come_close_to_all_of_them():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 2)).round(1) + 0.8, rng.normal(size=(5, 2)).round(1)
    exact = significance.permutation_p(x, y, permutations=1_000_000)
    assert significance.permutation_p(x, y, permutations=20_000) == pytest.approx(exact, abs=0.01)
    # Runs are not exchanged between environments: one far above the other changes nothing.
    far = np.asarray([0.0, 1e6])
    assert significance.permutation_p(x + far, y + far, permutations=1_000_000) == exact
    # Several comparisons at once.
    np.testing.assert_array_equal(
        significance.permutation_p(np.stack([x, x + 1e6]), np.stack([y, y])),
        [significance.permutation_p(x, y), significance.permutation_p(x + 1e6, y)],
    )
    assert significance.permutation_p(np.ones((5, 3)), np.ones((5, 3))) == 1


def test_the_smallest_p_is_what_separated_scores_give():
    for seeds, others, environments in ((5, 5, 1), (5, 6, 1), (3, 3, 2)):
        low, high = np.zeros((seeds, environments)), np.ones((others, environments))
        low += 1e-3 * np.arange(seeds)[:, None]
        smallest = significance.smallest_p(seeds, others, environments)
        assert significance.permutation_p(low, high) == pytest.approx(smallest, rel=1.01 if seeds != others else 1e-9)
    assert significance.smallest_p(5, 5, 1) == pytest.approx(0.0079, abs=1e-4)
    assert significance.smallest_p(10, 10, 4) == 1 / 20_001


def test_holms_correction_by_hand():
    np.testing.assert_allclose(significance.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(significance.holm([0.9, 0.6]), [1.0, 1.0])
    assert significance.holm([]) == []


@pytest.mark.parametrize("kind", ["normal", "skewed", "bimodal"])
def test_equals_are_told_apart_in_a_twentieth_of_cases_at_most(kind):
    """`benchmarks/verdict_simulation.py` does so with more seeds, and more often."""
    rng = np.random.default_rng(0)
    draw = {
        "normal": lambda shape: rng.normal(size=shape),
        "skewed": lambda shape: rng.lognormal(size=shape),
        "bimodal": lambda shape: (rng.random(shape) < 2 / 3) + 0.1 * rng.normal(size=shape),
    }[kind]
    for seeds, environments in ((5, 1), (8, 1), (6, 3)):
        shape = (2000, seeds, environments)
        p = significance.permutation_p(draw(shape), draw(shape), permutations=999)
        assert 0.015 < np.mean(p <= 0.05) < 0.065


def test_a_difference_of_one_standard_deviation_is_found_among_nine_rivals():
    rng = np.random.default_rng(0)
    p = significance.permutation_p(rng.normal(size=(500, 10, 4)) + 1, rng.normal(size=(500, 10, 4)), permutations=1999)
    assert np.mean(p <= 0.05 / 9) > 0.85
    least = significance.detectable(10, 10, 4, 9)
    p = significance.permutation_p(rng.normal(size=(500, 10, 4)) + least, rng.normal(size=(500, 10, 4)), 5000)
    assert 0.7 < np.mean(p <= 0.05 / 9) < 0.9
    assert math.isinf(significance.detectable(5, 5, 1, 9))


def with_seconds(folder, seconds):
    path = folder / results.SUMMARY
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cpu_seconds": seconds}))


def test_equal_time_cuts_the_slower_one_and_a_sentence_says_what_that_changes(tmp_path, made_up):
    spread = np.arange(10.0)
    with_seconds(made_up(tmp_path / "adam", spread + 100), 10.0)
    with_seconds(made_up(tmp_path / "celo2", spread + 120, optimizer="celo2"), 24.0)
    found = reading.read([tmp_path])
    matrices = scores.matrices(found, "tuned")
    times = equal_time.of(found)
    assert times.kind == "processor time"
    assert times.seconds["CartPole-v1", "celo2"] == pytest.approx(2.4)
    assert times.limit == {"CartPole-v1": pytest.approx(1.0)}
    assert equal_time.slower(found, times) == {"adam": pytest.approx(1.0), "celo2": pytest.approx(2.4)}
    timed = equal_time.at_equal_time(found, matrices, times)
    # Returns rise linearly: after 1 / 2.4 of the steps, in the mean of the tenth before.
    np.testing.assert_allclose(timed["celo2"].final[:, 0], (spread + 120) * 0.95 / 2.4)
    np.testing.assert_allclose(timed["adam"].final[:, 0], (spread + 100) * 0.95, rtol=1e-6)
    steps, time = verdicts.verdicts(found, matrices), verdicts.verdicts(found, timed)
    assert equal_time.difference(times, steps, time) == (
        "At equal processor time instead of equal steps, celo2 is worse instead of better."
    )
    assert equal_time.difference(times, steps, steps).endswith("every verdict is the same.")
    assert equal_time.difference(times, {}, {}) is None


def test_older_runs_have_wall_clock_time_only(tmp_path, made_up):
    for name in ("adam", "sgd"):
        folder = made_up(tmp_path / name, [1.0, 2.0], optimizer=name)
        summary = json.loads((folder / results.SUMMARY).read_text())
        del summary["cpu_seconds"]
        (folder / results.SUMMARY).write_text(json.dumps(summary))
    times = equal_time.of(reading.read([tmp_path]))
    assert times.kind == "wall-clock time"
    assert times.seconds["CartPole-v1", "adam"] == 1.0
