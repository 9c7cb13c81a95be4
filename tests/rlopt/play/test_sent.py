"""Films that are sent to trackers: into which runs, at which step, and what happens where it fails."""

import json

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from rlopt.play import sent
from rlopt.play.film import Episode, Film
from rlopt.runs import results
from rlopt.tracking.session import PopulationTracking, Tracking
from rlopt.tracking.subjects import population
from rlopt.tracking.trackers import RUNS

LONG = 60.0


@pytest.fixture
def run(tmp_path, made_up):
    return made_up(tmp_path / "run", [1.0, 2.0, 3.0], seed=5)


@pytest.fixture
def film(tmp_path):
    """Of seed 6."""
    Image.fromarray(np.zeros((8, 300, 3), np.uint8)).save(tmp_path / "a.gif")
    return Film([tmp_path / "a.gif"], [Episode(6, 12.5, 30, True)])


def train(run, runs="population"):
    """Two rows, as of training."""
    subject = population(run, run, results.read_config(run))
    tracking = PopulationTracking(wandb="offline", wandb_runs=runs, tracker_wait=LONG)
    with tracking.open() as session, session.follow([subject]) as report:
        for step in (500, 1000):
            report([{"step": step, "loss": [1.0, 2.0, 3.0]}])


def test_it_comes_after_the_rows_of_training_into_the_same_run(run, film, fake_wandb):
    train(run)
    for _ in range(2):
        sent.send(film, run, Tracking("offline", wandb_project="mine", tracker_wait=LONG))
    trained, first, second = fake_wandb.runs()
    assert trained.id == first.id == second.id
    assert (trained.name, first.name, first.project) == ("run", "run", "mine")
    ((step, values),) = first.logged.items()
    assert values["film/seed-6"] == {"video": str(film.files[0]), "bytes": film.files[0].stat().st_size}
    assert values["film_return/seed-6"] == 12.5
    assert step > max(trained.logged)
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_it_goes_to_the_run_of_its_seed_where_each_seed_is_one(run, film, fake_wandb):
    train(run, "seed")
    sent.send(film, run, Tracking("offline", tracker_wait=LONG))
    *trained, shown = fake_wandb.runs()
    assert [one.name for one in trained] == ["run-seed-5", "run-seed-6", "run-seed-7"]
    assert (shown.id, shown.name, shown.config["seed"]) == (trained[1].id, "run-seed-6", 6)
    ((_, values),) = shown.logged.items()
    assert set(values) == {"film/seed-6", "film_return"}


def test_a_run_that_was_not_tracked_becomes_one(run, film, fake_wandb):
    sent.send(film, run, Tracking("online", wandb_name="other", tracker_wait=LONG))
    (one,) = fake_wandb.runs()
    assert (one.name, one.mode, one.config["seeds"]) == ("other", "online", 3)
    assert list(json.loads((run / "wandb" / RUNS).read_text())["ids"]) == [""]


def test_nothing_is_sent_where_nothing_was_asked_for(run, film, fake_wandb):
    sent.send(film, run, Tracking())
    assert fake_wandb.runs() == []
    assert not (run / "wandb").exists()


def test_a_tracker_that_fails_is_named_and_the_film_stays(run, film, fake_wandb):
    (fake_wandb.folder / "log-raises").touch()
    with pytest.warns(UserWarning, match="going on without wandb: .*OSError: no network"):
        sent.send(film, run, Tracking("online", tracker_wait=LONG))
    assert film.files[0].is_file()


def test_a_damaged_note_of_the_runs_is_refused(run, film, fake_wandb):
    (run / "wandb").mkdir()
    (run / "wandb" / RUNS).write_text('{"name": "a", "group": "b", "ids": 3}')
    with pytest.raises(ValueError, match="does not name the runs of a tracker"):
        sent.send(film, run, Tracking("online", tracker_wait=LONG))


def test_wandb_itself_and_tensorboard_take_it(run, film):
    sent.send(film, run, Tracking("offline", tensorboard=True, tracker_wait=LONG))
    (kept,) = (run / "wandb").rglob("*.gif")
    assert kept.read_bytes() == film.files[0].read_bytes()
    (log,) = (run / "wandb").rglob("*.wandb")
    assert b"film/seed-6" in log.read_bytes()
    (events,) = (run / "tensorboard").iterdir()
    data, at, images = events.read_bytes(), 0, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        images += [value.image for value in event.summary.value if value.tag == "film/seed-6"]
        at += 16 + length
    (image,) = images
    assert (image.width, image.height) == (300, 8)
    assert image.encoded_image_string == film.files[0].read_bytes()
