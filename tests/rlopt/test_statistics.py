"""Statistics over seeds."""

import numpy as np
import pytest
import rliable.library
import rliable.metrics
import scipy.stats

from rlopt import statistics
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


MATRICES = [(1, 1), (2, 3), (5, 4), (8, 5), (16, 26)]


@pytest.mark.parametrize("shape", MATRICES)
def test_aggregates_are_those_of_rliable(shape):
    generator = np.random.default_rng(sum(shape))
    scores = generator.normal(0.8, 1.0, shape).round(1)  # with ties
    others = generator.normal(0.5, 1.0, (shape[0] + 1, shape[1])).round(1)
    for ours, theirs in (
        (statistics.aggregate_iqm, rliable.metrics.aggregate_iqm),
        (statistics.aggregate_mean, rliable.metrics.aggregate_mean),
        (statistics.aggregate_median, rliable.metrics.aggregate_median),
        (statistics.optimality_gap, rliable.metrics.aggregate_optimality_gap),
    ):
        np.testing.assert_allclose(ours(scores), theirs(scores), atol=1e-6)
        # And of many matrices at once, as the bootstrap asks for.
        np.testing.assert_allclose(ours(np.stack([scores, scores + 1]))[0], theirs(scores), atol=1e-6)
    np.testing.assert_allclose(
        statistics.probability_of_improvement(scores, others),
        rliable.metrics.probability_of_improvement(scores, others),
        atol=1e-6,
    )
    thresholds = np.linspace(-1, 3, 9)
    profile, _ = rliable.library.create_performance_profile({"x": scores}, thresholds, reps=2)
    np.testing.assert_allclose(statistics.performance_profile(scores, thresholds), profile["x"], atol=1e-6)


@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
def test_intervals_are_about_those_of_rliable():
    scores = np.random.default_rng(3).normal(size=(10, 4))
    ours = statistics.stratified_bootstrap((scores,), statistics.aggregate_iqm, resamples=5000)
    _, theirs = rliable.library.get_interval_estimates(
        {"x": scores},
        lambda x: np.asarray([rliable.metrics.aggregate_iqm(x)]),
        reps=2000,
        random_state=np.random.RandomState(0),
    )
    np.testing.assert_allclose(ours[1:], theirs["x"][:, 0], atol=0.04)


def test_seeds_are_resampled_within_their_environment():
    # Environments far apart, seeds alike: mixing them up would widen the interval of the mean to about 10.
    scores = np.asarray([[0.0, 100.0], [1.0, 101.0], [2.0, 102.0]])
    interval = statistics.stratified_bootstrap((scores,), statistics.aggregate_mean)
    assert interval.estimate == 51
    assert 50 <= interval.low < 51 < interval.high <= 52


def test_pairing_takes_out_what_seeds_share():
    generator = np.random.default_rng(0)
    luck = generator.normal(0, 10, (8, 2))
    better = luck + 1 + generator.normal(0, 0.1, luck.shape)
    paired = statistics.paired_difference(better, luck)
    assert 0.9 < paired.low < paired.high < 1.1
    with pytest.raises(ValueError, match=r"same shape, got \(8, 2\) and \(7, 2\)"):
        statistics.paired_difference(better, luck[1:])


def test_probability_of_improvement_by_hand():
    # 3 beats both, 1 ties with one and loses to none, of 2 x 2 pairs: 3.5 / 4; the other environment: all lose.
    got = statistics.probability_of_improvement(np.asarray([[3.0, 0], [1, 0]]), np.asarray([[0.0, 1], [1, 1]]))
    assert got == (3.5 / 4 + 0) / 2


def test_area_under_a_curve_with_intervals_in_which_nothing_ended():
    nan = np.nan
    returns = [[nan, 2.0, nan, 4.0], [nan, nan, nan, nan]]
    # 2 until 300 (also before the first episode ended), then 4: over steps of 100, 100, 100, 200.
    got = statistics.area_under_curve(np.asarray([100, 200, 300, 500]), np.asarray(returns))
    np.testing.assert_allclose(got, [(300 * 2 + 200 * 4) / 500, nan])


def test_a_tolerance_window_by_hand():
    rates = np.asarray([1e-4, 1e-3, 1e-2, 1e-1])
    # 90 of 100 is enough: half-way (in the logarithm) between 80 and 100, and between 95 and 85.
    low, high = statistics.tolerance_window(rates, np.asarray([80.0, 100.0, 95.0, 85.0]))
    np.testing.assert_allclose([low, high], [10**-3.5, 10**-1.5])
    # Negative returns: a tenth of 100 below -100 is -110. What recovers beyond a gap does not count.
    low, high = statistics.tolerance_window(rates, np.asarray([-100.0, -120.0, -105.0, -500.0]))
    np.testing.assert_allclose([low, high], [1e-4, 10**-3.5])
    assert statistics.tolerance_window(rates[:1], np.asarray([5.0])) == (1e-4, 1e-4)


def test_matrices_that_cannot_be_summarised_are_refused():
    for scores in (np.zeros(3), np.zeros((0, 2)), np.asarray([[np.inf]])):
        with pytest.raises(ValueError, match="scores must be"):
            statistics.stratified_bootstrap((scores,), statistics.aggregate_mean)


def test_one_seed_has_no_interval():
    alone = statistics.stratified_bootstrap((np.ones((1, 3)),), statistics.aggregate_iqm)
    assert alone.estimate == 1
    assert np.isnan(alone.low)
    assert np.isnan(alone.high)
    assert not alone.known
    against = (np.ones((1, 3)), np.zeros((8, 3)))
    assert not statistics.stratified_bootstrap(against, statistics.probability_of_improvement).known
    assert bootstrap(np.asarray([3.0])).estimate == 3
    assert not bootstrap(np.asarray([3.0])).known
    assert bootstrap(np.asarray([3.0, 4.0])).known


def test_matrices_of_unequal_environments_are_refused():
    with pytest.raises(ValueError, match=r"same environments, got matrices of shapes \(4, 2\) and \(5, 1\)"):
        statistics.stratified_bootstrap((np.ones((4, 2)), np.ones((5, 1))), statistics.probability_of_improvement)
