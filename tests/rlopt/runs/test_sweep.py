"""Learning rates and seeds as one population."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from agents import DQNConfig, PPOConfig
from helpers import ask_to_stop
from rlopt import cli, typed
from rlopt.benchmark import protocol
from rlopt.runs import experiment, folders, labels, plots, results
from rlopt.storage.stopping import Unfinished
from rlopt.training import history, legacy, loop
from rlopt.training.config import TrainConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("shared_programs"),
]

HYPER = PPOConfig(total_steps=64 * 20, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", rates=(1e-3, 1e-1), seeds=2, seed=5, hyper=HYPER)
DQN = DQNConfig(1000, 4, learning_starts=64, replay_capacity=256, batch_size=16, hidden=(8,))


def lines(folder):
    return [json.loads(line) for line in (folder / results.METRICS).read_text().splitlines()]


@pytest.mark.mesh
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(CONFIG, id="ppo"),
        pytest.param(dataclasses.replace(CONFIG, agent="dqn", hyper=DQN), id="dqn", marks=pytest.mark.slow),
    ],
)
def test_each_rate_and_seed_learns_what_it_learns_alone(config):
    cells = history.split(loop.train(config, progress=False), config)
    for rate, cell in zip(config.rates, cells, strict=True):
        alone = loop.train(dataclasses.replace(config, rates=(), learning_rate=rate), progress=False)
        np.testing.assert_array_equal(cell.returns, alone.returns)
        jax.tree.map(np.testing.assert_array_equal, (cell.metrics, cell.params), (alone.metrics, alone.params))
        np.testing.assert_array_equal(cell.final, alone.final)
    assert not np.array_equal(cells[0].metrics["loss"], cells[1].metrics["loss"])


@pytest.fixture
def own_cache(tmp_path):
    """An empty folder that takes every compiled program."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path / "cache"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for values in (settings, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is settings:
            yield tmp_path / "cache"


class Lowered(Exception):
    """In place of compiling."""


def test_other_rates_are_the_same_program(monkeypatch):
    monkeypatch.undo()  # no `shared_programs`
    texts = []

    def keep(lowered, *arguments):
        texts.append(lowered.as_text())
        raise Lowered

    monkeypatch.setattr(jax.stages.Lowered, "compile", keep)
    for rates in ((1e-3, 1e-1), (1e-4, 1e-2)):
        with pytest.raises(Lowered):
            loop.train(dataclasses.replace(CONFIG, seeds=1, rates=rates), progress=False)
    assert texts[0] == texts[1]
    assert len(texts[0]) > 1000


# Not only is it the same: nothing is compiled twice, nor for the first states.
@pytest.mark.slow
def test_other_rates_are_the_same_compiled_programs(monkeypatch, own_cache):
    monkeypatch.undo()  # no `shared_programs`
    texts = []
    compile_ = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda low, *a: texts.append(low.as_text()) or compile_(low, *a))
    losses, programs = [], []
    for rates in ((1e-3, 1e-1), (1e-4, 1e-2)):
        jax.clear_caches()
        losses.append(loop.train(dataclasses.replace(CONFIG, seeds=1, rates=rates), progress=False).metrics["loss"])
        programs.append({path.name for path in own_cache.iterdir()})
    assert len(texts) == 2  # all intervals are one program, of both rates
    assert texts[0] == texts[1]
    assert len(texts[0]) > 1000
    # Also what makes the first states: nothing was compiled for the second sweep.
    assert any("chunk" in name for name in programs[0])
    assert programs[0] == programs[1]
    assert not np.array_equal(*losses)


def test_a_sweep_leaves_a_run_folder_per_rate_and_does_only_what_is_missing(tmp_path):
    celo = TrainConfig(optimizer="celo_adam", seeds=2, seed=5, hyper=HYPER)
    runs, plot = experiment.sweep([CONFIG, celo], tmp_path, progress=False)
    assert plot.stat().st_size > 10_000
    places = [tmp_path / "adam" / "rate-0.001", tmp_path / "adam" / "rate-0.1", tmp_path / "celo_adam"]
    assert [run.folder for run in runs] == places
    assert [run.summary["learning_rate"] for run in runs] == [1e-3, 1e-1, None]
    for place in places:
        assert len(lines(place)) == 20
        assert len(lines(place)[0]["loss"]) == 2
        assert results.read_config(place).rates == ()
        assert json.loads((place / results.CONFIG).read_text())["seed_list"] == [5, 6]
    before = {place: (place / results.SUMMARY).stat().st_mtime_ns for place in places}
    more = dataclasses.replace(CONFIG, rates=(1e-3, 1e-2, 3e-2, 1e-1))  # what is missing is the same program
    runs, _ = experiment.sweep([more, celo], tmp_path, progress=False)
    assert [run.summary["learning_rate"] for run in runs] == [1e-3, 1e-2, 3e-2, 1e-1, None]
    assert {place: (place / results.SUMMARY).stat().st_mtime_ns for place in places} == before
    with pytest.raises(ValueError, match=r"other settings \(seed: 5 there, 6 here\)"):
        experiment.sweep([dataclasses.replace(CONFIG, seed=6)], tmp_path, progress=False)


@pytest.mark.mesh
def test_a_sweep_that_was_stopped_goes_on_bit_for_bit_also_with_another_rate_asked_for(stopped_sweep_goes_on):
    folder = stopped_sweep_goes_on(CONFIG, dataclasses.replace(CONFIG, rates=(1e-1, 1e-2)))
    assert results.is_finished(folder / "adam" / "rate-0.01")
    with pytest.raises(ValueError, match="holds a finished run"):
        experiment.resume(folder / "adam")


def test_no_cell_of_a_sweep_counts_as_finished_before_all_are_written(tmp_path, monkeypatch):
    drawn = []

    def killed_at_the_second(runs, path):
        drawn.append(path)
        if len(drawn) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(plots, "learning_curves", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        experiment.sweep([CONFIG], tmp_path, progress=False)
    assert not list(tmp_path.rglob(results.SUMMARY))


def test_a_sweeps_folder_is_not_taken_for_a_runs(tmp_path):
    experiment.sweep([CONFIG], tmp_path, progress=False)
    single = dataclasses.replace(CONFIG, rates=())
    with pytest.raises(ValueError, match=r"other settings \(.*rates: "):
        experiment.run(single, tmp_path / "adam", progress=False)


def test_an_optimizer_of_ones_own_has_a_folder_without_a_colon(tmp_path, write_run):
    def pretend(root, populations):
        for folder, config in populations.items():
            folders.prepare(folder, config)
            for place, cell in folders.places(folder, config):
                write_run(place, cell, [1.0, 2.0])

    own = dataclasses.replace(CONFIG, optimizer="optax:novograd", rates=(1e-3,))
    ((run,), _) = experiment.sweep([own], tmp_path, progress=False, launch=pretend)
    assert run.folder == tmp_path / "optax-novograd" / "rate-0.001"


def test_one_optimizers_part_of_a_sweep_can_be_resumed(tmp_path, at_line):
    with pytest.raises(Unfinished):
        experiment.sweep([CONFIG], tmp_path, progress=False, tracker=at_line(3, ask_to_stop))
    before = lines(tmp_path / "adam" / "rate-0.1")
    with pytest.raises(ValueError, match=r"rate-0.1 is part of an unfinished sweep; resume .*adam"):
        experiment.resume(tmp_path / "adam" / "rate-0.1", progress=False)
    assert lines(tmp_path / "adam" / "rate-0.1") == before
    plot = tmp_path / results.PLOTS / "sensitivity.png"
    assert not plot.exists()
    runs = experiment.resume(tmp_path / "adam", progress=False)
    assert [run.summary["learning_rate"] for run in runs] == [1e-3, 1e-1]
    first = plot.read_bytes()  # this was the last part
    again = dataclasses.replace(CONFIG, arm="again", rates=(1e-2, 3e-2))  # the same program
    folders.prepare(tmp_path / "again", again)
    folders.prepare(tmp_path / "lion", dataclasses.replace(CONFIG, optimizer="lion"))
    with pytest.warns(RuntimeWarning, match="lion holds an unfinished run"):
        experiment.resume(tmp_path / "again", progress=False)
    assert plot.read_bytes() != first


def test_resuming_a_run_of_some_folder_draws_no_sweep(tmp_path):
    single = dataclasses.replace(CONFIG, rates=(), learning_rate=1e-2, seeds=4)  # the same program
    folders.prepare(tmp_path / "runs" / "mine", CONFIG)
    experiment.resume(tmp_path / "runs" / "mine", progress=False)
    assert not (tmp_path / "runs" / results.PLOTS).exists()
    folders.prepare(tmp_path / "compared" / "adam", single)
    experiment.resume(tmp_path / "compared" / "adam", progress=False)
    assert not (tmp_path / "compared" / results.PLOTS).exists()
    part = tmp_path / "bench" / "tuning" / "CartPole-v1" / "adam"
    shutil.copytree(tmp_path / "runs" / "mine", part)
    (tmp_path / "bench" / protocol.PLAN).write_text("{}")
    shutil.rmtree(part / "rate-0.1")
    experiment.resume(part, progress=False)
    assert not (part.parent / results.PLOTS).exists()


def test_a_broken_member_is_named_with_its_rate_and_counts_as_the_worst_of_its_cell():
    config = dataclasses.replace(CONFIG, rates=(1e-3, 1e30))
    with pytest.warns(RuntimeWarning, match=r"loss of seed [56] at learning rate 1e\+30 is not finite"):
        good, bad = history.split(loop.train(config, progress=False), config)
    assert np.all(good.stopped < 0)
    assert np.all(bad.stopped >= 0)
    assert np.all(bad.final == np.nanmin(bad.returns))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--learning-rates 0.1 0.1", "each learning rate may be given once, got 0.1, 0.1"),
        ("--learning-rates 0.1 0.10000001", "each learning rate may be given once, got 0.1, 0.1"),
        ("--learning-rates 0.1 -1", "learning_rate must be positive and finite, got -1"),
        ("--factors", "give at least one learning rate, or factor"),
        ("--optimizers adamm", "unknown optimizer 'adamm'; there are adam,"),
        ("--optimizers adam adam", "each optimizer may be named once"),
    ],
)
def test_impossible_sweeps_are_refused(flags, message, command, tmp_path):
    done = command("sweep", "ppo", "--out", tmp_path / "x", *flags.split())
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "x").exists()


def test_the_command_sweeps_around_each_optimizers_own_rate(command, tmp_path):
    flags = "--factors 0.3 1 --seeds 2 --seed 5 --total-steps 1280 --num-envs 4 --rollout-length 16 --epochs 1"
    words = ["sweep", "ppo", *flags.split(), "--minibatches", "1", "--hidden", "8"]
    asked = cli._parse([*words, "--optimizers", "adam", "celo_adam"]).configs()
    assert [config.rates for config in asked] == [(pytest.approx(0.00075), 0.0025), ()]
    done = command(*words, "--optimizers", "adam", "--out", tmp_path)
    assert done.status == 0
    found = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob(results.SUMMARY))
    assert found == ["adam/rate-0.00075", "adam/rate-0.0025"]
    assert "sensitivity.png" in done.out


def run_at(rate, finals, **changes):
    final = np.asarray(finals, np.float32)
    summary = {"agent": "ppo", "env_id": "CartPole-v1", "optimizer": "adam", "learning_rate": rate, "seeds": len(final)}
    steps, returns = np.asarray([100, 200]), np.stack([final, final], axis=1)
    return results.Run(Path(f"{rate}"), steps, returns, final, np.full(len(final), -1), summary | changes)


def drawn(monkeypatch, draw, *arguments):
    """The axes of a plot, and its labels."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    draw(*arguments)
    axes = figures[0].axes[0]
    return axes, axes.get_legend_handles_labels()[1]


@pytest.mark.parametrize(
    ("without", "window", "places"),
    [(1e-2, "from 0.1 to 1", (1e-2,)), (1e-1, "from 1 to 1", (1e-1,)), (1.0, "from 0.075 to 0.1", (1.0,))],
)
def test_a_rate_without_a_result_is_marked_and_ends_line_and_window(monkeypatch, without, window, places):
    scores = {1e-3: 10.0, 1e-2: 20.0, 1e-1: 98.0, 1.0: 100.0}
    runs = [run_at(rate, (np.nan, 500.0) if rate == without else (score, score)) for rate, score in scores.items()]
    axes, labels = drawn(monkeypatch, plots.sensitivity, runs[::-1], None)
    assert labels == [f"adam: within 10 % of its best {window}; no result at {without:g}"]
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [tuple(line.get_xdata()) for line in crosses] == [places]
    line = next(line for line in axes.lines if line.get_marker() == "o")
    assert np.isnan(line.get_ydata()[list(line.get_xdata()).index(without)])


def test_a_run_with_another_run_below_it_is_found_and_a_sweep_that_has_not_begun_is_named(tmp_path):
    run = dataclasses.replace(CONFIG, rates=(), learning_rate=1e-3)
    experiment.run(run, tmp_path / "outer", progress=False)
    shutil.copytree(tmp_path / "outer", tmp_path / "inner")
    shutil.move(tmp_path / "inner", tmp_path / "outer" / "inner")
    found = results.find_runs([tmp_path / "outer"])
    assert [one.folder for one in found] == [tmp_path / "outer", tmp_path / "outer" / "inner"]
    folders.prepare(tmp_path / "outer" / "sweep", CONFIG)
    with pytest.warns(RuntimeWarning, match="sweep holds an unfinished run; it is left out"):
        assert len(results.find_runs([tmp_path / "outer"])) == 2


def put(folder, *, hyper=(), **settings):
    """Only the settings of a run, which are what tells it apart."""
    base = typed.plain(TrainConfig(optimizer="adamw", seeds=2)) | {"format": legacy.FORMAT, "theta_sha256": None}
    folder.mkdir(parents=True)
    (folder / results.CONFIG).write_text(json.dumps(base | settings | {"hyper": base["hyper"] | dict(hyper)}))
    return folder


def test_runs_are_told_apart_by_what_they_differ_in(tmp_path, monkeypatch):
    places = [
        put(tmp_path / "a"),
        put(tmp_path / "b", options={"weight_decay": 0.1}),
        put(tmp_path / "c", seed=7, hyper={"gamma": 0.9}),
        put(tmp_path / "d" / "run", seeds=3),
        put(tmp_path / "e" / "run", seeds=3),
        put(tmp_path / "f", optimizer="celo2", theta="x/mine.theta", theta_sha256="1"),
        put(tmp_path / "g", optimizer="celo2", theta_sha256="2"),
    ]
    runs = [
        run_at(1e-3, (1.0, 2.0), optimizer="celo2" if p.name in "fg" else "adamw")._replace(folder=p) for p in places
    ]
    told = [run.summary["apart"] for run in labels.tell_apart(runs)]
    assert told == [
        "weight_decay 0.01, seeds 2, seed 0, gamma 0.99",
        "weight_decay 0.1, seeds 2, seed 0, gamma 0.99",
        "weight_decay 0.01, seeds 2, seed 7, gamma 0.9",
        f"weight_decay 0.01, seeds 3, seed 0, gamma 0.99, {places[3]}",
        f"weight_decay 0.01, seeds 3, seed 0, gamma 0.99, {places[4]}",
        "theta mine, seeds 2, seed 0, gamma 0.99",
        "theta packaged, seeds 2, seed 0, gamma 0.99",
    ]
    assert [run.summary["apart"] for run in labels.tell_apart(runs[:2])] == ["weight_decay 0.01", "weight_decay 0.1"]
    assert [run.summary["apart"] for run in labels.tell_apart([runs[0], runs[6]])] == ["", ""]
    _, shown = drawn(monkeypatch, plots.learning_curves, labels.tell_apart(runs[:2]), None)
    assert shown[1] == "adamw (learning rate 0.001, weight_decay 0.1)"


def test_runs_are_drawn_together_whichever_command_made_them(tmp_path, command, write_run):
    experiment.sweep([CONFIG], tmp_path / "sweep", progress=False)
    shorter = dataclasses.replace(HYPER, total_steps=64 * 10)
    write_run(tmp_path / "single", TrainConfig(optimizer="rmsprop", hyper=shorter), [10.0, 20.0, 30.0])
    plot = tmp_path / "together.png"
    found = [tmp_path / name for name in ("sweep", "single", "sweep/adam", "single")]
    done = command("plot", *found, "--out", plot)
    assert done.status == 0
    table = done.out
    assert table.count("│ adam ") == 2
    assert table.count("│ rmsprop ") == 1
    assert "640 to 1,280 steps per seed" in table
    told = [run.summary["apart"] for run in experiment.draw([tmp_path], plot)]
    assert told == ["seeds 3, seed 0, total_steps 640", *["seeds 2, seed 5, total_steps 1280"] * 2]
    assert table.count("total_s") == 3  # folded
    assert plot.stat().st_size > 10_000
    other = tmp_path / "other"
    write_run(other, TrainConfig(agent="dqn", optimizer="adam", hyper=DQN), [10.0])
    refused = command("plot", tmp_path)
    assert refused.status == 2
    assert "only runs of one agent on one environment" in refused.err
    (other / results.SUMMARY).unlink()
    with pytest.warns(RuntimeWarning, match="other holds an unfinished run; it is left out"):
        assert len(results.find_runs([tmp_path])) == 3
    (tmp_path / "empty").mkdir()
    refused = command("plot", tmp_path / "empty")
    assert refused.status == 2
    assert "empty holds no run" in refused.err
