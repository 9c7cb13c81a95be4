"""Statistics over seeds."""

import numpy as np
import pytest
import scipy.stats

from rlopt.statistics import bootstrap, iqm


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13, 16])
def test_iqm_is_the_mean_without_a_quarter_at_each_end(count):
    scores = np.random.default_rng(count).normal(size=count)
    np.testing.assert_allclose(iqm(scores), scipy.stats.trim_mean(scores, 0.25))


def test_iqm_of_numbers_worked_out_by_hand():
    assert iqm(np.asarray([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0])) == 3.5


def test_bootstrap_is_repeatable_and_brackets_the_estimate():
    scores = np.random.default_rng(0).normal(size=10)
    first, second = bootstrap(scores), bootstrap(scores)
    assert first == second
    assert first.low < first.estimate < first.high


def test_interval_of_equal_scores_is_a_point():
    assert bootstrap(np.full(8, 500.0)) == (500.0, 500.0, 500.0)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        interval = bootstrap(rng.normal(size=30), lambda x: x.mean(-1), 500, seed)
        hits += interval.low <= 0.0 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98  # the percentile bootstrap of 30 values covers a little less than 95 %


@pytest.mark.parametrize("scores", [[], [1.0, float("nan")], [[1.0]]])
def test_scores_that_cannot_be_summarised_are_refused(scores):
    with pytest.raises(ValueError, match="scores must be"):
        bootstrap(np.asarray(scores))
