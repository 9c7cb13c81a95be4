"""Commands that say what there is."""

import math
from dataclasses import dataclass
from typing import Any

import tyro

from envs import listing, names
from envs.atari_config import IDS_END
from rlopt import escape
from rlopt.optimizers import heads
from rlopt.optimizers.catalog import OPTIMIZERS, SCHEDULE, Choice, as_word
from rlopt.training import presets

# One that has no settings of its own.
_ROBOT = "Ant-v4"


@dataclass(frozen=True)
class ListOptimizers:
    """List the optimizers that a run can name, with their learning rates for PPO on classic control, and options."""

    def run(self) -> None:
        """Prints one line per optimizer."""
        for name, info in OPTIMIZERS.items():
            rate = "none" if info.learning_rate is None else f"{info.learning_rate:g}"
            options = ", ".join(f"{option} {_shown(value)}" for option, value in info.options.items())
            print(f"{name:20} {rate:8} {info.summary}" + (f" ({options})" if options else ""))
        shared = ", ".join(f"{option} {_shown(value)}" for option, value in SCHEDULE.items())
        print(f"all of them take: {shared} (a share of the training), {heads.OPTION} (of `rlopt metatrain returns`)")


def _shown(value: Any) -> str:
    """The default of an option, and what else it may be, if that is one of a few."""
    if isinstance(value, Choice):
        return "|".join(map(as_word, (value.default, *value.others)))
    return as_word(value) if isinstance(value, bool) else f"{value:g}"


@dataclass(frozen=True)
class ListPresets:
    """List the environments that an agent has settings for, with budget and Adam's learning rate."""

    def run(self) -> None:
        """Prints one line per agent and environment."""
        for agent, env_id in presets.PRESETS:
            steps = presets.config(agent, env_id).total_steps
            rate = presets.learning_rate(agent, env_id, "adam")
            print(f"{agent:5} {env_id:36} {steps:>12,} steps   adam {rate:g}")
        for agent in presets.MUJOCO:
            steps = presets.config(agent, _ROBOT).total_steps
            shown = "any robot of MuJoCo, brax, playground"
            print(f"{agent:5} {shown:36} {steps:>12,} steps   adam {presets.learning_rate(agent, _ROBOT, 'adam'):g}")
        for name, by_agent in presets.ATARI.items():
            for agent in by_agent:
                steps = presets.config(agent, IDS_END, name).total_steps
                rate = presets.learning_rate(agent, IDS_END, "adam", name)
                shown = f"any Atari game, {name}"
                print(f"{agent:5} {shown:36} {steps:>12,} steps   adam {rate:g}")


@dataclass(frozen=True)
class ListEnvs:
    """List the environments that a run can name, by suite: which are installed, which steps where, what resumes."""

    which: tyro.conf.Positional[tuple[str, ...]] = ()
    """Suites or ids to list, or parts of ids; default: all."""
    spaces: bool = False
    """Make each of them and say what it shows and takes, and after how many steps it is cut off; takes a while."""

    def run(self) -> None:
        """Prints a heading per suite, and one id per line."""
        found = [(suite, self._chosen(suite)) for suite in listing.suites()]
        found = [(suite, ids) for suite, ids in found if ids or not self.which]
        if not found:
            every = [env_id for suite in listing.suites() for env_id in suite.ids]
            close = ", ".join(names.nearest(self.which[0], every))
            raise ValueError(f"no environment is like {' or '.join(map(repr, self.which))}; the nearest are {close}")
        for suite, ids in found:
            print(f"# {suite.name}: {suite.summary}" + ("" if suite.missing is None else f"; {suite.missing}"))
            for env_id in ids:
                print(f"{env_id:44} {_spaces(env_id)}" if self.spaces and suite.missing is None else env_id)

    def _chosen(self, suite: listing.Listed) -> tuple[str, ...]:
        if not self.which or suite.name in self.which:
            return suite.ids
        words = [word.lower() for word in self.which]
        return tuple(env_id for env_id in suite.ids if any(word in env_id.lower() for word in words))


def _spaces(env_id: str) -> str:
    """What an environment shows and takes, in a line; or why it cannot be made."""
    import envs

    try:
        spec = envs.make(env_id, 1).spec
    except ValueError as error:
        return escape.terminal(f"cannot be made: {error}")
    shape = "x".join(map(str, spec.observation_shape)) or "1"
    space = spec.action_space
    many = f"{space.n} actions" if isinstance(space, envs.Discrete) else f"{math.prod(space.shape)} real actions"
    limit = "no limit" if spec.time_limit is None else f"{spec.time_limit:,} steps"
    return f"{shape} {spec.observation_dtype}, {many}, {limit}"
