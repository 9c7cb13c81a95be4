"""The supervised suite: its tasks, its scores, tuning, and going on after a stop."""

import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest

import celo2
from helpers import by_default, weights_for
from metatrain import rules
from rlopt.metatest import optimizers, report, scores, suite, tasks, text, training, trials
from rlopt.metatest.config import DEFAULT_TASKS, HAND_DESIGNED, LEARNED, REFERENCE, SuiteConfig
from rlopt.optimizers import arms, catalog, factory

SMALL = SuiteConfig(optimizers=("celo2", "sgd"), tasks=("teacher",), steps=20, seeds=2)


def test_the_defaults_name_everything_there_is():
    assert DEFAULT_TASKS == tasks.NAMES
    learned = {name for name, info in catalog.OPTIMIZERS.items() if info.weights}
    assert {arms.parse(text).optimizer for text in LEARNED} == learned
    assert len([name for name in HAND_DESIGNED if name != REFERENCE]) >= 10
    assert tuple(SuiteConfig().arms) == LEARNED + HAND_DESIGNED
    np.testing.assert_allclose(np.log10(optimizers.LEARNING_RATES), np.arange(-6, 1.5, 0.5))


@pytest.mark.parametrize("name", by_default(tasks.NAMES, "teacher", "convolution", "lstm", "transformer"))
def test_every_task_has_a_useful_gradient_for_every_tensor(name):
    task = tasks.make(name)
    params, batch = jax.jit(task.init)(jax.random.key(0)), jax.jit(task.sample)(jax.random.key(1))
    loss, grads = jax.jit(jax.value_and_grad(task.loss))(params, batch)
    assert np.isfinite(loss)
    for path, g in jax.tree.leaves_with_path(grads):
        assert np.all(np.isfinite(g)), path
        # Attention keys have no use for a bias: it shifts all scores alike.
        if "key/bias" not in jax.tree_util.keystr(path, simple=True, separator="/"):
            assert np.any(g != 0), path


def test_the_text_is_the_same_every_time_and_its_sums_are_right():
    tokens, vocabulary = text.generate(5000)
    again, _ = text.generate(5000)
    np.testing.assert_array_equal(tokens, again)
    assert tokens.shape == (5000,)
    assert set(np.unique(tokens)) == set(range(vocabulary))
    sums = re.findall(r"(\d+)\+(\d+)=(\d+);", text.characters(5000))
    assert len(sums) > 20
    assert all(int(a) + int(b) == int(c) for a, b, c in sums)


def cell(final, smooth=None, mean=None):
    final = np.asarray(final, float)
    smooth = np.tile(final[:, None], (1, 10)) if smooth is None else np.asarray(smooth, float)
    one = np.zeros(1)
    return suite.Cell(one, one, one, np.asarray(final if mean is None else mean), final, smooth, one[0], one[0])


def test_scores_worked_out_by_hand():
    # 100 steps, a point at every tenth. Adam ends at 2.0 (mean of two seeds) on task a and at 1.0 on task b.
    cells = {
        ("a", REFERENCE): cell([1.9, 2.1]),
        ("b", REFERENCE): cell([1.0, 1.0]),
        # On a, seed 0 reaches 2.0 at the second point (step 20) and ends at 1.0; seed 1 never does.
        ("a", "x"): cell([1.0, 4.0], [[3.0] + [1.9] * 9, [4.0] * 10], mean=[1.0, 1.5]),
        ("b", "x"): cell([0.5, 0.5], [[0.5] * 10] * 2, mean=[1.5, 1.5]),
    }
    np.testing.assert_allclose(scores.final_scores(cells, ("a", "b"), "x"), [[2.0, 0.5], [2.0, 2.0]])
    np.testing.assert_allclose(scores.speed_scores(cells, ("a", "b"), "x"), [[5.0, 0.0], [10.0, 10.0]])
    summary = scores.summarise(cells, ("a", "b"), "x")
    assert summary.wins == 1
    assert summary.final_iqm.estimate == pytest.approx(2.0)  # of 0.5, 2, 2, 2 the middle two
    assert summary.final_gap.estimate == pytest.approx(0.125)  # one of four falls short, by a half
    assert summary.speed_iqm.estimate == pytest.approx(7.5)
    assert summary.speed_gap.estimate == pytest.approx(0.25)
    assert summary.final_iqm.low <= summary.final_iqm.estimate <= summary.final_iqm.high
    # Adam's own seeds are resampled too: twice seed 1 of task a is 2.1 / 4.0.
    twice = np.array([[1, 1], [0, 1]])
    np.testing.assert_allclose(scores.final_scores(cells, ("a", "b"), "x", twice), [[2.1 / 4] * 2, [2.0, 2.0]])
    np.testing.assert_allclose(
        scores.speed_scores(cells, ("a", "b"), "x", np.stack([twice] * 3))[2], [[0, 0], [10, 10]]
    )
    own = scores.summarise(cells, ("a", "b"), REFERENCE)
    assert own.final_iqm.estimate == pytest.approx(1.0, abs=0.01)


def test_runs_depend_on_their_own_rate_and_seed_only_and_divergence_counts_as_bad():
    task = tasks.make("teacher")
    run_all = training.compile_runs(task, optimizers.contestants(SMALL)["sgd"].factory, 20)
    pairs = [(1e-2, 0), (1e-2, 1), (1e-1, 0), (1e30, 0), (0.0, 0)]
    together = run_all(pairs)
    alone = run_all(pairs[1:2])
    np.testing.assert_allclose(alone.mean[0], together.mean[1], rtol=1e-5)
    assert together.smooth.shape == together.test.shape == (5, 2)
    assert len(set(together.mean[:3].tolist())) == 3
    params = task.init(jax.random.split(jax.random.key(0))[0])
    first = float(task.loss(params, task.sample(jax.random.key(5))))
    assert first < together.mean[3] < np.inf
    assert first < together.final_test[3] < np.inf
    # Without a step: the test losses of the first parameters.
    tested = jax.vmap(lambda key: task.loss(params, task.test(key)))(jax.random.split(jax.random.key(6), 50))
    assert float(together.final_test[4]) == pytest.approx(float(tested.mean()), rel=0.2)
    assert abs(together.test[4] - tested.mean()).max() < 5 * float(tested.std())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "run"
    return suite.run(SMALL, folder, progress=False), folder


def test_hand_designed_rates_are_tuned_and_learned_ones_are_not(finished):
    cells, _ = finished
    adam, sgd, learned = (cells["teacher", name] for name in (REFERENCE, "sgd", "celo2"))
    assert len(adam.rates) == len(sgd.rates) == 15
    assert adam.mean_rate == adam.rates[np.argmin(adam.tuning_mean)]
    assert len(learned.rates) == 1
    # Adam's reported seeds are those it was tuned on: no rate gives a lower mean.
    np.testing.assert_allclose(adam.mean.mean(), adam.tuning_mean.min(), rtol=1e-5)


def test_a_rate_that_diverges_in_another_seed_is_not_chosen():
    ran = []

    def run_all(pairs):
        ran.extend(pairs)
        final = np.asarray([9.0 if (rate, seed) == (0.3, 1) else rate for rate, seed in pairs])
        return training.Curves(1 - final / 10, final, final[:, None] * np.ones(4))

    rates = (0.3, 0.4, 0.5, 0.6, None)
    tuning = training.Curves(
        np.asarray([[0.97], [0.96], [0.95], [0.94], [5]]),
        np.asarray([[0.3], [0.4], [0.5], [0.6], [5]]),
        np.asarray([0.3, 0.4, 0.5, 0.6, 5])[:, None, None] * np.ones((1, 1, 4)),
    )
    cell = suite._choose(run_all, 2, rates, tuning)
    assert ran == [(rate, 1) for rate in rates[:4]]  # seed 0 was the tuning's
    assert (cell.final_rate, cell.mean_rate) == (0.4, 0.3)
    np.testing.assert_array_equal(cell.final, [0.4, 0.4])
    np.testing.assert_allclose(cell.mean, [0.97, 0.1])
    np.testing.assert_array_equal(cell.smooth, np.full((2, 4), 0.4))


def test_a_second_run_trains_nothing_again_and_adds_what_is_missing(finished):
    _, folder = finished

    def cells():
        return {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}

    before = cells()
    suite.run(SMALL, folder, progress=False)
    assert cells() == before
    suite.run(dataclasses.replace(SMALL, rates={"celo2": 1e-2}), folder, progress=False)
    assert before.items() < cells().items()
    assert len(cells()) == len(before) + 1


def test_test_losses_are_of_data_like_those_of_training(finished):
    cells, _ = finished
    for cell in cells.values():
        assert cell.test.shape == cell.smooth.shape == (2, 2)
        # At the end it is lower than what the smoothed training loss remembers at step 10.
        assert np.all(cell.final_test < cell.smooth[:, 0])
        assert len(set(cell.test.ravel().tolist())) == 4
        assert cell.seconds > 0
    assert cells["teacher", "celo2"].operations > cells["teacher", "sgd"].operations > 0


def test_folders_from_before_there_were_test_losses_are_read(finished, tmp_path):
    _, folder = finished
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    shutil.rmtree(old / "costs")
    for path in (old / "cells").iterdir():
        with np.load(path) as arrays:
            kept = {name: x for name, x in arrays.items() if name not in ("test", "final_test")}
        np.savez(path, **kept)
    settings = json.loads((old / "suite.json").read_text())
    before = {name: x for name, x in settings.items() if name not in ("suite", "data", "fraction")}
    (old / "suite.json").write_text(json.dumps(before))
    files = {path: path.read_bytes() for path in (old / "cells").iterdir()}
    cells = suite.run(SMALL, old, progress=False)
    assert files == {path: path.read_bytes() for path in (old / "cells").iterdir()}
    assert all(cell.test is cell.final_test is cell.seconds is cell.operations is None for cell in cells.values())
    report.write(cells, old, [report.test_table(cells)])
    assert "| sgd | - |" in (old / "tables.md").read_text()
    assert "| sgd | - |" in (old / "cost.md").read_text()
    assert json.loads((old / "summary.json").read_text())["sgd"]["final_test_loss"] == {"teacher": None}
    assert not (old / "plots" / "test_curves.png").exists()


def test_costs_that_are_no_numbers_are_refused(finished, tmp_path):
    _, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    path = next((tmp_path / "run" / "costs").iterdir())
    path.write_text('{"seconds": "long", "operations": 1.0}')
    with pytest.raises(ValueError, match="seconds must be a number of at least 0, got 'long'; remove the file"):
        suite.run(SMALL, tmp_path / "run", progress=False)


def test_the_cost_table_has_the_ratio_to_adam_and_profiles_medians():
    cells = {
        ("a", name): cell([1.0, 2.0])._replace(seconds=seconds, operations=operations)
        for name, seconds, operations in (("x", 0.003, 5e6), (REFERENCE, 0.002, 4e6))
    }
    rows = {row[0]: row[1] for row in report.cost_table(cells).rows}
    assert rows == {"x": "3 ms (1.50x), 5 MFLOP", REFERENCE: "2 ms (1.00x), 4 MFLOP"}
    # Adam's mean, 1.5, over 1 and over 2.
    assert scores.summarise(cells, ("a",), "x").final_median.estimate == pytest.approx((1.5 + 0.75) / 2)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (None, "metatest-supervised"),
        ("small", "metatest-supervised"),
        ("supervised", "metatest-supervised"),
        ("celo17", "metatest-celo17"),
    ],
)
def test_earlier_command_lines_and_folders_go_on(command, monkeypatch, name, place):
    def train(config, folder):
        raise ValueError(f"folder {folder}")

    monkeypatch.setattr(suite, "train", train)
    done = command("metatest", *(() if name is None else ("--suite", name)))
    assert done.status == 2
    assert f"folder runs/{place}" in done.err


def test_other_weights_options_and_forms_are_other_results_and_each_arm_has_its_own_rate(tmp_path):
    theta = celo2.load_theta("celo2_v1")
    for name, scale in (("a", 1.0), ("b", 2.0)):
        celo2.save_checkpoint(tmp_path / f"{name}.theta", jax.tree.map(lambda x, s=scale: s * x, theta))
    config = SuiteConfig(
        optimizers=(*(f"{name}=celo2_published" for name in ("a", "b")), "celo2_published"),
        theta={name: tmp_path / f"{name}.theta" for name in ("a", "b")},
        rates={"a": 1e-3, "b": 1e-2, "celo2_published": 1e-3},
    )
    found = optimizers.contestants(config)
    assert [found[name].rates for name in ("a", "b", "celo2_published")] == [(1e-3,), (1e-2,), (1e-3,)]
    assert found["a"].file == found["celo2_published"].file != found["b"].file, (
        "the same weights, wherever they are from"
    )
    same_rates = dataclasses.replace(config, rates=dict.fromkeys(config.rates, 1e-2))
    (tmp_path / "a.theta").write_bytes((tmp_path / "b.theta").read_bytes())
    again = optimizers.contestants(same_rates)
    assert again["a"].file == found["b"].file != again["celo2_published"].file
    (tmp_path / "b.json").write_text('{"form": {"odd": true}}')
    odd = optimizers.contestants(same_rates)
    assert odd["b"].file != again["b"].file, "another form is another rule"
    assert odd["b"].form["odd"] is True
    decayed = optimizers.contestants(dataclasses.replace(same_rates, options={"weight_decay": 0.1}))
    assert decayed["b"].file != odd["b"].file, "another option is another optimizer"
    assert decayed[REFERENCE].file == odd[REFERENCE].file, "Adam has no such option"


def test_every_optimizer_of_the_catalog_can_take_part(tmp_path):
    infos = {name: info for name, info in catalog.OPTIMIZERS.items() if not info.told}
    assert set(catalog.OPTIMIZERS) - set(infos) == {"open"}
    theta = {name: path for name in infos if (path := weights_for(name, tmp_path))}
    found = optimizers.contestants(SuiteConfig(optimizers=tuple(infos), theta=theta))
    assert set(found) == {*infos, REFERENCE}
    assert len({entry.file for entry in found.values()}) == len(found)
    for name, info in infos.items():
        tried = found[name].rates
        assert tried == (None,) if info.scheduled else len(tried) == (1 if info.learned else 15), name


def test_the_same_routing_for_muon_as_for_the_rule():
    """On a network without hidden layers, "hidden" leaves nothing to either, "matrices" the first layer to both."""
    params = {"dense_0": {"kernel": jax.numpy.ones((4, 8))}, "head": {"kernel": jax.numpy.ones((8, 2))}}
    grads = jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), params)
    for name in ("muon", "muon_routed", "celo2"):
        steps = {}
        for routing in ("hidden", "matrices"):
            tx = factory.make(name, options={"routing": routing})(1e-2, 10)
            steps[routing] = jax.jit(tx.update)(grads, tx.init(params), params)[0]
        apart = jax.tree.map(lambda a, b: float(abs(a - b).max()), *steps.values())
        assert apart["dense_0"]["kernel"] > 1e-4, name
        assert apart["head"]["kernel"] < 1e-6, name


def test_results_of_other_settings_and_foreign_folders_are_left_alone(finished, tmp_path, monkeypatch):
    _, folder = finished
    with pytest.raises(ValueError, match=r"other settings \(steps: 20 there, 30 here\)"):
        suite.run(dataclasses.replace(SMALL, steps=30), folder, progress=False)
    monkeypatch.setattr(tasks, "VERSION", tasks.VERSION + 1)
    differs = rf"other settings \(version: {tasks.VERSION - 1} there, {tasks.VERSION} here\)"
    with pytest.raises(ValueError, match=differs):
        suite.run(SMALL, folder, progress=False)
    monkeypatch.undo()
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="neither empty nor of this suite"):
        suite.run(SMALL, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 10}, "steps must be at least 20, got 10"),
        ({"steps": 25}, "steps must be a multiple of 10, got 25"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"tasks": ()}, "one task"),
        ({"tasks": ("widest",)}, "unknown task 'widest'; there are wide"),
        ({"optimizers": ()}, "at least one optimizer"),
        ({"optimizers": ("adams",)}, "unknown optimizer 'adams'; there are adam"),
        ({"optimizers": ("celo2", "celo2")}, "each optimizer may be named once, got 'celo2' twice"),
        ({"optimizers": ("celo2:rooting=all",)}, "unknown option of celo2 'rooting'; there are routing"),
        ({"options": {"momentums": 0.1}}, "has an option 'momentums'"),
        ({"theta": {"celo": "x"}}, "theta was given for 'celo', which is not compared"),
        ({"rates": {"celo": 1e-3}}, "a rate was given for 'celo', which is not compared; there are celo2, adam"),
        ({"rates": {"celo2": -1.0}}, "rates must be finite and positive, got -1.0 for celo2"),
        ({"rates": {"celo2": 0.0}}, "rates must be finite and positive, got 0.0 for celo2"),
        ({"optimizers": ("celo",), "rates": {"celo": 1e-3}}, r"celo takes no learning rate, got 0\.001"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        suite.run(dataclasses.replace(SMALL, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_command_takes_own_weights_and_leaves_tables_and_plot(tmp_path, command):
    theta = tmp_path / "mine.theta"
    celo2.save_checkpoint(theta, rules.get("celo_adam").init_theta(jax.random.key(0)))
    words = ["metatest", "--optimizers", "mine=celo_adam", "--theta", "mine", theta, "--tasks", "teacher"]
    words += ["--steps", "20", "--seeds", "2", "--out", tmp_path / "run"]
    status, shown, _ = command(*words)
    assert status == 0
    assert "Mean loss over training" in shown
    assert f"| {REFERENCE} | tuned |" in (tmp_path / "run" / "tables.md").read_text()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["mine"]["mean_rate"] == {"teacher": None}
    assert (tmp_path / "run" / "plots" / "curves.png").stat().st_size > 10_000


def test_a_rule_that_asks_what_only_agents_know_is_refused():
    with pytest.raises(ValueError, match=r"mine reads what only agents tell .*: it fits no supervised task"):
        SuiteConfig(optimizers=("sgd", "mine=open")).check()


@pytest.mark.slow
def test_an_optimizer_is_searched_in_all_its_numbers_with_a_budget(tmp_path, command):
    """Rates beyond the grid of rates: the settings of the best trial are written down, and are those that were run."""
    arm = "nadamw:schedule=cosine,warmup=0.1,eps=1e-8"
    words = ("--tasks", "teacher", "--steps", 20, "--seeds", 1, "--optimizers", arm, "--trials", "nadamw", 4)
    done = command("metatest", *words, "--out", tmp_path)
    assert done.status == 0, done.err
    drawn = trials.draws("nadamw", ("eps",), 4)
    assert set(drawn[0]) == {"learning_rate", "b1", "b2", "weight_decay"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    best = summary[arm]["final_rate"]["teacher"]
    assert best in [dict(trial) for trial in drawn]
    given = ",".join(f"{name}={value!r}" for name, value in best.items() if name != "learning_rate")
    alone = f"alone={arm},{given}"
    again = ("--rates", "alone", best["learning_rate"], "--optimizers", alone, *words[:6], "--out", tmp_path)
    assert command("metatest", *again).status == 0
    found = json.loads((tmp_path / "summary.json").read_text())["alone"]
    assert found["final_loss"]["teacher"] == pytest.approx(summary[arm]["final_loss"]["teacher"], rel=1e-4)


def test_longer_searches_begin_as_shorter_ones():
    long, short = trials.draws("nadamw", (), 50), trials.draws("nadamw", (), 5)
    assert long[:5] == short
    assert set(trials.draws("sgd", (), 1)[0]) == {"learning_rate"}
    for name, low, high in (
        ("b1", 0.5, 0.99),
        ("b2", 0.9, 0.9999),
        ("learning_rate", 1e-5, 1e-1),
        ("eps", 1e-10, 1e-3),
    ):
        values = [trial[name] for trial in long]
        assert low <= min(values) < max(values) <= high
        assert len(set(values)) == 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": {"lion": 3}}, "trials were given for 'lion', which is not compared; there are "),
        ({"trials": {"sgd": 0}}, "trials must be from 1 to 10,000, got 0 for sgd"),
        ({"trials": {"celo2": 3}}, "trials are for hand-designed optimizers of the catalog, not for celo2"),
        ({"trials": {"adam": 3}}, "by which all are measured, has the same rates always"),
        ({"trials": {"sgd": 3}, "rates": {"sgd": 0.1}}, "sgd has trials and a rate: give one of them"),
    ],
)
def test_impossible_trials_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **settings).check()


def test_without_trials_results_of_earlier_runs_are_found():
    """The names of files of cells are what they were: a digest of options, weights, form and rates."""
    found = optimizers.contestants(SMALL)
    assert found["sgd"].file == "sgd-f3a1c81e40af"
