"""Runs that end before their end: what is saved, how they are resumed, and what cannot be."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from agents import DQNConfig, PPOConfig, PQNConfig, RPPOConfig, SACConfig
from envs import AtariConfig, host
from helpers import ask_to_stop, by_default, one_device
from rlopt.runs import experiment, results
from rlopt.storage import sealed
from rlopt.storage.stopping import BrokeOff, Unfinished
from rlopt.training import checkpoint, loop, placement
from rlopt.training.config import TrainConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("shared_programs"),
]

PPO = PPOConfig(total_steps=64 * 20, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
DQN = DQNConfig(
    *(1000, 4),
    learning_starts=64,
    replay_capacity=256,
    batch_size=16,
    hidden=(8,),
    prioritized=True,
    n_step=3,
)
PQN = PQNConfig(total_steps=64 * 20, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
RPPO = RPPOConfig(64 * 20, 4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,), memory_size=4)
SAC = SACConfig(200, 4, learning_starts=16, replay_capacity=128, batch_size=8, hidden=(8,))
CONFIGS = {
    agent: TrainConfig(
        agent=agent,
        env="Pendulum-v1" if agent == "sac" else "CartPole-v1",
        optimizer="adam",
        learning_rate=1e-3,
        seeds=2,
        hyper=hyper,
    )
    for agent, hyper in {"ppo": PPO, "dqn": DQN, "pqn": PQN, "rppo": RPPO, "sac": SAC}.items()
}
PONG = TrainConfig(
    env="Pong-v5",
    optimizer="adam",
    learning_rate=1e-3,
    seeds=1,
    atari=AtariConfig(image_size=42, num_threads=1),
    hyper=dataclasses.replace(PPO, network="small", num_envs=2, total_steps=32 * 6),
)


def lines(folder):
    return (folder / results.METRICS).read_text().splitlines()


@pytest.fixture
def run_until(at_line):
    """Runs into a folder; `how` is called after so many intervals."""
    return lambda config, folder, interval, how: experiment.run(
        config, folder, progress=False, tracker=at_line(interval, how)
    )


def die():
    raise SystemExit


def assert_same_results(folder, other):
    a, b = (results.read_run(x) for x in (folder, other))
    for name in ("steps", "returns", "final", "stopped"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (folder / results.PARAMS).read_bytes() == (other / results.PARAMS).read_bytes()
    assert lines(folder) == lines(other)


@pytest.mark.mesh
@pytest.mark.parametrize("agent", by_default(list(CONFIGS), "ppo", "dqn"))
def test_stopped_and_killed_runs_end_as_if_nothing_had_happened(tmp_path, run_until, request, agent):
    config = CONFIGS[agent]
    experiment.run(config, tmp_path / "whole", progress=False)
    with pytest.raises(Unfinished, match=rf"stopped at step [\d,]+; `rlopt resume {tmp_path}"):
        run_until(config, tmp_path / "cut", 5, ask_to_stop)
    assert not results.is_finished(tmp_path / "cut")
    # Between two checkpoints, with one more line logged than the older of them knows of.
    request.getfixturevalue("saves_at_every_interval")
    with pytest.raises(SystemExit):
        run_until(config, tmp_path / "cut", 9, die)
    assert len(lines(tmp_path / "cut")) == 9
    experiment.resume(tmp_path / "cut", progress=False)
    assert_same_results(tmp_path / "cut", tmp_path / "whole")
    assert not checkpoint.exists(tmp_path / "cut")


@pytest.mark.usefixtures("saves_at_every_interval")
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, run_until):
    config, folder = CONFIGS["ppo"], tmp_path / "cut"
    experiment.run(config, tmp_path / "whole", progress=False)
    with pytest.raises(SystemExit):
        run_until(config, folder, 5, die)
    newest = folder / checkpoint.NAMES[0]
    damaged = bytearray(newest.read_bytes())
    damaged[-20] ^= 1
    newest.write_bytes(damaged)
    with pytest.warns(UserWarning, match="passing over .*SHA-256"):
        experiment.resume(folder, progress=False)
    assert_same_results(folder, tmp_path / "whole")

    with pytest.raises(SystemExit):
        run_until(config, tmp_path / "again", 5, die)
    for name in checkpoint.NAMES:
        (tmp_path / "again" / name).write_bytes(b"{}\n")
    with pytest.warns(UserWarning, match="no readable header"), pytest.raises(ValueError, match="no intact checkpoint"):
        experiment.resume(tmp_path / "again", progress=False)
    assert len(lines(tmp_path / "again")) == 5


@pytest.mark.usefixtures("saves_at_every_interval")
def test_a_run_that_cannot_be_saved_goes_on(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.warns(RuntimeWarning, match="no checkpoint could be written .*No space left"):
        run = experiment.run(CONFIGS["ppo"], tmp_path / "run", progress=False)
    assert run.steps[-1] == PPO.total_steps


def test_a_setting_that_is_newer_than_a_checkpoint_stood_at_its_default(tmp_path, run_until):
    config, folder = CONFIGS["ppo"], tmp_path / "run"
    with pytest.raises(Unfinished):
        run_until(config, folder, 5, ask_to_stop)
    path = folder / checkpoint.NAMES[0]
    header, payload = sealed.read(path, checkpoint.FORMAT)
    del header["settings"]["options"], header["settings"]["hyper"]["anneal"]
    sealed.write(path, header, payload)
    with pytest.raises(ValueError, match=r"other settings \(hyper\.anneal: \w+ there, \w+ here\)"):
        checkpoint.load(
            folder, dataclasses.replace(config, hyper=dataclasses.replace(PPO, anneal=not PPO.anneal)), None
        )
    experiment.run(config, folder, progress=False)
    assert results.is_finished(folder)


@pytest.mark.mesh
def test_resuming_with_another_number_of_devices_is_said(tmp_path, monkeypatch, run_until):
    config, folder = CONFIGS["ppo"], tmp_path / "run"
    with pytest.raises(Unfinished):
        run_until(config, folder, 5, ask_to_stop)
    path = folder / checkpoint.NAMES[0]
    header, payload = sealed.read(path, checkpoint.FORMAT)
    assert header.pop("devices") == 2
    monkeypatch.setattr(placement, "mesh_for", one_device)
    with (
        pytest.warns(RuntimeWarning, match=r"written on 2 device\(s\), and the run is resumed with 1"),
        pytest.raises(SystemExit),
    ):
        run_until(config, folder, 7, die)
    sealed.write(path, header, payload)  # as before there was such a note: nothing is known, nothing is said
    experiment.run(config, folder, progress=False)


def test_other_settings_are_refused_and_a_finished_run_is_read(tmp_path, run_until, command):
    config, folder = CONFIGS["ppo"], tmp_path / "run"
    with pytest.raises(Unfinished):
        run_until(config, folder, 5, ask_to_stop)
    other = dataclasses.replace(config, seed=7)
    with pytest.raises(ValueError, match=r"other settings \(seed: 0 there, 7 here\)"):
        experiment.run(other, folder, progress=False)
    finished = experiment.run(config, folder, progress=False)
    again = run_until(config, folder, len(lines(folder)), lambda: pytest.fail("it was trained again"))
    np.testing.assert_array_equal(again.returns, finished.returns)
    with pytest.raises(ValueError, match=r"the finished run in .* other settings \(seed: 0 there, 7 here\)"):
        experiment.run(other, folder, progress=False)
    for place, message in ((folder, "holds a finished run"), (tmp_path / "none", "holds no run")):
        refused = command("resume", place)
        assert refused.status == 2
        assert message in refused.err.splitlines()[-1]


def test_a_comparison_does_only_what_is_missing(tmp_path):
    configs = [dataclasses.replace(CONFIGS["ppo"], optimizer=name) for name in ("adam", "sgd")]
    experiment.run(configs[0], tmp_path / "both" / "adam", progress=False)
    before = (tmp_path / "both" / "adam" / results.SUMMARY).stat().st_mtime_ns
    runs = experiment.compare(configs, tmp_path / "both", progress=False)
    assert [run.summary["optimizer"] for run in runs] == ["adam", "sgd"]
    assert (tmp_path / "both" / "adam" / results.SUMMARY).stat().st_mtime_ns == before


# Its other half, a pool that dies, is resumed with new episodes too.
@pytest.mark.slow
def test_atari_runs_go_on_with_new_episodes_and_say_so(tmp_path, run_until):
    folder = tmp_path / "pong"
    with pytest.raises(Unfinished):
        run_until(PONG, folder, 3, ask_to_stop)
    agent = loop.make_agent(PONG)
    init = jax.jit(jax.vmap(lambda key: agent.init(key, agent.hyperparams(1e-3))))
    template = init(jax.random.split(jax.random.key(0), 1))
    saved = checkpoint.load(folder, PONG, template)
    assert saved.state.iteration.tolist() == [3]
    with pytest.warns(RuntimeWarning, match="is resumed after 3 iterations with new episodes"):
        experiment.resume(folder, progress=False)
    assert [json.loads(line)["step"] for line in lines(folder)] == [32, 64, 96, 128, 160, 192]


@pytest.mark.slow
@pytest.mark.usefixtures("saves_at_every_interval")
def test_a_pool_that_dies_ends_the_run_with_what_it_has_and_says_how_to_go_on(tmp_path, monkeypatch, capfd):
    step, calls = host._Groups.step, []

    def failing(self, number, action):
        calls.append(number)
        if len(calls) == 60:
            raise OSError("the emulator is gone")
        return step(self, number, action)

    folder = tmp_path / "pong"
    with monkeypatch.context() as patch:
        patch.setattr(host._Groups, "step", failing)
        expected = rf"broke off \(.*the emulator is gone\); `rlopt resume {folder}` resumes it from its last checkpoint"
        with pytest.raises(BrokeOff, match=expected):
            experiment.run(PONG, folder, progress=False)
    assert [json.loads(line)["step"] for line in lines(folder)] == [32, 64, 96]
    with pytest.warns(RuntimeWarning, match="new episodes"):
        (finished,) = experiment.resume(folder, progress=False)
    assert finished.steps.tolist() == [32, 64, 96, 128, 160, 192]
