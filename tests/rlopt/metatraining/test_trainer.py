"""Meta-training runs: kill and resume, damaged and foreign checkpoints, cards, settings."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import tqdm

import celo2
from celo2 import form
from helpers import by_default, small_meta_training
from metatrain import datasets, outer, validation
from rlopt.metatraining import card, checkpoint, metrics, trainer
from rlopt.storage import run_lock

SMALL = small_meta_training(
    iterations=6,
    families=("digits", "mnist"),
    tasks_per_family=4,
    outer_learning_rate=1e-2,
    outer_schedule="constant",
    outer_clip=None,
    average_decay=0.5,
)


pytestmark = pytest.mark.usefixtures("shared_programs")


def thetas_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its result, its folder."""
    folder = tmp_path_factory.mktemp("finished")
    return trainer.train(SMALL, folder, checkpoint_every=2, log_every=2, progress=False), folder


@pytest.fixture
def own_copy(finished, tmp_path):
    """A copy of the finished run's folder, to damage."""
    return Path(shutil.copytree(finished[1], tmp_path / "copy"))


def test_the_time_left_does_not_count_compilation():
    with tqdm.tqdm(total=100, initial=20, file=io.StringIO()) as bar:
        time.sleep(0.3)  # as if it were compiled
        trainer.count_from_here(bar, 30)
        told = bar.format_dict
        assert (told["n"], told["initial"]) == (30, 30)
        assert told["elapsed"] < 0.3
        bar.update(10)
        assert bar.n == 40
    trainer.count_from_here(tqdm.tqdm(total=3, disable=True), 1)  # whoever shows none


def test_a_run_learns_and_leaves_theta_card_and_metrics(finished):
    result, tmp_path = finished
    assert result.iteration == 6
    thetas_equal(celo2.load_checkpoint(result.theta_path), result.theta)
    written = json.loads((tmp_path / "celo_adam.json").read_text())
    assert written["iterations"] == 6
    assert written["form"] == form.to_card(SMALL.form)
    assert written["inner_steps"] == 6 * SMALL.inner_steps_per_iteration
    assert written["command"].startswith("rlopt metatrain celo_adam --iterations 6 ")
    rows = metrics.read(tmp_path)
    assert [row["iteration"] for row in rows] == [2, 4, 6]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    start = outer.make_program(SMALL).init().theta
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(result.theta), strict=True))


CHILD = """
import sys
from rlopt.training import runtime
runtime.configure(2)
from pathlib import Path
from rlopt.metatraining import trainer
from metatrain.config import MetaTrainConfig
config = MetaTrainConfig(**eval(sys.argv[1]))
trainer.train(config, Path(sys.argv[2]), checkpoint_every=4, log_every=2, progress=False)
"""


def child(config, folder):
    environment = os.environ | {"XLA_FLAGS": os.environ["CHILD_XLA_FLAGS"]}
    settings = repr(dataclasses.asdict(config))
    return subprocess.Popen([sys.executable, "-c", CHILD, settings, str(folder)], env=environment)


def wait_for_checkpoint(folder, process):
    wait_for(lambda: list((folder / "checkpoints").glob("checkpoint_*.msgpack")), process)


def wait_for(happened, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, "the run ended early"
        time.sleep(0.005)


# `tests/reliability` has kills at any moment within this process; these are of real ones.
@pytest.mark.slow
def test_kill_and_resume_gives_the_same_theta_bit_for_bit(tmp_path):
    config = dataclasses.replace(SMALL, iterations=80)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert child(config, whole).wait() == 0
    first = child(config, broken)
    wait_for_checkpoint(broken, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (broken / "checkpoints" / "checkpoint_00000080.msgpack").exists()
    assert child(config, broken).wait() == 0
    assert (broken / "celo_adam.theta").read_bytes() == (whole / "celo_adam.theta").read_bytes()

    def losses(folder):
        return [(row["iteration"], row["loss"]) for row in metrics.read(folder)]

    assert losses(broken) == losses(whole)


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    process = child(SMALL, tmp_path)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.rglob("checkpoint_*.msgpack"))
    assert child(SMALL, tmp_path).wait() == 0
    assert [row["iteration"] for row in metrics.read(tmp_path)] == [2, 4, 6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_interval_with_a_checkpoint(tmp_path, number):
    config = dataclasses.replace(SMALL, iterations=100_000)

    def ask_to_stop(row):
        if row["iteration"] == 4:
            os.kill(os.getpid(), number)

    settings = {"checkpoint_every": 100, "log_every": 2, "validate_every": 0, "progress": False}
    result = trainer.train(config, tmp_path, report=ask_to_stop, **settings)
    assert (result.iteration, result.stopped) == (4, True)
    assert metrics.read(tmp_path)[-1]["iteration"] == 4
    assert (tmp_path / "checkpoints" / "checkpoint_00000004.msgpack").exists()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(own_copy):
    newest = own_copy / "checkpoints" / "checkpoint_00000006.msgpack"
    whole = newest.read_bytes()
    template = jax.eval_shape(outer.make_program(SMALL).init)
    for data in (whole[: len(whole) // 2], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        newest.write_bytes(data)
        with pytest.warns(UserWarning, match="passing over"):
            loaded = checkpoint.load_latest(newest.parent, template, SMALL)
        assert loaded.iteration == 4


def test_a_new_checkpoint_outlives_damaged_ones_of_later_iterations(own_copy):
    folder = own_copy / "checkpoints"
    for name in ("00000006", "00000007"):
        (folder / f"checkpoint_{name}.msgpack").write_bytes(b"cut")
    assert checkpoint.save(folder, outer.make_program(SMALL).init(), 5, SMALL, 1.0, []).exists()
    assert (folder / "checkpoint_00000004.msgpack").exists()
    with pytest.warns(UserWarning, match="passing over"):
        assert checkpoint.load_latest(folder, jax.eval_shape(outer.make_program(SMALL).init), SMALL).iteration == 5


def test_with_every_checkpoint_damaged_nothing_is_started_anew(own_copy):
    for path in (own_copy / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with (
        pytest.warns(UserWarning, match="passing over"),
        pytest.raises(ValueError, match=r"no intact checkpoint among .*00000004.*00000006"),
    ):
        trainer.train(SMALL, own_copy, progress=False)


def test_images_that_changed_since_a_checkpoint_are_refused(tmp_path):
    data = tmp_path / "data"
    data.mkdir()

    def write(images):
        np.savez(data / "own.npz", images=images, labels=np.arange(60) % 10)

    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    write(images)
    config = dataclasses.replace(SMALL, iterations=2, families=("own", "digits"), data_dir=data)
    before = checkpoint.resume_key(config)
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    assert checkpoint.resume_key(dataclasses.replace(config, data_dir=moved)) == before
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    checkpoint.save(tmp_path / "run" / "checkpoints", outer.make_program(config).init(), 2, config, 1.0, [])
    write(255 - images)
    with pytest.raises(ValueError, match=r"other settings \(data_dir\.own: '\w+' there, '\w+' here"):
        run(config, tmp_path / "run", validate_every=0)


def test_other_settings_are_refused_by_name(own_copy):
    other = dataclasses.replace(SMALL, std=0.02)
    with pytest.raises(ValueError, match=r"other settings \(std: 0\.01 there, 0\.02 here\)"):
        trainer.train(other, own_copy, progress=False)


def test_a_kill_between_checkpoint_and_theta_is_repaired(finished, own_copy):
    (own_copy / "celo_adam.theta").write_bytes(b"old")
    (own_copy / "celo_adam.json").unlink()
    trainer.train(SMALL, own_copy, checkpoint_every=2, log_every=2, progress=False)
    assert (own_copy / "celo_adam.theta").read_bytes() == finished[0].theta_path.read_bytes()
    assert json.loads((own_copy / "celo_adam.json").read_text())["iterations"] == 6


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match="neither empty nor a meta-training run"):
        trainer.train(SMALL, tmp_path, progress=False)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


@pytest.mark.slow
def test_a_truncation_of_one_step_gives_finite_gradients():
    program = outer.make_program(dataclasses.replace(SMALL, truncation=1, min_unroll=1, max_unroll=2))
    state = program.init()
    for _ in range(5):
        state, measured = program.step(state)
        assert float(measured.bad_grads) == 0.0
        assert float(measured.loss) < outer.BAD_LOSS


def run(config, folder, **settings):
    return trainer.train(config, folder, checkpoint_every=2, log_every=2, progress=False, **settings)


MEMORIES = {
    "one": ("digits@bandit_ppo",),
    "two": ("digits@bandit_ppo", "digits@drift"),
    "value": ("digits@value",),
    "none": SMALL.families,
}


@pytest.mark.parametrize("families", by_default(MEMORIES, "one"))
def test_a_compact_checkpoint_alone_continues_bit_for_bit(tmp_path, families):
    """And one between compact ones, with what the tasks remember."""
    config = dataclasses.replace(SMALL, families=families, refresh_every=4, iterations=8)
    whole = run(config, tmp_path / "whole", validate_every=0)
    early = run(dataclasses.replace(config, iterations=4), tmp_path / "early", validate_every=0)
    assert early.iteration == 4
    name = "checkpoints/checkpoint_00000004.msgpack"
    target = tmp_path / "elsewhere" / name
    target.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "early" / name, target)
    full = tmp_path / "whole" / "checkpoints" / "checkpoint_00000006.msgpack"
    assert target.stat().st_size < full.stat().st_size
    template = jax.eval_shape(outer.make_program(config).init)
    assert checkpoint.load_latest(target.parent, template, config).state.particles is None
    rest = run(config, tmp_path / "elsewhere", validate_every=0)
    thetas_equal(rest.theta, whole.theta)
    between = tmp_path / "between" / "checkpoints"
    between.mkdir(parents=True)
    shutil.copy(full, between)
    thetas_equal(run(config, between.parent, validate_every=0).theta, whole.theta)
    written = json.loads((tmp_path / "elsewhere" / "celo_adam.json").read_text())
    assert [point["iteration"] for point in written["loss_curve"]] == [2, 4, 6, 8]
    assert [p.name for p in sorted((tmp_path / "whole" / "thetas").iterdir())] == [
        "theta_00000004.theta",
        "theta_00000008.theta",
    ]


def test_a_setting_that_is_new_since_a_checkpoint_counts_as_its_default(own_copy):
    path = own_copy / "checkpoints" / "checkpoint_00000006.msgpack"
    header, _, payload = path.read_bytes().partition(b"\n")
    known = json.loads(header)
    del known["config"]["estimator"], known["header_sha256"]  # which early versions did not write either
    path.write_bytes(json.dumps(known).encode() + b"\n" + payload)
    template = jax.eval_shape(outer.make_program(SMALL).init)
    assert checkpoint.load_latest(path.parent, template, SMALL).iteration == 6
    with pytest.raises(ValueError, match="estimator: 'pes' there, 'es' here"):
        checkpoint.load_latest(path.parent, template, dataclasses.replace(SMALL, estimator="es"))


@pytest.mark.slow
def test_plain_evolution_strategies_take_another_course(finished, tmp_path):
    other = run(dataclasses.replace(SMALL, estimator="es"), tmp_path, validate_every=0).theta
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (other, finished[0].theta)), strict=True))


def test_the_running_mean_is_what_is_written(finished):
    result, folder = finished
    template = jax.eval_shape(outer.make_program(SMALL).init)
    state = checkpoint.load_latest(folder / "checkpoints", template, SMALL).state
    thetas_equal(result.theta, state.theta_average)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (state.theta, result.theta)), strict=True))


def test_meta_validation_trains_on_images_that_no_problem_is_meta_trained_on(monkeypatch):
    splits = []
    load = datasets.load
    monkeypatch.setattr(datasets, "load", lambda name, split, data: splits.append(split) or load(name, split, data))
    validation.make("celo_adam")
    assert set(splits) == {"inner_valid"}


def test_the_command_on_a_card_keeps_the_iterations_that_a_cosine_schedule_depends_on(tmp_path):
    theta = celo2.load_theta("celo2")
    for schedule, expected in (("constant", "--iterations 50 "), ("cosine", "--iterations 200 ")):
        config = dataclasses.replace(SMALL, iterations=200, outer_schedule=schedule)
        path = card.write_theta(tmp_path, theta, config, 50, 1.0, [(50, 1.0)])
        assert expected in json.loads(path.with_suffix(".json").read_text())["command"]


def test_a_folder_that_is_moved_during_meta_validation_gets_everything(tmp_path):
    here, there, whole = tmp_path / "here", tmp_path / "there", tmp_path / "whole"
    config = dataclasses.replace(SMALL, iterations=4, refresh_every=2)

    def score(theta):
        return validation.Score(float(sum(np.sum(np.abs(x)) for x in jax.tree.leaves(theta))), 1.0, {})

    def and_move(theta):
        if here.exists():
            here.rename(there)
        return score(theta)

    run(config, whole, validate_every=2, score=score)
    with pytest.raises(run_lock.Gone, match=f"with --out {there} resumes it there"):
        run(config, here, validate_every=2, score=and_move)
    assert not here.exists()
    run(config, there, validate_every=2, score=score)
    for folder in (there, whole):
        assert [row["iteration"] for row in metrics.read(folder) if "validation_loss" in row] == [2, 4]
    files = [{p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()} for folder in (there, whole)]
    assert files[0].keys() == files[1].keys()
    for name, path in files[0].items():
        assert path.suffix != ".theta" or path.read_bytes() == files[1][name].read_bytes()


def test_the_best_weights_in_meta_validation_are_kept_with_their_score(tmp_path):
    config = dataclasses.replace(SMALL, iterations=4)
    rows = []
    score = validation.make("celo_adam", specs=("digits_inverted", "digits/tanh"), steps=20, problems=1, hidden=8)
    result = run(config, tmp_path, validate_every=2, report=rows.append, score=score)
    losses = {row["iteration"]: row["validation_loss"] for row in rows}
    best = json.loads((tmp_path / "celo_adam.best.json").read_text())
    assert best["chosen_from_iterations"] == 4
    assert best["validation"]["loss"] == min(losses.values())
    assert losses[best["iterations"]] == min(losses.values())
    assert celo2.load_checkpoint(result.best_path)
    assert metrics.read(tmp_path) == rows
