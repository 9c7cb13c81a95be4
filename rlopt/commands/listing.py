"""Commands that say what there is."""

import sys
from dataclasses import dataclass
from typing import Any

from envs.atari_config import IDS_END
from rlopt.optimizers.catalog import OPTIMIZERS, SCHEDULE, Choice, as_word
from rlopt.training import presets


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
        print(f"all of them take: {shared} (a share of the training)")


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
            print(f"{agent:5} {env_id:26} {steps:>12,} steps   adam {rate:g}")
        for name, by_agent in presets.ATARI.items():
            for agent in by_agent:
                steps = presets.config(agent, IDS_END, name).total_steps
                rate = presets.learning_rate(agent, IDS_END, "adam", name)
                shown = f"any Atari game, {name}"
                print(f"{agent:5} {shown:26} {steps:>12,} steps   adam {rate:g}")


@dataclass(frozen=True)
class ListEnvs:
    """List the environments that a run can name."""

    def run(self) -> None:
        """Prints one id per line."""
        import envs
        from envs import atari

        print("\n".join(envs.ids()))
        if why := atari.why_not():
            print(f"without Atari games, since envpool cannot be imported: {why}", file=sys.stderr)
