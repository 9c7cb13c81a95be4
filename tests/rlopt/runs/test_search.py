"""Searches over any setting that is an argument of the compiled program."""

import dataclasses
import importlib.util
import itertools
import json

import jax
import numpy as np
import optax
import pytest

from agents import PPOConfig
from helpers import told, weights_for
from rlopt import cli
from rlopt.optimizers import catalog, factory
from rlopt.report import reading
from rlopt.runs import console, experiment, folders, results, search_plot, searched
from rlopt.training import checkpoint, history, loop, placement, trials
from rlopt.training.config import TrainConfig

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("shared_programs")]

HYPER = PPOConfig(total_steps=64 * 20, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
TRIALS = (
    {"learning_rate": 1e-3, "b2": 0.999, "entropy_coef": 0.0},
    {"learning_rate": 1e-2, "b2": 0.9, "entropy_coef": 0.1},
)
CONFIG = TrainConfig(optimizer="adam", trials=TRIALS, seeds=2, seed=5, hyper=HYPER)


def lines(folder):
    return [json.loads(line) for line in (folder / results.METRICS).read_text().splitlines()]


def test_each_trial_learns_with_its_own_settings_whatever_else_is_tried():
    first, second = history.split(loop.train(CONFIG, progress=False), CONFIG)
    # Alone, options are numbers of the program: `1 - b2` is then rounded otherwise.
    alone = loop.train(CONFIG.cells[1], progress=False)
    np.testing.assert_allclose(second.metrics["loss"], alone.metrics["loss"], rtol=0.05, atol=1e-3)
    assert not np.allclose(first.metrics["loss"], alone.metrics["loss"], rtol=0.05, atol=1e-3)
    turned = loop.train(dataclasses.replace(CONFIG, trials=TRIALS[::-1]), progress=False)
    jax.tree.map(np.testing.assert_array_equal, first.params, history.split(turned, CONFIG)[1].params)


@pytest.mark.slow
def test_settings_of_the_agent_are_the_same_numbers_alone():
    config = dataclasses.replace(CONFIG, trials=tuple({"entropy_coef": x, "gamma": 0.9} for x in (0.0, 0.1)))
    alone = loop.train(config.cells[1], progress=False)
    np.testing.assert_array_equal(history.split(loop.train(config, progress=False), config)[1].returns, alone.returns)


# A stopped sweep is tried in test_sweep.py.
@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_bit_for_bit_also_with_another_trial_asked_for(stopped_sweep_goes_on):
    more = {"learning_rate": 1e-2, "b2": 0.99, "entropy_coef": 0.0}
    folder = stopped_sweep_goes_on(CONFIG, dataclasses.replace(CONFIG, trials=(TRIALS[1], more)))
    assert results.is_finished(folder / "adam" / trials.folder_name(more))


@pytest.mark.usefixtures("saves_at_every_interval")
def test_three_settings_of_two_optimizers_are_one_program_each_and_survive_kills(tmp_path, at_line, monkeypatch):
    words = "--optimizers adam adamw --grid learning_rate 1e-3 1e-2 --grid b2 0.9 0.99 --grid gamma 0.9 0.99 --seeds 1"
    small = "--num-envs 2 --rollout-length 4 --epochs 1 --minibatches 1 --hidden 4 --total-steps 160"
    asked, compiled, make = configs(f"{words} {small}"), [], placement.compile_chunk

    def counted(mesh, agent, length, state, in_turn):
        compiled.append(state.obs.shape[0])
        return make(mesh, agent, length, state, in_turn)

    def die():
        raise SystemExit

    monkeypatch.setattr(placement, "compile_chunk", counted)
    whole, _ = experiment.sweep(asked, tmp_path / "whole", progress=False)
    assert compiled == [8, 8]
    for begun, line in (("adam", 9), ("adamw", 5)):  # from line 9 on the first of them does not come by line 5
        with pytest.raises(SystemExit):
            experiment.sweep(asked, tmp_path / "cut", progress=False, tracker=at_line(line, die))
        assert checkpoint.exists(tmp_path / "cut" / begun)
    again, _ = experiment.sweep(asked, tmp_path / "cut", progress=False)
    assert len(again) == 2 * 8
    for run, other in zip(again, whole, strict=True):
        for name in (results.PARAMS, results.RETURNS, results.METRICS):
            assert (run.folder / name).read_bytes() == (other.folder / name).read_bytes(), (run.folder, name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--grid num_envs 4 8", "num_envs decides about shapes or the compiled program, so that trials cannot differ"),
        ("--grid nesterov 0 1 --optimizers nesterov", "option nesterov decides about the compiled program"),
        ("--grid target_kl 0.1 0.2", "target_kl would have no effect: the configuration has target_kl None"),
        ("--grid entropi 0 1", "has no setting 'entropi' that trials could differ in; entropy_coef,"),
        ("--grid b2", "--grid takes a setting and its values, as in `--grid b2 0.9 0.99`, got 'b2'"),
        ("--grid b2 0.9 x", "b2 must be a finite number to be searched, got 'x'"),
        ("--grid b2 0.9 0.99 --grid b2 0.999", "--grid: b2 is given twice"),
        ("--grid gamma 0.9 1.1", "gamma must lie in [0, 1], got 1.1"),
        ("--grid b2 0.9 --optimizers adam:b2=0.99", "the search varies b2, which is fixed at 0.99 for adam"),
        ("--grid b2 0.9 0.99 --optimizers adam sgd", "unlike numbers of trials (adam 2, sgd 1)"),
        ("--grid b2 0.9 --factors 0.1 1", "--factors is for rates alone; within a search: --grid factor 0.3 1 3"),
        ("--grid b2 0.9 --random 3", "a search is a grid (--grid) or random (--random and --space), not both"),
        ("--random 3", "a random search takes both the number of trials, --random, and --space"),
        ("--random 3 --space b2=choice:0.9:0.99", "has 2 different trials for adam, and --random asks for 3: a grid"),
        ("--random 3 --space b2=log:0:1", "the bounds of log must be positive, got 'b2=log:0:1'"),
        ("--random 3 --space b2=uniform:0:1", "--space takes NAME=log:LOW:HIGH,"),
        ("--sampler optuna", "a search by Optuna takes both the number of trials, --trials, and --space"),
        ("--sampler optuna --grid b2 0.9", "a search is a grid (--grid) or guided (--sampler optuna, --trials and"),
        ("--random 3 --trials 3 --space b2=lin:0:0.9", "of another sampler: --sampler optuna --trials N"),
        ("--sampler optuna --random 3 --space b2=lin:0:0.9", "of another sampler: --sampler optuna --trials N"),
        ("--random 3 --batch 2 --space b2=lin:0:0.9", "--batch is for --sampler optuna"),
        ("--sampler optuna --trials 3 --batch 0 --space b2=lin:0:0.9", "--batch must lie in [1, 10000], got 0"),
        ("--sampler optuna --trials 3 --space b2=choice:0.9:0.99", "has 2 different trials, and --trials asks for 3"),
        ("--sampler optuna --trials 3 --space gamma=lin:0.9:1.1", "gamma must lie in [0, 1], got 1.1"),
        ("--sampler optuna --trials 3 --space b2=lin:0:0.9 --optimizers adam sgd", "trials (adam 3, sgd 1)"),
    ],
)
def test_impossible_searches_are_refused(flags, message, command, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # whether there is Optuna or not
    words = ["--optimizers", "adam", *flags.split()]
    done = command("sweep", "ppo", "--out", tmp_path / "x", *words)
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "x").exists()


def configs(words):
    return cli._parse(["sweep", "ppo", *words.split()]).configs()


def test_a_grid_is_the_product_with_factors_of_each_optimizers_own_rate():
    adam, celo = configs("--optimizers adam celo_adam --grid factor 0.1 1 --grid entropy_coef 0 0.01")
    assert adam.trials == tuple({"learning_rate": a, "entropy_coef": b} for a in (2.5e-4, 2.5e-3) for b in (0.0, 0.01))
    assert [trial["share"] for trial in celo.trials] == [0.3, 0.3, 3.0, 3.0]
    assert [cell.handed_rate for cell in celo.cells] == [0.3, 0.3, 3.0, 3.0]
    adam, sgd = configs("--optimizers adam sgd --grid b2 0.9 0.99 --unequal")
    assert (adam.size, sgd.size, sgd.trials) == (16, 8, ())


def test_random_trials_are_as_many_for_all_and_those_of_a_longer_search_begin_alike():
    space = "--space factor=log:0.1:10 b2=choice:0.9:0.99 gamma=lin:0.9:0.99 --optimizers adam sgd --random"
    adam, sgd = configs(f"{space} 20")
    assert len(adam.trials) == len(sgd.trials) == 20
    assert all(2.5e-4 <= trial["learning_rate"] <= 2.5e-2 for trial in adam.trials)
    assert {trial["b2"] for trial in adam.trials} == {0.9, 0.99}
    assert [trial["gamma"] for trial in sgd.trials] == [trial["gamma"] for trial in adam.trials]
    assert set(sgd.trials[0]) == {"learning_rate", "gamma"}
    assert configs(f"{space} 5")[0].trials == adam.trials[:5]
    assert configs(f"{space} 5 --random-seed 1")[0].trials != adam.trials[:5]


def test_random_trials_are_all_different_and_as_many_as_were_asked_for():
    words = "--optimizers adam --space learning_rate=log:1e-4:1e-1 b2=choice:0.9:0.99 --random"
    (many,) = configs(f"{words} 64")  # of the first 64 draws, two are alike
    assert len({trials.folder_name(trial) for trial in many.trials}) == len(many.trials) == 64
    assert configs(f"{words} 63")[0].trials == many.trials[:63]
    (all_of_them,) = configs("--optimizers adam --random 4 --space b1=choice:0.8:0.9 b2=choice:0.9:0.99")
    assert len(all_of_them.trials) == 4


def test_trials_of_the_random_sampler_are_those_of_random():
    space = "--space factor=log:0.1:10 gamma=lin:0.9:0.99 --optimizers adam"
    assert configs(f"{space} --trials 5") == configs(f"{space} --random 5")


def test_every_option_that_may_be_searched_can_be_an_argument_of_the_program(tmp_path):
    params = {name: {"kernel": jax.numpy.ones((8, 8))} for name in ("input_0", "hidden_1", "policy_head")}
    for name, info in catalog.OPTIMIZERS.items():
        free = [x for x in trials.names_of("ppo", name) if x in info.options and x != catalog.SHARE]
        made = factory.make(name, weights_for(name, tmp_path), traced=free)

        def update(values, made=made):
            tx = optax.with_extra_args_support(made(1e-3, 100, **values))
            return tx.update(params, tx.init(params), params, **told(params))[0]

        values = {option: np.float32(info.options[option]) for option in free}
        assert jax.tree.structure(jax.eval_shape(update, values)) == jax.tree.structure(params), name


def test_a_users_function_says_whether_it_takes_traced_options(monkeypatch, tmp_path):
    (tmp_path / "mine_searched.py").write_text(
        "import optax\n"
        "def plain(learning_rate, decay=0.9):\n    return optax.sgd(learning_rate, momentum=decay)\n"
        "def branches(learning_rate, decay=0.9):\n    return optax.sgd(learning_rate, decay if decay > 0 else None)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    factory.make("mine_searched:plain", traced=["decay"])
    with pytest.raises(ValueError, match="compares or branches on decay in Python, so that trials cannot differ in it"):
        factory.make("mine_searched:branches", traced=["decay"])
    with pytest.raises(ValueError, match="unknown option of mine_searched:plain 'b2'; there are decay"):
        factory.make("mine_searched:plain", traced=["b2"])


@pytest.fixture
def searched_folder(tmp_path, write_run):
    """A finished search of two optimizers that nobody trained: the higher b2, the better."""
    found = []
    for name in ("adam", "lion"):
        values = (0.9, 0.99, 0.999)
        config = TrainConfig(
            optimizer=name, trials=tuple({"b2": x, "gamma": 0.9} for x in values), seeds=2, hyper=HYPER
        )
        for place, cell in folders.places(tmp_path / name, config):
            found.append(write_run(place, cell, [100 * cell.options["b2"]] * 2))
        results.write_config(tmp_path / name, config)
    return tmp_path, [results.read_run(place) for place in found]


def test_a_search_prints_its_best_trials_their_cost_and_how_to_go_on(searched_folder, capsys):
    console.show_search(searched_folder[1], searched_folder[0] / "x.png")
    out = capsys.readouterr().out
    assert [line.split("│")[2].strip() for line in out.splitlines() if "│ adam" in line] == ["0.999", "0.99", "0.9"]
    assert "lion: 3 trials of 2 seeds, 9 processor-seconds" in out
    line = next(line for line in out.splitlines() if "rlopt train" in line)
    words = line.partition("rlopt train")[2].split()
    again = cli._parse(["train", *words]).config
    best = searched.ranked(searched.read(searched_folder[1][:3]))[0].config
    assert again == dataclasses.replace(best, learning_rate=0.0025, seed=2)


def test_little_processor_time_is_not_said_to_be_none():
    assert [searched.spent(x) for x in (None, 0.042, 0.6, 9.4, 1234.5)] == [
        "",
        *(f", {said} processor-seconds" for said in ("0.04", "0.6", "9", "1,234")),
    ]


def test_the_command_of_the_best_trial_has_the_settings_of_games():
    config = TrainConfig(env="Pong-v5", optimizer="adam", learning_rate=1e-3, seeds=2)
    config = dataclasses.replace(config, atari=dataclasses.replace(config.atari, stagger=64, episodic_life=False))
    _, *words = searched.command(searched.Tried(None, config, {})).split()
    assert cli._parse(words).config == dataclasses.replace(config, seed=2)


def test_the_picture_of_a_search_has_a_panel_per_setting_and_a_line_through_the_best(searched_folder, monkeypatch):
    figures = []
    monkeypatch.setattr(search_plot, "save", lambda figure, path: figures.append(figure))
    runs = list(searched_folder[1])
    runs[0] = runs[0]._replace(summary=runs[0].summary | {"final_return_iqm": None})
    search_plot.draw(searched.read(runs), None)
    setting, best = figures[0].axes
    assert setting.get_xlabel() == "1 - b2"
    stars = [line for line in setting.lines if line.get_marker() == "*"]
    assert [float(np.ravel(star.get_ydata())[0]) for star in stars] == [pytest.approx(99.9)] * 2
    crosses = [line for line in setting.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[pytest.approx(0.1)]]
    np.testing.assert_allclose(best.lines[1].get_ydata(), [np.mean([90, 99, 99.9]), (99 + 2 * 99.9) / 3, 99.9])


def test_the_picture_of_a_guided_search_has_the_best_so_far(searched_folder, monkeypatch):
    figures = []
    monkeypatch.setattr(search_plot, "save", lambda figure, path: figures.append(figure))
    runs = [searched_folder[1][i] for i in (1, 0, 2)]
    search_plot.draw(searched.read(runs), None, guided=True)
    *_, best = figures[0].axes
    np.testing.assert_allclose(best.lines[0].get_ydata(), [99, 99, 99.9], rtol=1e-6)
    np.testing.assert_array_equal(searched.best_so_far(np.asarray([-np.inf, 1.0, -np.inf, 2.0])), [np.nan, 1, 1, 2])


def test_a_report_takes_the_best_trial_of_a_search_and_says_so(searched_folder):
    found = reading.read([searched_folder[0]])
    assert found.optimizers == ("adam", "lion")
    assert [cell.config.options["b2"] for cell in found.reported] == [0.999, 0.999]
    assert any("the best of the 3 trials" in said and "9 processor-seconds" in said for said in found.problems)


def test_the_best_of_n_is_that_of_all_subsets():
    scores = np.asarray([3.0, -np.inf, 1.0, 7.0])
    known = np.asarray([3.0, 1.0, 1.0, 7.0])
    every = [np.mean([max(known[list(s)]) for s in itertools.combinations(range(4), n)]) for n in range(1, 5)]
    np.testing.assert_allclose(searched.expected_best(scores), every)
