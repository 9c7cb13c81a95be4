"""What a seed counts as: its last tenth, else its last known return; the lowest only for what broke or never ended."""

import numpy as np

from rlopt import statistics
from rlopt.runs import console, plots, results

NAN = np.nan
STEPS = np.asarray([100, 200, 300])
RETURNS = np.asarray([[10.0, 50.0, 100.0], [80.0, 400.0, NAN], [NAN, NAN, NAN], [90.0, NAN, NAN]])
STOPPED = np.asarray([-1, -1, -1, 100])
FINAL = np.asarray([100.0, NAN, NAN, NAN])


def test_a_seed_that_is_still_alive_counts_as_its_last_known_return():
    np.testing.assert_array_equal(statistics.final_returns(FINAL, RETURNS, STOPPED), [100, 400, 10, 10])
    alive = np.asarray([[100.0, 400.0, NAN]])
    np.testing.assert_array_equal(statistics.final_returns(np.asarray([NAN]), alive, np.asarray([-1])), [400])
    # A broken seed is the lowest of its cell whatever was noted as its last tenth.
    np.testing.assert_array_equal(
        statistics.final_returns(np.asarray([5.0, 7.0]), np.eye(2), np.asarray([-1, 300])), [5, 0]
    )
    assert np.isnan(statistics.final_returns(np.asarray([NAN]), np.full((1, 3), NAN), np.asarray([-1])))


def test_the_tail_is_the_mean_over_the_episodes_of_the_last_tenth_of_the_iterations():
    sums = np.zeros((20, 3), np.float32)
    counts = np.zeros((20, 3), np.int32)
    sums[17:], counts[17:] = [[90.0, 90.0, 90.0], [6.0, 0.0, 0.0], [0.0, 4.0, 0.0]], [[1, 1, 1], [3, 0, 0], [0, 1, 0]]
    found = statistics.tail_means(sums, counts)  # the last two of twenty
    np.testing.assert_array_equal(found, np.asarray([2, 4, NAN], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(statistics.tail_means(sums[17:], counts[17:]), [NAN, 4, NAN])  # one at least


def test_a_curve_ends_where_the_final_return_is():
    whole = statistics.whole_curves(STEPS, RETURNS, STOPPED)
    np.testing.assert_array_equal(whole, [[10, 50, 100], [80, 400, 400], [10, 10, 10], [90, 10, 10]])
    np.testing.assert_array_equal(whole[:, -1], statistics.final_returns(FINAL, RETURNS, STOPPED))
    assert statistics.silent_seeds(RETURNS) == 1


def test_older_runs_are_read_by_the_same_rule(tmp_path, made_up):
    """Their files have no final return of a seed that was still alive, and the lowest for one that broke."""
    folder = made_up(tmp_path, [10.0, 20.0, 30.0])
    arrays = dict(np.load(folder / results.RETURNS))
    arrays["returns"][1:, -1] = NAN
    arrays["final"][1] = NAN
    arrays["stopped"][2] = 600
    arrays["final"][2] = 2.0
    np.savez(folder / results.RETURNS, **arrays)
    run = results.read_run(folder)
    np.testing.assert_array_equal(run.final, np.asarray([10.0, 16.0, 2.0], np.float32))
    assert run.summary["final_returns"] == [10, 16, 2]
    assert run.summary["final_return_iqm"] == (10 + 16 + 2) / 3
    assert len(run.summary["final_return_ci95"]) == 2


def test_one_seed_has_no_interval_in_tables_and_files(tmp_path, made_up):
    folder = made_up(tmp_path / "one", [10.0])
    run = results.read_run(folder)
    assert run.summary["final_return_iqm"] == 10
    assert run.summary["final_return_ci95"] is None
    assert [str(cell) for cell in console.table([run]).columns[4].cells] == ["-"]
    plots.learning_curves([run], tmp_path / "curve.png")
    plots.sensitivity([run], tmp_path / "rates.png")


def test_a_plotted_curve_goes_on_to_the_final_returns_of_episodes_that_outlast_an_interval(
    tmp_path, made_up, monkeypatch
):
    """In the second half of training the first seed's episodes end in every third interval only, the second's never."""
    folder = made_up(tmp_path, [10.0, 20.0, 30.0])
    arrays = dict(np.load(folder / results.RETURNS))
    known = len(arrays["steps"]) // 2
    arrays["returns"][0, known::3] = arrays["returns"][1, known:] = NAN
    arrays["returns"][2, 0] = NAN  # of an interval in which a seed has not begun nothing is shown
    np.savez(folder / results.RETURNS, **arrays)
    run = results.read_run(folder)
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plots.learning_curves([run], None)
    (line,) = figures[0].axes[0].get_lines()
    steps, shown = line.get_data()
    np.testing.assert_array_equal(steps, arrays["steps"][1:])
    whole = statistics.without_gaps(arrays["returns"])
    np.testing.assert_allclose(shown, [statistics.iqm(column) for column in whole[:, 1:].T])
