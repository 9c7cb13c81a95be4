"""Searches that Optuna guides: what is tried, and that no kill loses a trial or has one trained twice."""

import json

import numpy as np
import pytest

from helpers import ask_to_stop
from rlopt import cli
from rlopt.report import reading
from rlopt.runs import folders, guided, results, searched, study
from rlopt.storage.stopping import Unfinished
from rlopt.training import checkpoint, search

optuna = pytest.importorskip("optuna")
from optuna.storages import JournalStorage  # noqa: E402
from optuna.storages.journal import JournalFileBackend  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPACE = "factor=log:0.1:10 b2=choice:0.9:0.99:0.999 entropy_coef=lin:0:0.05"
WORDS = f"--sampler optuna --trials 20 --seeds 2 --space {SPACE}"


def plans(words=WORDS, optimizers="adam"):
    command = cli._parse(["sweep", "ppo", "--optimizers", *optimizers.split(), *words.split()])
    return [guided.Plan(config, part) for config, part in command.parts()]


class Killed(BaseException):
    """In place of a signal."""


class Trainer:
    """In place of jobs: writes finished runs that nobody trained, the better the nearer to a rate of 0.01.

    It counts what happens, and is killed at one of these moments.
    """

    def __init__(self, write_run, kill_at=None):
        self.write_run, self.kill_at, self.moments, self.trained = write_run, kill_at, 0, []

    def moment(self, half=None):
        self.moments += 1
        if self.moments == self.kill_at:
            if half is not None:
                half()
            raise Killed

    def __call__(self, root, populations):
        for folder, config in populations.items():
            folders.prepare(folder, config)
            self.moment()
            for place, cell in folders.places(folder, config):
                if not results.is_finished(place):
                    score = 100 - 10 * abs(np.log10(cell.resolved_learning_rate / 0.01))
                    self.trained.append(place.name)
                    self.write_run(place, cell, [score, score])
                    self.moment()


@pytest.fixture
def journal_kills(monkeypatch):
    """A function that lets a trainer be killed at every line of the journal: before it, and in the middle of it."""
    append = JournalFileBackend.append_logs

    def by(trainer):
        def slowly(self, logs):
            def half():
                with open(self._file_path, "ab") as file:
                    file.write(json.dumps(logs[0]).encode()[:40])

            trainer.moment(half)
            append(self, logs)
            trainer.moment()

        monkeypatch.setattr(JournalFileBackend, "append_logs", slowly)

    return by


def told(folder, name="adam"):
    """What the journal has of a study, read by Optuna alone: settings, states and results."""
    found = optuna.load_study(
        study_name=name, storage=JournalStorage(JournalFileBackend(str(folder / study.JOURNAL)))
    ).get_trials()
    return [(x.number, x.params, x.state.name, x.value) for x in found]


def test_a_study_that_is_killed_at_any_moment_has_the_same_trials_each_trained_and_told_once(
    tmp_path, write_run, journal_kills
):
    whole = Trainer(write_run)
    runs, plot = guided.sweep(plans(), tmp_path / "whole", progress=False, launch=whole)
    assert plot.is_file()
    assert len({run.folder for run in runs}) == len(whole.trained) == len(set(whole.trained)) == 20
    trained, kill_at, kills = [], 0, 0
    while True:
        kill_at += 1
        killed = Trainer(write_run, kill_at)
        journal_kills(killed)
        try:
            again, _ = guided.sweep(plans(), tmp_path / "killed", progress=False, launch=killed)
            break
        except Killed:
            kills += 1
        finally:
            trained += killed.trained
    assert kills > 10
    assert [run.folder.name for run in again] == [run.folder.name for run in runs]
    assert trained == whole.trained
    assert told(tmp_path / "killed") == told(tmp_path / "whole")
    assert {state for _, _, state, _ in told(tmp_path / "killed")} == {"COMPLETE"}
    scores = [run.summary["final_return_iqm"] for run in runs]
    assert [value for *_, value in told(tmp_path / "whole")] == pytest.approx(scores)
    assert np.mean(scores[10:]) > np.mean(scores[:10])  # what came of the first ten guides the others


@pytest.mark.usefixtures("shared_programs")
@pytest.mark.slow
def test_a_study_that_is_stopped_within_a_batch_says_how_to_go_on_and_goes_on_bit_for_bit(tmp_path, at_line):
    small = "--steps 1280 --num-envs 4 --rollout-length 16 --epochs 1 --minibatches 1 --hidden 8"
    words = f"{WORDS.replace('20', '4')} --batch 2 {small}"
    whole, _ = guided.sweep(plans(words), tmp_path / "whole", progress=False)
    folder = tmp_path / "stopped"
    how = "`rlopt resume .*adam` resumes it from there, and the same command with --out .*stopped with the study"
    with pytest.raises(Unfinished, match=how):
        guided.sweep(plans(words), folder, progress=False, tracker=at_line(7, ask_to_stop))
    assert checkpoint.exists(folder / "adam")
    again, _ = guided.sweep(plans(words), folder, progress=False)
    assert told(folder) == told(tmp_path / "whole")
    for one, other in zip(whole, again, strict=True):
        assert one.folder.name == other.folder.name
        np.testing.assert_array_equal(one.returns, other.returns)


def test_a_batch_is_one_population_and_more_trials_go_on_with_what_is_known(tmp_path, write_run):
    class Sizes(Trainer):
        def __call__(self, root, populations):
            sizes.append([len(config.trials) for config in populations.values()])
            super().__call__(root, populations)

    sizes = []
    two = "adam sgd"
    short = WORDS.replace("20", "6") + " --batch 4"
    runs, _ = guided.sweep(plans(short, two), tmp_path, progress=False, launch=Sizes(write_run))
    assert [x for x in sizes if x] == [[4, 4], [2, 2], [6, 6]]  # the last: all are there
    first = {name: told(tmp_path, name) for name in two.split()}
    sizes.clear()
    more, _ = guided.sweep(plans(short.replace("6", "9"), two), tmp_path, progress=False, launch=Sizes(write_run))
    assert [x for x in sizes if x] == [[3, 3], [9, 9]]
    assert len(more) == 18
    for name in two.split():
        assert told(tmp_path, name)[:6] == first[name]
    fewer, _ = guided.sweep(plans(short, two), tmp_path, progress=False, launch=Trainer(write_run))
    assert [run.folder for run in fewer] == [run.folder for run in runs]


def test_the_first_trials_are_those_of_a_random_search_and_its_runs_are_taken(tmp_path, write_run):
    (config,) = cli._parse(
        ["sweep", "ppo", "--optimizers", "adam", "--random", "10", "--seeds", "2", "--space", *SPACE.split()]
    ).configs()
    random = Trainer(write_run)
    random(tmp_path, {tmp_path / "adam": config})
    after = Trainer(write_run)
    runs, _ = guided.sweep(plans(), tmp_path, progress=False, launch=after)
    assert [run.folder.name for run in runs[:10]] == random.trained
    assert len(after.trained) == 10


def test_trials_without_a_result_count_as_the_worst_and_a_report_takes_the_best_of_all(tmp_path, write_run):
    def launch(root, populations):
        for folder, config in populations.items():
            folders.prepare(folder, config)
            for k, (place, cell) in enumerate(folders.places(folder, config)):
                if not results.is_finished(place):
                    write_run(place, cell, [np.nan] * 2 if k == 1 else [float(k)] * 2)

    runs, _ = guided.sweep(plans(WORDS.replace("20", "10")), tmp_path, progress=False, launch=launch)
    states = [state for _, _, state, _ in told(tmp_path)]
    assert states == (["COMPLETE", "PRUNED"] + ["COMPLETE"] * 3) * 2
    assert len(runs) == 10
    found = reading.read([tmp_path])
    assert any("the best of the 10 trials" in said for said in found.problems)


def test_no_trial_is_proposed_twice_and_a_space_without_more_is_said(tmp_path, write_run):
    (plan,) = plans("--sampler optuna --trials 9 --seeds 2 --space b2=choice:0.9:0.99:0.999 gamma=choice:0.9:0.95:0.99")
    runs, _ = guided.sweep([plan], tmp_path / "all", progress=False, launch=Trainer(write_run))
    assert len({run.folder for run in runs}) == 9
    (plan,) = plans("--sampler optuna --trials 4 --seeds 2 --space gamma=lin:0.9:0.9001")
    with pytest.raises(ValueError, match="adam: the space has no more trials than about 2; ask for fewer --trials"):
        guided.sweep([plan], tmp_path / "none", progress=False, launch=Trainer(write_run))
    (plan,) = plans("--sampler optuna --trials 2 --seeds 2 --space gamma=lin:0.9:0.9001")
    runs, _ = guided.sweep([plan], tmp_path / "none", progress=False, launch=Trainer(write_run))
    assert len(runs) == 2


def test_what_was_proposed_is_what_is_tried_with_four_digits_and_within_the_bounds():
    within = search.Range("log", (0.12344, 0.12346))
    assert within.near(0.123441) == 0.12344
    assert within.near(0.123459) == 0.12346
    assert search.Range("lin", (0.0, 1.0)).near(0.123456) == 0.1235
    assert search.Range("choice", (0.123456,)).near(0.123456) == 0.123456


def test_another_search_or_somebody_elses_study_is_refused(tmp_path, write_run):
    short = WORDS.replace("20", "5")
    guided.sweep(plans(short), tmp_path / "a", progress=False, launch=Trainer(write_run))
    before = (tmp_path / "a" / study.JOURNAL).read_bytes()
    for changed in (short.replace("0.05", "0.1"), f"{short} --random-seed 1"):
        with pytest.raises(ValueError, match=r"study 'adam' .* is of another search: --space factor=log:0.1:10.0 b2"):
            guided.sweep(plans(changed), tmp_path / "a", progress=False, launch=Trainer(write_run))
    with pytest.raises(ValueError, match="seeds"):
        guided.sweep(plans(short.replace("--seeds 2", "--seeds 3")), tmp_path / "a", progress=False)
    assert (tmp_path / "a" / study.JOURNAL).read_bytes() == before
    (tmp_path / "b").mkdir()
    theirs = optuna.create_study(
        study_name="adam", storage=JournalStorage(JournalFileBackend(str(tmp_path / "b" / study.JOURNAL)))
    )
    theirs.ask()
    with pytest.raises(ValueError, match=r"study .adam. in optuna\.journal was not begun by rlopt"):
        guided.sweep(plans(short), tmp_path / "b", progress=False)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / study.JOURNAL).write_text("no journal\n{}\n")
    with pytest.raises(ValueError, match="cannot be read as a journal of Optuna"):
        guided.sweep(plans(short), tmp_path / "c", progress=False)


def test_trials_that_somebody_else_put_into_the_queue_are_left_alone(tmp_path, write_run):
    short = WORDS.replace("20", "5")
    guided.sweep(plans(short), tmp_path, progress=False, launch=Trainer(write_run))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / study.JOURNAL)))
    optuna.load_study(study_name="adam", storage=storage).enqueue_trial({"b2": 0.9})
    runs, _ = guided.sweep(plans(short.replace("5", "10", 1)), tmp_path, progress=False, launch=Trainer(write_run))
    assert len(runs) == 10
    assert [state for _, _, state, _ in told(tmp_path)].count("WAITING") == 1


def test_a_study_is_printed_like_any_search(tmp_path, write_run):
    runs, _ = guided.sweep(
        plans(WORDS.replace("20", "5"), "adam sgd"), tmp_path, progress=False, launch=Trainer(write_run)
    )
    found = searched.by_optimizer(searched.read(runs))
    assert {name: len(mine) for name, mine in found.items()} == {"adam": 5, "sgd": 5}
    assert searched.cpu_seconds(found["adam"]) == 15.0
