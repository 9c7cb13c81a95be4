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
from rlopt.play import film, reel
from rlopt.runs import results
from rlopt.training import loop
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HYPER = PPOConfig(total_steps=64, num_envs=2, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))


def untrained(folder, env, network="mlp", **settings):
    """A run of two seeds, with the networks that they would have begun with."""
    hyper = dataclasses.replace(HYPER, network=network)
    config = TrainConfig(env=env, optimizer="adam", learning_rate=1e-3, seeds=2, seed=3, hyper=hyper, **settings)
    agent = loop.make_agent(config)
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


def test_a_grid_world_is_filmed_to_the_end_of_its_episode(tmp_path, command):
    folder = untrained(tmp_path / "run", "Breakout-MinAtar")
    status, printed, _ = command("watch", folder, "--member", "4", "--sampled")
    assert status == 0
    path = folder / film.FILMS / "seed_4_sampled.gif"
    assert f"film: {path}" in printed
    shown, duration = pictures(path)
    assert shown[0].shape == (reel.STRIP + 320, 320, 3)
    assert duration == reel.HOLD
    # A game of Breakout ends within 1,000 steps; the strip tells all frames apart, and the first is before any step.
    steps = int(printed.split(" in ")[1].split(" steps")[0])
    assert 5 < len(shown) == steps + 1 < 1000
    assert len({x[reel.STRIP :].tobytes() for x in shown}) > 5
    refused = command("watch", folder, "--member", "5")
    assert refused.status == 2
    assert "seeds 3 to 4, got 5" in refused.err


def test_seeds_of_classic_control_play_side_by_side_and_go_to_wandb(tmp_path, command, fake_wandb):
    folder, out = untrained(tmp_path / "run", "CartPole-v1"), tmp_path / "a.gif"
    words = ["watch", folder, "--member", "4", "3", "--out", out, "--max-steps", "12", "--wandb", "offline"]
    done = command(*words, "--tracker-wait", "60")
    assert done.status == 0, done.err
    assert done.out.count("return") == 2
    assert done.out.index("seed 4: return") < done.out.index("seed 3: return")
    assert not (folder / film.FILMS).exists()
    shown, _ = pictures(out)
    assert shown[0].shape[1] == 320 + 4 + 320
    # The same first state, and policies of their own.
    np.testing.assert_array_equal(shown[0][reel.STRIP :, :320], shown[0][reel.STRIP :, -320:])
    assert (shown[-1][reel.STRIP :, :320] != shown[-1][reel.STRIP :, -320:]).any()
    (sent,) = fake_wandb.runs()
    ((_, logged),) = sent.logged.items()
    assert logged["film/seed-4+seed-3"] == {"video": str(out), "bytes": out.stat().st_size}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--member", "3", "3"], "up to 8 seeds play side by side, each once, got 3, 3"),
        (["--max-steps", "0"], "max_steps must be at least 1, got 0"),
        (["--out", "a.png"], "a film is written as NAME.gif, got a.png"),
        (["--wandb-project", "a/b"], "wandb_project must have"),
        (
            [],
            "there is no picture of BernoulliBandit-misc; to be watched there are Atari and MinAtar games, CartPole-v1, ",
        ),
    ],
)
def test_what_cannot_be_filmed_is_refused(tmp_path, command, write_run, words, said):
    config = TrainConfig(env="BernoulliBandit-misc", optimizer="adam", learning_rate=1e-3, seeds=2, seed=3, hyper=HYPER)
    refused = command("watch", write_run(tmp_path / "run", config, [1.0, 2.0]), *words)
    assert refused.status == 2
    assert said in " ".join(refused.err.split())
    assert not (tmp_path / "run" / film.FILMS).exists()


@pytest.mark.slow
def test_an_atari_game_is_filmed_and_given_to_ffmpeg_where_there_is_one(tmp_path, monkeypatch):
    settings = AtariConfig(image_size=42, num_threads=1)
    folder = untrained(tmp_path / "run", "Pong-v5", "small", atari=settings)
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    made = film.watch(folder, max_steps=25, greedy=False, seed=7)
    name = "seed_3_sampled_episode_7"
    assert [path.name for path in made.files] == [f"{name}.gif", f"{name}.mp4"]
    ((member, _, steps, over),) = made.episodes
    assert (member, steps, over) == (3, 25, False)
    shown, duration = pictures(made.files[0])
    assert len(shown) == 26
    assert duration == 70  # a fifteenth of a second, in hundredths
    screen = atari.Screen("Pong-v5", settings, seed=0)
    assert screen.picture.shape == (210, 160, 3)
    height, width, _ = shown[0].shape
    assert (height, width) == (reel.STRIP + 420, 320)
    assert made.files[1].stat().st_size == 26 * height * width * 3
    fake.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    with pytest.warns(RuntimeWarning, match=rf"no {name}.mp4: ffmpeg failed \(no such codec\)"):
        again = film.watch(folder, max_steps=25, greedy=False, seed=7)
    assert again.files == made.files[:1]
    assert sorted(path.name for path in made.files[0].parent.iterdir()) == [f"{name}.gif", f"{name}.mp4"]


def test_the_same_seed_shows_the_same_game():
    settings = AtariConfig(image_size=42, num_threads=1)
    screens = [atari.Screen("Breakout-v5", settings, seed) for seed in (1, 1)]
    ends = [[screen.step(t % 4) for t in range(200)] for screen in screens]
    assert ends[0] == ends[1]
    np.testing.assert_array_equal(screens[0].picture, screens[1].picture)
    np.testing.assert_array_equal(screens[0].obs, screens[1].obs)
    assert screens[0].obs.shape == (1, 42, 42, 4)
