"""Films of trained agents."""

import dataclasses
import os

import flax.serialization
import jax
import numpy as np
import pytest
from PIL import Image

from agents import PPOConfig
from envs import AtariConfig, atari
from helpers import write_run
from rlopt.play import film
from rlopt.runs import results
from rlopt.training import loop
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HYPER = PPOConfig(total_steps=64, num_envs=2, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))


def untrained(folder, env, network="mlp", **settings):
    """A run of two seeds, with the networks that they would have begun with."""
    hyper = dataclasses.replace(HYPER, network=network)
    config = TrainConfig(env=env, optimizer="adam", learning_rate=1e-3, seeds=2, seed=3, hyper=hyper, **settings)
    agent = loop.build(config)
    policies = jax.jit(jax.vmap(lambda key: agent.policy(agent.init(key, agent.hyperparams(1e-3)))))
    params = policies(jax.random.split(jax.random.key(3), 2))
    write_run(folder, config, [2.0, 1.0])
    (folder / results.PARAMS).write_bytes(flax.serialization.to_bytes(params))
    return folder


def pictures(path):
    with Image.open(path) as film:
        shown = []
        for i in range(film.n_frames):
            film.seek(i)
            shown.append(np.asarray(film.convert("RGB")))
        return shown, film.info["duration"]


def test_a_grid_world_is_filmed_to_the_end_of_its_episode(tmp_path, command, made_up):
    folder = untrained(tmp_path / "run", "Breakout-MinAtar")
    status, printed, _ = command("watch", folder, "--member", "4", "--sampled")
    assert status == 0
    path = folder / film.FILMS / "seed_4.gif"
    assert f"film: {path}" in printed
    shown, duration = pictures(path)
    assert shown[0].shape == (160, 160, 3)
    assert duration == 100
    # GIFs merge equal pictures; a game of Breakout ends within 1,000 steps.
    steps = int(printed.split(" in ")[1].split(" steps")[0])
    assert 5 < len(shown) <= steps < 1000
    assert len({x.tobytes() for x in shown}) > 5
    # Observations of classic control are no pictures, and the run has no seed 5.
    refused = command("watch", folder, "--member", "5")
    assert refused.status == 2
    assert "seeds 3 to 4, got 5" in refused.err
    refused = command("watch", made_up(tmp_path / "other", [1.0, 2.0]))
    assert refused.status == 2
    assert "CartPole-v1 shows (4,), which is no picture" in refused.err


def test_an_atari_game_is_filmed_and_given_to_ffmpeg_where_there_is_one(tmp_path, monkeypatch):
    settings = AtariConfig(image_size=42, num_threads=1)
    folder = untrained(tmp_path / "run", "Pong-v5", "small", atari=settings)
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    made = film.watch(folder, max_steps=25, greedy=False)
    assert [path.name[-4:] for path in made.files] == [".gif", ".mp4"]
    assert (made.steps, made.over) == (25, False)
    shown, duration = pictures(made.files[0])
    assert duration == 70  # a fifteenth of a second, in hundredths
    screen = atari.Screen("Pong-v5", settings, seed=0)
    assert screen.picture.shape == shown[0].shape == (210, 160, 3)
    assert made.files[1].stat().st_size == 25 * 210 * 160 * 3
    fake.write_text("#!/bin/sh\ncat > /dev/null\necho no such codec >&2\nexit 1\n")
    with pytest.warns(RuntimeWarning, match=r"no seed_3.mp4: ffmpeg failed \(no such codec\)"):
        again = film.watch(folder, max_steps=25, greedy=False)
    assert again.files == made.files[:1]
    assert sorted(path.name for path in made.files[0].parent.iterdir()) == ["seed_3.gif", "seed_3.mp4"]


def test_the_same_seed_shows_the_same_game():
    settings = AtariConfig(image_size=42, num_threads=1)
    screens = [atari.Screen("Breakout-v5", settings, seed) for seed in (1, 1)]
    ends = [[screen.step(t % 4) for t in range(200)] for screen in screens]
    assert ends[0] == ends[1]
    np.testing.assert_array_equal(screens[0].picture, screens[1].picture)
    np.testing.assert_array_equal(screens[0].obs, screens[1].obs)
    assert screens[0].obs.shape == (1, 42, 42, 4)
