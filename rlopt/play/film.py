"""Films of a trained agent playing: a GIF, and an MP4 where ffmpeg is installed."""

import io
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

import envs
from agents.base import recurrence
from celo2.files import write_atomic
from rlopt.play import evaluation
from rlopt.runs import results
from rlopt.storage import run_lock
from rlopt.training import loop
from rlopt.training.config import TrainConfig

FILMS = "films"
# Of a console at 60 frames per second, or of a grid world at a speed that one can follow.
CONSOLE_RATE, GRID_RATE = 60.0, 10.0
# Pixels per cell of a grid world.
CELL = 16
MAX_STEPS = 3_000


class Film(NamedTuple):
    """files: what was written. total: the raw return. steps: how many were shown. over: whether the episode ended."""

    files: list[Path]
    total: float
    steps: int
    over: bool


class Player(NamedTuple):
    """memory: before the first step. act: (memory, obs, key) -> (memory, action)."""

    memory: Any
    act: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]


def watch(
    folder: Path,
    *,
    member: int | None = None,
    max_steps: int = MAX_STEPS,
    greedy: bool = True,
    seed: int = 0,
    trust: bool = False,
) -> Film:
    """Plays one episode with a trained network of a finished run and films it into the run's folder.

    Args:
      folder: of the run. Its environment is an Atari game, or shows a picture or a grid of channels, as MinAtar does.
      member: which of the run's seeds plays, by its number; None: the one with the best final return.
      max_steps: steps after which the film ends.
      greedy: the best action each time; False: as at the end of training.
      seed: fixes the episode.
      trust: as `results.check_trusted`.

    Raises:
      ValueError: for a folder without a finished run, one that is not trusted, a seed that it does not have, or
        observations that are no picture.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    config = results.check_trusted(folder, results.read_config(folder), trust)
    run = results.read_run(folder)
    run_lock.check_links(folder)
    members = range(config.seed, config.seed + config.seeds)
    if member is None:
        final = np.where((run.stopped >= 0) | np.isnan(run.final), -np.inf, run.final)
        member = members[int(np.argmax(final))]
    if member not in members:
        raise ValueError(f"the run has the seeds {members[0]} to {members[-1]}, got {member}")
    if not envs.is_atari(config.env):
        _check_grid(config)
    agent, policies = evaluation.load_policies(folder, config)
    policy = jax.tree.map(lambda x: x[member - config.seed], policies)
    how = recurrence(agent)
    player = Player(how.start(1), jax.jit(lambda memory, obs, key: how.act(policy, memory, obs, key, greedy)))
    play = _atari if envs.is_atari(config.env) else _grid
    pictures, rewards, ends = zip(*play(config, player, seed, max_steps), strict=True)
    rate = CONSOLE_RATE / config.atari.frame_skip if envs.is_atari(config.env) else GRID_RATE
    with run_lock.held(folder / FILMS):
        files = _write(pictures, rate, folder / FILMS / f"seed_{member}")
    return Film(files, sum(rewards), len(pictures), ends[-1])


def _atari(config: TrainConfig, player: Player, seed: int, max_steps: int) -> Iterator[tuple[np.ndarray, float, bool]]:
    from envs import atari

    screen = atari.Screen(config.env, config.atari, seed)
    memory = player.memory
    for key in jax.random.split(jax.random.key(seed), max_steps):
        memory, action = player.act(memory, screen.obs, key)
        reward, over = screen.step(int(action[0]))
        yield screen.picture, reward, over
        if over:
            return


def _check_grid(config: TrainConfig) -> None:
    shape = loop.make_env(config, 1).spec.observation_shape
    if len(shape) != 3:
        raise ValueError(f"{config.env} shows {shape}, which is no picture; Atari and MinAtar games can be watched")


def _grid(config: TrainConfig, player: Player, seed: int, max_steps: int) -> Iterator[tuple[np.ndarray, float, bool]]:
    env = loop.make_env(config, 1)
    colours = _colours(env.spec.observation_shape[-1])
    reset_key, key = jax.random.split(jax.random.key(seed))
    state, obs = env.reset(reset_key)
    step, memory = jax.jit(env.step), player.memory
    for step_key in jax.random.split(key, max_steps):
        env_key, act_key = jax.random.split(step_key)
        memory, action = player.act(memory, obs, act_key)
        state, timestep = step(env_key, state, action)
        obs = timestep.obs
        over = bool(timestep.done[0])
        yield _paint(np.asarray(timestep.final_obs[0]), colours), float(timestep.reward[0]), over
        if over:
            return


def _colours(channels: int) -> np.ndarray:
    """Well separated colours, uint8 [channels, 3]."""
    from matplotlib import colormaps

    return (255 * colormaps["turbo"](np.linspace(0.05, 0.95, channels))[:, :3]).astype(np.uint8)


def _paint(obs: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A grid [H, W, C] as uint8 [H CELL, W CELL, 3]: each cell has the colour of its last channel that is not 0.

    What is a picture already, uint8 of one or three channels, stays as it is.
    """
    if obs.dtype == np.uint8 and obs.shape[-1] in (1, 3):
        return np.broadcast_to(obs, (*obs.shape[:2], 3))
    shown = obs != 0
    last = shown.shape[-1] - 1 - np.argmax(shown[..., ::-1], axis=-1)
    picture = np.where(shown.any(-1)[..., None], colours[last], 0).astype(np.uint8)
    return picture.repeat(CELL, axis=0).repeat(CELL, axis=1)


def _write(pictures: Sequence[np.ndarray], rate: float, stem: Path) -> list[Path]:
    """Writes STEM.gif, and STEM.mp4 where ffmpeg is installed."""
    stem.parent.mkdir(exist_ok=True)
    palette = Image.fromarray(np.concatenate(pictures[:: max(1, len(pictures) // 8)])).quantize(64)
    frames = [Image.fromarray(x).quantize(palette=palette, dither=Image.Dither.NONE) for x in pictures]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=10 * round(100 / rate),  # the format counts hundredths of a second
        loop=0,
    )
    files = [stem.with_suffix(".gif")]
    write_atomic(files[0], buffer.getvalue())
    if shutil.which("ffmpeg") and _ffmpeg(pictures, rate, stem.with_suffix(".mp4")):
        files.append(stem.with_suffix(".mp4"))
    return files


def _ffmpeg(pictures: Sequence[np.ndarray], rate: float, path: Path) -> bool:
    """Whether ffmpeg made a film; if not, it is said why."""
    height, width = pictures[0].shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:g}", "-i", "-"]
    unfinished = path.with_name(f".{path.name}")
    coded = ["-pix_fmt", "yuv420p", "-vf", "scale=iw*2:ih*2:flags=neighbor", str(unfinished)]
    command = ["ffmpeg", "-y", "-loglevel", "error", *source, *coded]
    done = subprocess.run(command, input=b"".join(x.tobytes() for x in pictures), capture_output=True)
    if done.returncode == 0:
        unfinished.replace(path)
        return True
    unfinished.unlink(missing_ok=True)
    why = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
    warnings.warn(f"no {path.name}: ffmpeg failed ({why})", RuntimeWarning, stacklevel=4)
    return False
