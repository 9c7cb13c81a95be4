"""What trackers get."""

import contextlib
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from helpers import SMALL_META
from rlopt.runs import experiment, results
from rlopt.storage.stopping import Unfinished
from rlopt.tracking.session import PopulationTracking, Session, Tracking
from rlopt.tracking.session import follow as follow_one
from rlopt.tracking.subjects import Subject
from rlopt.tracking.trackers import RUNS, TensorBoard
from tracked import CONFIG, FLAGS, LONG, follow, rows_of, scalars, subject, untracked

__all__ = ["untracked"]
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("shared_programs")]


def test_offline_runs_leave_files_for_wandb_sync_one_per_seed_or_per_population(tmp_path):
    for runs, count in (("seed", 2), ("population", 1)):
        folder = tmp_path / runs
        folder.mkdir()
        with PopulationTracking(wandb="offline", wandb_runs=runs, tracker_wait=LONG).open() as session:
            follow(session, folder, 3)
        found = [path.read_bytes() for path in folder.rglob("*.wandb")]
        assert len(found) == count
        assert all(b"loss" in contents for contents in found)


@pytest.mark.parametrize("wandb", ["off", "disabled"])
def test_off_opens_nothing_and_a_run_refused_before_its_first_row_leaves_nothing(tmp_path, wandb):
    with Tracking(wandb=wandb).open() as opened:
        assert opened is None
        with follow_one(opened, [subject(tmp_path)]) as report:
            report([{"step": 1}])
    with Tracking(wandb="offline", tensorboard=True).open() as session, session.follow([subject(tmp_path)]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_no_source_is_parsed_beside_the_run(tmp_path):
    """In CPython 3.11, two threads that parse at once can make each other fail; reading a NumPy file parses."""
    code = """
import ast, sys, threading
parse, where = ast.parse, []
ast.parse = lambda *a, **k: (where.append(threading.current_thread().name), parse(*a, **k))[1]
from pathlib import Path
from rlopt.tracking.session import PopulationTracking
from rlopt.tracking.subjects import Subject
with PopulationTracking(wandb="offline", tensorboard=True, tracker_wait=60.0).open() as session:
    with session.follow([Subject(Path(sys.argv[1]), "one", "all", {}, "step", {})]) as report:
        report([{"step": 1, "loss": 0.5}])
print(set(where))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "{'MainThread'}", done.stderr
    assert list(tmp_path.rglob("*.wandb"))


def test_impossible_settings_are_refused():
    for wait in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=rf"tracker_wait must lie in \[0, 86400\] seconds, got {wait}"):
            Tracking(tracker_wait=wait).check()
    with pytest.raises(ValueError, match=r"wandb_project must have .* got 'a/b'"):
        Tracking(wandb_project="a/b").check()
    with pytest.raises(ValueError, match="wandb_tags must have 1 to 64 characters each, got ''"):
        Tracking(wandb_tags=("a", "")).check()
    with pytest.raises(ValueError, match="wandb_name must have 1 to 128 characters, got ''"):
        Tracking(wandb_name="").check()


def test_runs_have_the_names_tags_and_notes_that_were_asked_for(tmp_path, fake_wandb):
    tracking = Tracking(
        wandb="offline",
        wandb_name="mine",
        wandb_entity="us",
        wandb_group="paper",
        wandb_tags=("a", "b"),
        wandb_notes="why",
        tracker_wait=LONG,
    )
    words = "--wandb offline --wandb-entity us --wandb-name mine --wandb-group paper --wandb-tags a b --wandb-notes why"
    assert tracking.flags[: len(words.split())] == tuple(words.split())
    with tracking.open() as session:
        for one in (subject(tmp_path), dataclasses.replace(subject(tmp_path / "x"), name="b-adam", group="b")):
            with session.follow([one]) as report:
                report([{"step": 0, "loss": [1.0, 2.0]}])
    found = fake_wandb.runs()
    assert [one.name for one in found] == ["mine", "mine-adam"]
    assert {(one.entity, one.group, tuple(one.tags), one.notes) for one in found} == {
        ("us", "paper", ("a", "b"), "why")
    }


def test_a_run_per_seed_has_its_seed_and_its_values_and_the_folder_as_group(tmp_path, fake_wandb):
    with PopulationTracking(wandb="offline", wandb_runs="seed", tracker_wait=LONG).open() as session:
        run = experiment.run(CONFIG, tmp_path / "mine", progress=False, tracker=session)
    assert [one.name for one in fake_wandb.runs()] == ["mine-seed-5", "mine-seed-6"]
    assert {one.group for one in fake_wandb.runs()} == {"mine"}
    assert [(one.config["seed"], one.config["seeds"]) for one in fake_wandb.runs()] == [(5, 1), (6, 1)]
    assert [one.exit_code for one in fake_wandb.runs()] == [0, 0]
    rows = rows_of(run.folder)
    for i, one in enumerate(fake_wandb.runs()):
        assert list(one.logged) == [row["step"] for row in rows]
        for row in rows:
            assert one.logged[row["step"]] == {k: v[i] for k, v in row.items() if k != "step" and v[i] is not None}


def test_what_was_trained_is_an_artifact_of_the_first_run_on_request(tmp_path, fake_wandb):
    for runs, model in (("seed", True), ("population", True), ("population", False)):
        with PopulationTracking(
            wandb="offline", wandb_runs=runs, wandb_model=model, wandb_name="my run", tracker_wait=LONG
        ).open() as session:
            run = experiment.run(CONFIG, tmp_path / f"{runs}{model}", progress=False, tracker=session)
        assert ("--wandb-model" in PopulationTracking(wandb_model=model).flags) is model
    kept = {name: (run.folder.parent / "seedTrue" / name).read_bytes() for name in results.MODEL}
    first, second, whole, none = fake_wandb.runs()
    assert [len(one.models) for one in (first, second, whole, none)] == [1, 0, 1, 0]
    (found,) = first.models
    assert (found["name"], found["type"]) == ("my-run", "model")
    for name, data in found["files"].items():
        (tmp_path / "back").mkdir(exist_ok=True)
        (tmp_path / "back" / name).write_bytes(bytes.fromhex(data))
    assert {name: (tmp_path / "back" / name).read_bytes() for name in found["files"]} == kept
    np.testing.assert_array_equal(results.read_run(tmp_path / "back").final, run.final)


def test_a_run_that_is_stopped_has_no_artifact_and_one_that_cannot_be_kept_is_said(tmp_path, fake_wandb):
    (tmp_path / "there").write_text("x")

    def run(end=None) -> None:
        tracking = Tracking(wandb="offline", wandb_model=True, tracker_wait=LONG)
        with tracking.open() as session, session.follow([subject(tmp_path, model=("there", "missing"))]) as report:
            report([{"step": 0, "loss": [1.0, 2.0]}])
            if end is not None:
                raise end

    with pytest.raises(Unfinished):
        run(Unfinished())
    run()
    stopped, ended = fake_wandb.runs()
    assert stopped.models == []
    assert [list(one["files"]) for one in ended.models] == [["there"]]
    (fake_wandb.folder / "artifact-raises").touch()
    with pytest.warns(UserWarning, match="going on without wandb: .*OSError: no network"):
        run()


def test_each_cell_of_a_sweep_is_a_run_with_mean_and_seeds(tmp_path, fake_wandb):
    config = dataclasses.replace(CONFIG, learning_rate=None, rates=(1e-3, 1e-2))
    with PopulationTracking(wandb="offline", tensorboard=True, tracker_wait=LONG).open() as session:
        runs, _ = experiment.sweep([config], tmp_path / "s", progress=False, tracker=session)
    assert [one.name for one in fake_wandb.runs()] == ["s-adam-rate-0.001", "s-adam-rate-0.01"]
    assert {one.group for one in fake_wandb.runs()} == {"s"}
    assert [one.config["learning_rate"] for one in fake_wandb.runs()] == [1e-3, 1e-2]
    for run, one in zip(runs, fake_wandb.runs(), strict=True):
        shown = scalars(run.folder)
        for row in rows_of(run.folder):
            a, b = row["loss"]
            for logged in (one.logged[row["step"]], shown[row["step"]]):
                assert logged["loss/seed-5"] == pytest.approx(a)
                assert logged["loss/seed-6"] == pytest.approx(b)
                assert logged["loss/mean"] == pytest.approx((a + b) / 2)


def test_a_seed_without_a_value_is_left_out_of_the_mean(tmp_path):
    session = Session({"TensorBoard": TensorBoard}, LONG)
    with session.follow([subject(tmp_path)]) as report:
        report([{"step": 7, "return": [float("nan"), 3.0], "loss": [float("nan")] * 2}])
    session.close()
    assert scalars(tmp_path) == {7: {"return/mean": 3.0, "return/seed-6": 3.0}}


def test_rows_without_members_are_tracked_as_they_are(tmp_path):
    session = Session({"TensorBoard": TensorBoard}, LONG)
    one = Subject(tmp_path, "one", "", {}, "iteration")
    with session.follow([one]) as report:
        report([{"iteration": 10, "loss": 0.5, "family_loss": {"mnist/mlp": 0.25}}])
    session.close()
    assert scalars(tmp_path) == {10: {"loss": 0.5, "family_loss/mnist/mlp": 0.25}}


class CutShort:
    """A session, but that a run ends before it can hand on its fourth row."""

    def __init__(self, session):
        self.session = session

    @contextlib.contextmanager
    def follow(self, subjects):
        rows = []
        with self.session.follow(subjects) as report:

            def report_three(row):
                rows.append(row)
                if len(rows) == 4:
                    raise Unfinished("cut")
                report(row)

            yield report_three


@pytest.mark.usefixtures("saves_at_every_interval")
def test_a_run_that_goes_on_is_the_same_run_in_its_trackers(tmp_path, fake_wandb):
    folder = tmp_path / "cut"
    config, before = dataclasses.replace(CONFIG, seeds=1), PopulationTracking("offline", tracker_wait=LONG)
    with before.open() as session, pytest.raises(Unfinished):
        experiment.run(config, folder, progress=False, tracker=CutShort(session))
    # Tracked otherwise: that is no part of the run.
    with PopulationTracking("online", "other", tensorboard=True, tracker_wait=LONG).open() as session:
        (run,) = experiment.resume(folder, progress=False, tracker=session)
    steps = [row["step"] for row in rows_of(folder)]
    first, second = fake_wandb.runs()
    assert (first.mode, first.exit_code, list(first.logged)) == ("offline", 1, steps[:3])
    assert (second.mode, second.exit_code, list(second.logged)) == ("online", 0, steps[3:])
    assert (first.id, first.name, first.group) == (second.id, second.name, second.group)
    assert second.resume == "allow"
    assert (folder / "wandb" / RUNS).is_file()
    assert list(scalars(folder)) == steps[3:]
    assert run.summary["seeds"] == 1


def test_rows_that_are_made_again_replace_those_before_them(tmp_path):
    for steps in (range(5), range(3, 6)):
        session = Session({"TensorBoard": TensorBoard}, LONG)
        with session.follow([subject(tmp_path)]) as report:
            for step in steps:
                report([{"step": step, "loss": [float(steps.start)] * 2}])
        session.close()
    shown = {step: values["loss/mean"] for step, values in scalars(tmp_path).items()}
    assert shown == {0: 0.0, 1: 0.0, 2: 0.0, 3: 3.0, 4: 3.0, 5: 3.0}


def test_flags_of_train_resume_and_compare(tmp_path, command, fake_wandb):
    flags = ["--wandb", "offline", "--tensorboard", "--tracker-wait", str(LONG)]
    out = tmp_path / "a"
    one = ["--optimizer", "adam", "--learning-rate", "1e-3", "--out", out]
    assert command("train", "ppo", *FLAGS, *one, *flags, "--wandb-runs", "seed").status == 0
    assert [one.name for one in fake_wandb.runs()] == ["a-seed-5", "a-seed-6"]
    assert list(scalars(out)) == [row["step"] for row in rows_of(out)]
    assert "wandb" not in json.loads((out / results.CONFIG).read_text())
    several = ["--optimizers", "adam", "sgd", "--learning-rates", "1e-3", "1e-3", "--out", tmp_path / "b"]
    assert command("compare", "ppo", *FLAGS, *several, *flags, "--wandb-project", "mine").status == 0
    assert [(one.name, one.group, one.project) for one in fake_wandb.runs()[2:]] == [
        ("b-adam", "b", "mine"),
        ("b-sgd", "b", "mine"),
    ]


def test_metatrain_goes_on_in_the_same_run(tmp_path, command, fake_wandb):
    out = tmp_path / "meta"
    words = ["metatrain", "celo_adam", *SMALL_META, "--out", out, "--validate-every", "0"]
    words += ["--wandb", "offline", "--tensorboard", "--tracker-wait", LONG, "--iterations"]
    assert command(*words, "2").status == 0
    assert command(*words, "4").status == 0
    first, second = fake_wandb.runs()
    assert first.id == second.id
    assert first.name == "meta"
    assert first.config["truncation"] == 5
    assert [*first.logged, *second.logged] == [row["iteration"] for row in rows_of(out)]
    assert set(scalars(out)) == {row["iteration"] for row in rows_of(out)}
    assert "loss" in second.logged[4]
