"""A run does not notice what its trackers do."""

import threading

import pytest

from rlopt.runs import experiment
from rlopt.tracking.session import PopulationTracking, Session
from rlopt.tracking.trackers import TensorBoard
from tracked import CONFIG, LONG, Fake, assert_same, follow, rows_of, subject, untracked

__all__ = ["untracked"]
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("shared_programs")]


def fails(row):
    raise RuntimeError("no network")


def ends_the_program(row):
    raise SystemExit(3)


@pytest.mark.parametrize("do", [fails, ends_the_program])
def test_a_tracker_that_fails_is_given_up_with_one_warning_and_changes_nothing(tmp_path, untracked, do):
    broken, whole = Fake(do), Fake()
    session = Session({"broken": broken, "whole": whole}, LONG)

    def train() -> None:
        experiment.run(CONFIG, tmp_path / "run", progress=False, tracker=session)
        follow(session, tmp_path, 3)  # a second population does not try it again
        session.close()

    with pytest.warns(
        UserWarning, match=r"going on without broken: (RuntimeError: no network|SystemExit: 3)"
    ) as caught:
        train()
    assert len(caught) == 1
    assert_same(tmp_path / "run", untracked)
    assert broken.rows == []
    assert [row["step"] for row in whole.rows] == [row["step"] for row in rows_of(untracked)] + [0, 1, 2]


def test_a_tracker_that_cannot_be_made_is_given_up(tmp_path):
    missing = tmp_path / "file"
    missing.write_text("where a folder is wanted")
    session = Session({"TensorBoard": TensorBoard}, LONG)
    follow(session, missing, 1)
    with pytest.warns(UserWarning, match=r"going on without TensorBoard: .*Error"):
        session.close()


def test_a_run_ends_while_its_tracker_is_stuck_and_the_tracker_gets_its_rows_afterwards(tmp_path, untracked):
    ended = threading.Event()
    stuck = Fake(lambda row: ended.wait())
    session = Session({"stuck": stuck}, LONG)
    experiment.run(CONFIG, tmp_path / "run", progress=False, tracker=session)  # would never come back if it waited
    assert stuck.rows == []
    ended.set()
    session.close()
    assert_same(tmp_path / "run", untracked)
    assert [row["step"] for row in stuck.rows] == [row["step"] for row in rows_of(untracked)]
    assert stuck.ends == [True]


def test_a_start_that_hangs_holds_nothing_up(tmp_path):
    for_ever = threading.Event()
    session = Session({"hung": lambda subjects, first: for_ever.wait()}, 0.01)
    follow(session, tmp_path, 3)
    with pytest.warns(UserWarning, match="going on without hung: it did not finish in 0.01 s"):
        session.close()
    for_ever.set()


def test_a_run_ends_while_wandb_hangs(tmp_path, fake_wandb, untracked):
    (fake_wandb.folder / "init-hangs").touch()

    def train() -> Session:
        with PopulationTracking(wandb="online", tracker_wait=0.01).open() as session:
            experiment.run(CONFIG, tmp_path / "run", progress=False, tracker=session)
        return session

    with pytest.warns(UserWarning, match="going on without wandb: it did not finish in 0.01 s"):
        session = train()
    assert_same(tmp_path / "run", untracked)
    (fake_wandb.folder / "init-hangs").unlink()
    assert session._workers["wandb"].join(LONG)


@pytest.mark.parametrize("where", ["init", "log"])
@pytest.mark.parametrize(
    ("what", "reason"), [("raises", "OSError: no network"), ("dies", "process ended with status 3")]
)
def test_a_run_goes_on_when_wandb_fails_and_says_why(tmp_path, fake_wandb, untracked, where, what, reason):
    (fake_wandb.folder / f"{where}-{what}").touch()

    def train() -> None:
        with PopulationTracking(wandb="online", tracker_wait=LONG).open() as session:
            experiment.run(CONFIG, tmp_path / "run", progress=False, tracker=session)

    with pytest.warns(UserWarning, match=f"going on without wandb: .*{reason}") as caught:
        train()
    assert len(caught) == 1
    assert_same(tmp_path / "run", untracked)


def test_rows_that_find_no_room_are_dropped_with_one_warning(tmp_path):
    begun, go = threading.Event(), threading.Event()

    def slowly(row):
        begun.set()
        go.wait()

    slow = Fake(slowly)
    session = Session({"slow": slow}, LONG, capacity=2)

    def train() -> None:
        with session.follow([subject(tmp_path)]) as report:
            report([{"step": 0}])
            assert begun.wait(LONG)
            for step in range(1, 6):
                report([{"step": step}])
        go.set()
        session.close()

    with pytest.warns(UserWarning, match="slower than the run; rows are left out") as caught:
        train()
    assert len(caught) == 1
    assert [row["step"] for row in slow.rows] == [0, 1, 2]
    assert slow.ends == [True]


def test_what_is_not_begun_when_the_wait_is_over_is_not_done(tmp_path):
    begun, go = threading.Event(), threading.Event()

    def slowly(row):
        begun.set()
        go.wait()

    slow = Fake(slowly)
    session = Session({"slow": slow}, 0.01)
    follow(session, tmp_path, 3)
    assert begun.wait(LONG)
    with pytest.warns(UserWarning, match="did not finish"):
        session.close()
    go.set()
    session._workers["slow"].join(LONG)
    assert [row["step"] for row in slow.rows] == [0]
