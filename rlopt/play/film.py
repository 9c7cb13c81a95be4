"""Films of trained agents playing: whole episodes of a run's seeds, side by side."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import envs
from agents.base import recurrence
from rlopt.play import asked, evaluation, scenes
from rlopt.play.reel import Panel, Reel, Shot, write_gif, write_mp4
from rlopt.runs import kept, results
from rlopt.storage import run_lock
from rlopt.training import loop
from rlopt.training.config import TrainConfig

FILMS = "films"
# Of a console, per second.
CONSOLE_RATE = 60.0
MAX_STEPS = 3_000


class Episode(NamedTuple):
    """member: the run's seed that played. total: the raw return. steps: how many are shown. over: whether it ended."""

    member: int
    total: float
    steps: int
    over: bool


class Film(NamedTuple):
    """files: what was written, the GIF first. episodes: what they show, from left to right."""

    files: list[Path]
    episodes: list[Episode]


class Player(NamedTuple):
    """memory: before the first step. act: (memory, obs, key) -> (memory, action)."""

    memory: Any
    act: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]


def watch(
    folder: Path,
    *,
    members: Sequence[int] = (),
    max_steps: int = MAX_STEPS,
    greedy: bool = True,
    seed: int = 0,
    params: str = "final",
    out: Path | None = None,
    trust: bool = False,
) -> Film:
    """Plays an episode with trained networks of a finished run and films it.

    Args:
      folder: of the run. Its environment has a picture, see `scenes.find`.
      members: which of the run's seeds play side by side, by their numbers; (): the one with the best final return.
      max_steps: steps after which the film ends.
      greedy: the best action each time; False: as at the end of training.
      seed: fixes the episode; the same for every member.
      params: which of the run's, as `results.read_params`.
      out: the GIF; None: in the run's folder, and an MP4 beside it where ffmpeg is installed.
      trust: as `results.check_trusted`.

    Raises:
      ValueError: for a folder without a finished run, one that is not trusted, seeds that it does not have, an
        environment without a picture, or a name that is none of a GIF.
    """
    config = results.check_trusted(folder, results.read_config(folder), trust)
    asked.check(config, members, max_steps, out)
    run = results.read_run(folder)
    run_lock.check_links(folder)
    chosen = _chosen(config, run, members)
    scene = _scene(config)
    agent, policies = evaluation.load_policies(folder, config, params)
    how = recurrence(agent)
    act = jax.jit(lambda policy, memory, obs, key: how.act(policy, memory, obs, key, greedy))
    play = _atari if envs.is_atari(config.env) else _game(config)
    panels = []
    for member in chosen:
        policy = jax.tree.map(lambda x, i=member - config.seed: x[i], policies)
        player = Player(how.start(1), partial(act, policy))
        shots = list(play(config, player, seed, max_steps))
        who = f"{config.agent.upper()} with {config.title}, seed {member}"
        panels.append(Panel(shots, lambda seen: scene.draw(*seen), config.env, who))
    files = _written(Reel(panels, scene.rate), folder, out, _name(chosen, greedy, seed, params))
    last = [panel.shots[-1] for panel in panels]
    return Film(files, [Episode(m, x.total, x.step, x.over) for m, x in zip(chosen, last, strict=True)])


def _chosen(config: TrainConfig, run: results.Run, members: Sequence[int]) -> list[int]:
    if members:
        return list(members)
    final = np.where((run.stopped >= 0) | np.isnan(run.final), -np.inf, run.final)
    return [config.seed + int(np.argmax(final))]


def _scene(config: TrainConfig) -> scenes.Scene:
    if envs.is_atari(config.env):
        return scenes.Scene(lambda screen, state: screen, CONSOLE_RATE / config.atari.frame_skip)
    return scenes.find(config.env, loop.make_env(config, 1).spec.observation_shape)


def _name(members: Sequence[int], greedy: bool, seed: int, params: str) -> str:
    """Of a film, without what it shares with one of the default settings."""
    how = ([] if greedy else ["sampled"]) + ([] if params == kept.FINAL else [results.safe_name(params)])
    which = [f"episode_{seed}"] if seed else []
    return "_".join(["seed", *map(str, members), *how, *which])


def _written(reel: Reel, folder: Path, out: Path | None, name: str) -> list[Path]:
    if out is not None:
        write_gif(reel, out)
        return [out]
    with run_lock.held(folder / FILMS):
        gif, mp4 = (folder / FILMS / f"{name}.{kind}" for kind in ("gif", "mp4"))
        write_gif(reel, gif)
        return [gif, mp4] if write_mp4(reel, mp4) else [gif]


def _atari(config: TrainConfig, player: Player, seed: int, max_steps: int) -> Iterator[Shot]:
    from envs import atari

    screen = atari.Screen(config.env, config.atari, seed)
    memory, total = player.memory, 0.0
    yield Shot((screen.picture, None), total, 0, False)
    for i, key in enumerate(jax.random.split(jax.random.key(seed), max_steps)):
        memory, action = player.act(memory, screen.obs, key)
        reward, over = screen.step(int(action[0]))
        total += reward
        yield Shot((screen.picture, None), total, i + 1, over)
        if over:
            return


def _game(config: TrainConfig) -> Callable[..., Iterator[Shot]]:
    """Plays any other environment; its programs are compiled once for all members."""
    env = loop.make_env(config, 1)
    reset, step = jax.jit(env.reset), jax.jit(env.step)

    def play(config: TrainConfig, player: Player, seed: int, max_steps: int) -> Iterator[Shot]:
        reset_key, key = jax.random.split(jax.random.key(seed))
        state, obs = reset(reset_key)
        memory, total = player.memory, 0.0
        yield Shot((np.asarray(obs[0]), _within(state)), total, 0, False)
        for i, step_key in enumerate(jax.random.split(key, max_steps)):
            env_key, act_key = jax.random.split(step_key)
            memory, action = player.act(memory, obs, act_key)
            before = state
            state, timestep = step(env_key, state, action)
            obs, over = timestep.obs, bool(timestep.done[0])
            total += float(timestep.reward[0])
            # An environment that ends an episode has been reset: of its last step there is only the observation.
            shown = _within(before if over else state)
            yield Shot((np.asarray(timestep.final_obs[0]), shown), total, i + 1, over)
            if over:
                return

    return play


def _within(state: Any) -> Any:
    """The environment's own state; None of one that keeps it elsewhere."""
    return getattr(state, "env", None)
