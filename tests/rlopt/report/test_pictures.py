"""Figures of a report: ticks, panels, legends, alt texts; and the colours that all plots share."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlopt import drawing
from rlopt.report import equal_time, pictures, reading, scores
from rlopt.runs import kept, labels, plots, results


def drawn(picture):
    """The figure of a picture, laid out."""
    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=picture.size, layout="constrained", dpi=100)
        canvas = FigureCanvasAgg(figure)
        picture.draw(figure, "black")
        canvas.draw()
    return figure


def all_pictures(*folders):
    found = reading.read(folders)
    matrices = {"tuned": scores.matrices(found, "tuned")}
    boards = {name: scores.leaderboard(found, mine) for name, mine in matrices.items() if mine}
    return {picture.name: picture for picture in pictures.all_of(found, matrices, boards, equal_time.of(found))}


def sweep(tmp_path, made_up, name, rates, env="CartPole-v1"):
    for rate in rates:
        made_up(tmp_path / env / name / results.rate_name(rate), [100 * rate, 10.0, 20.0], name, rate, env)


@pytest.mark.parametrize(
    "rates", [(1e-3, 2e-3, 3e-3), (2.5e-4, 7.5e-4, 2.5e-3, 7.5e-3, 2.5e-2), (1e-5, 1e-3, 0.1, 10.0)]
)
def test_ticks_of_learning_rates_do_not_overlap_and_are_rates_that_were_tried(tmp_path, made_up, rates):
    sweep(tmp_path, made_up, "adam", rates)
    sweep(tmp_path, made_up, "sgd", [1.3 * rate for rate in rates])
    sweep(tmp_path, made_up, "adam", rates, "Acrobot-v1")
    figure = drawn(all_pictures(tmp_path)["sensitivity"])
    for axes in figure.axes:
        shown = [text for text in axes.get_xticklabels(which="both") if text.get_text()]
        boxes = sorted((text.get_window_extent().x0, text.get_window_extent().x1) for text in shown)
        assert len(boxes) >= 2
        assert all(one[1] < other[0] for one, other in itertools.pairwise(boxes))
        tried = {f"{x:.3g}" for x in (*rates, *(1.3 * rate for rate in rates))}
        assert {text.get_text() for text in shown} <= tried


def test_only_swept_environments_have_panels_and_only_swept_optimizers_legends(tmp_path, made_up):
    sweep(tmp_path, made_up, "adam", (1e-3, 1e-2))
    made_up(tmp_path / "one", [1.0, 2.0], "sgd", 0.1)
    made_up(tmp_path / "two", [1.0, 2.0], "adam", 1e-3, "Acrobot-v1")
    found = all_pictures(tmp_path)
    figure = drawn(found["sensitivity"])
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["CartPole-v1"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["adam"]
    curves = drawn(found["curves"])
    assert [axes.get_title() for axes in curves.axes] == ["CartPole-v1", "Acrobot-v1"]
    assert [text.get_text() for text in curves.legends[0].get_texts()] == ["adam", "sgd"]


def test_alt_texts_say_what_figures_show(tmp_path, made_up):
    sweep(tmp_path, made_up, "adam", (1e-3, 1e-2))
    made_up(tmp_path / "one", [40.0, 50.0, 60.0], "celo2", 0.1)
    found = all_pictures(tmp_path)
    assert found["scores"].alt.startswith(
        "Interquartile mean of each optimizer with its interval. celo2 50.0 [40.0, 60.0]"
    )
    assert "celo2 1.00 [1.00, 1.00]" in found["improvement"].alt
    assert "CartPole-v1: adam ends at 10.3, celo2 ends at 50" in found["curves"].alt
    assert "adam on CartPole-v1 best at 0.01" in found["sensitivity"].alt
    assert "celo2 1 s" in found["curves_time"].alt
    assert set(found) == {"scores", "improvement", "curves", "curves_time", "efficiency", "profiles", "sensitivity"}
    assert all(picture.alt.endswith(".") for picture in found.values())


def evaluated(folder, returns, steps=(400, 1000)):
    """Adds evaluations to a run; returns: [S, K]."""
    numbers = np.asarray(returns, np.float32)
    ones = np.ones_like(numbers)
    kept.write_evaluations(folder, kept.Evaluations(np.asarray(steps), numbers, ones, ones))


def test_evaluations_during_training_have_a_figure_that_says_what_it_is_and_what_is_not_there(tmp_path, made_up):
    evaluated(made_up(tmp_path / "a", [1.0, 2.0]), [[10.0, 20.0], [30.0, 40.0]])
    evaluated(made_up(tmp_path / "a2", [1.0], seed=2), [[50.0, 60.0]])
    evaluated(made_up(tmp_path / "b", [1.0, 2.0], "sgd", stopped=[500, -1]), [[5.0, np.nan], [6.0, 7.0]])
    made_up(tmp_path / "c", [1.0, 2.0], "lion")
    made_up(tmp_path / "d", [1.0, 2.0], "lion", env="Acrobot-v1")
    picture = all_pictures(tmp_path)["evaluations"]
    assert "full greedy episodes, apart from those that were learned from (10 per seed" in picture.caption
    assert "and not here: lion on CartPole-v1, lion on Acrobot-v1." in picture.caption
    (axes,) = drawn(picture).axes
    assert (axes.get_title(), axes.get_ylabel()) == ("CartPole-v1", "return of greedy episodes")
    adam, sgd = axes.lines[:2]
    assert (adam.get_xdata().tolist(), adam.get_ydata().tolist()) == ([400, 1000], [30, 40])
    assert sgd.get_ydata().tolist() == [5.5, 6]  # which was stopped counts as the lowest


def test_a_comparison_draws_the_evaluations_that_there_are(tmp_path, made_up):
    made_up(tmp_path / "b", [1.0, 2.0], "sgd", stopped=[1, 1])  # which broke before its first
    plots.evaluation_curves(results.find_runs([tmp_path]), tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
    evaluated(made_up(tmp_path / "a", [1.0, 2.0]), [[10.0, 20.0], [30.0, 40.0]])
    plots.evaluation_curves(results.find_runs([tmp_path]), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_evaluations_that_cannot_be_read_or_pooled_are_not_drawn_and_the_run_stays(tmp_path, made_up):
    (made_up(tmp_path / "a", [1.0, 2.0]) / kept.EVALUATIONS).write_bytes(b"PK")
    found = reading.read([tmp_path])
    assert [cell.final.tolist() for cell in found.reported] == [[1, 2]]
    assert any("evaluations during training of the run in" in text for text in found.problems)
    assert "evaluations" not in all_pictures(tmp_path)
    evaluated(tmp_path / "a", [[10.0, 20.0], [30.0, 40.0]])
    evaluated(made_up(tmp_path / "b", [1.0], seed=2), [[50.0]], steps=(1000,))
    assert "evaluations" not in all_pictures(tmp_path)


def test_an_optimizer_has_one_colour_in_every_plot(tmp_path, made_up, monkeypatch):
    made_up(tmp_path / "a", [1.0, 2.0], "muon")
    made_up(tmp_path / "b", [1.0, 2.0], "celo2")
    made_up(tmp_path / "c", [1.0, 2.0], "adam")
    made_up(tmp_path / "d", [1.0, 2.0], "lamb")
    found = all_pictures(tmp_path)

    in_report = colours(drawn(found["curves"]))
    kept = []
    monkeypatch.setattr(plots, "save", lambda figure, path: kept.append(figure))
    runs = labels.tell_apart(results.find_runs([tmp_path]))
    plots.learning_curves(runs, None)
    plots.learning_curves(runs[::-1][:2], None)
    plots.sensitivity(runs, None)
    for figure in kept:
        mine = {name.split(" ")[0].rstrip(":"): colour for name, colour in colours(figure).items()}
        assert mine == {name: in_report[name] for name in mine}
    assert in_report["adam"] == "#000000"
    assert len(set(in_report.values())) == 4


def colours(figure):
    legend = figure.legends[0]
    return {
        text.get_text(): mpl.colors.to_hex(line.get_color())
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }


def test_looks_are_never_shared_and_the_same_in_any_company():
    many = ["adam", "celo2", *(f"x{i}" for i in range(30)), "adam (b2 0.99)", "celo2 (theta mine)"]
    found = drawing.looks(many)
    assert list(found) == many
    assert len(set(found.values())) == len(many)
    assert (
        found["celo2"]
        == drawing.looks(["sgd", "celo2"])["celo2"]
        == drawing.looks(["celo2 (theta mine)"])["celo2 (theta mine)"]
    )
    assert drawing.looks(["x1", "adam"])["x1"] == drawing.looks(["adam", "x1"])["x1"]


def test_names_with_a_dollar_are_drawn(tmp_path, made_up):
    run = results.read_run(made_up(tmp_path / "x", [1.0, 2.0]))
    run = run._replace(summary=run.summary | {"optimizer": "a$_{b$"})
    plots.learning_curves([run], tmp_path / "curve.svg")
    plots.sensitivity([run], tmp_path / "rates.svg")
    assert "a$_{b$" in (tmp_path / "curve.svg").read_text()
