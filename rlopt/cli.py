"""The command line: `rlopt COMMAND --help` says more about each command."""

import itertools
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from rlopt.commands.benchmark import Benchmark, ListSuites, Report
from rlopt.commands.learned import MetaTest, MetaTrain, Theta
from rlopt.commands.listing import ListEnvs, ListOptimizers, ListPresets
from rlopt.commands.population import Compare, Evaluate, Plot, Resume, Sweep, Train, Watch
from rlopt.storage.stopping import BrokeOff, Unfinished
from rlopt.training import presets, runtime
from rlopt.training.config import TrainConfig


def _named(args: list[str]) -> tuple[str, str, str]:
    """Agent, environment and preset, found before parsing: they decide which settings there are, and their defaults."""
    after = itertools.pairwise(args)  # a word after a flag is the flag's value
    agent = next((word for before, word in after if word in presets.AGENTS and before[:1] != "-"), TrainConfig.agent)
    return agent, _flag(args, "--env") or TrainConfig.env, _flag(args, "--preset") or TrainConfig.preset


def _flag(args: list[str], flag: str) -> str | None:
    """The last value given for a flag."""
    found = None
    for i, word in enumerate(args):
        if word == flag and i + 1 < len(args):
            found = args[i + 1]
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found


def _parse(args: list[str]) -> Any:
    agent, env_id, preset = _named(args)
    preset = preset if preset in presets.NAMES else TrainConfig.preset  # what is misspelt is refused below
    found = presets.find(agent, env_id, preset)
    hyper = presets.config(agent, env_id, preset)
    kind = presets.CONFIGS[agent]
    subcommand = tyro.conf.subcommand
    train = Train(TrainConfig(agent=agent, atari=found.atari, hyper=hyper))
    commands = (
        Annotated[Train[kind], subcommand("train", default=train)]  # type: ignore[valid-type]
        | Annotated[Compare[kind], subcommand("compare", default=Compare(agent, atari=found.atari, hyper=hyper))]  # type: ignore[valid-type]
        | Annotated[Sweep[kind], subcommand("sweep", default=Sweep(agent, atari=found.atari, hyper=hyper))]  # type: ignore[valid-type]
        | Annotated[Benchmark, subcommand("benchmark", default=Benchmark())]
        | Annotated[Report, subcommand("report")]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Plot, subcommand("plot")]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Watch, subcommand("watch")]
        | Annotated[MetaTrain, subcommand("metatrain", default=MetaTrain())]
        | Annotated[MetaTest, subcommand("metatest", default=MetaTest())]
        | Annotated[Theta, subcommand("theta")]
        | Annotated[ListOptimizers, subcommand("optimizers")]
        | Annotated[ListSuites, subcommand("suites")]
        | Annotated[ListPresets, subcommand("presets")]
        | Annotated[ListEnvs, subcommand("envs")]
    )
    return tyro.cli(commands, prog="rlopt", args=args, description=__doc__)


def _num_devices(command: Any) -> int | None:
    """Devices for the runs that a command trains side by side; None: it trains none."""
    populations: tuple[int, ...]
    if isinstance(command, Train):
        populations = (command.config.seeds,)
    elif isinstance(command, Resume):
        if command.devices is not None:
            if command.devices < 1:
                raise ValueError(f"devices must be at least 1, got {command.devices}")
            return command.devices
        path = command.folder / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            populations = (int(found["seeds"]) * max(1, len(found.get("rates", ()))),)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None  # the command itself says what is wrong
    else:
        populations = getattr(command, "populations", None) or (getattr(command, "seeds", 0),)
    return max((runtime.devices_for(members) for members in populations if members > 0), default=None)


def main(args: list[str] | None = None, configure: Callable[..., None] | None = None) -> int:
    """Runs one command; returns the exit status: 2 refused input, 130 stopped on request, 1 broke off by a fault.

    configure: what sets up JAX before it is imported; default: `runtime.configure`.
    """
    configure = configure or runtime.configure
    try:
        command = _parse(sys.argv[1:] if args is None else args)
        if getattr(command, "launcher", "none") == "none":  # else jobs train, with the environment as it is
            exactly = isinstance(command, Resume) and command.devices is not None
            concurrent = isinstance(command, MetaTrain)
            configure(num_devices=_num_devices(command), concurrent=concurrent, exactly=exactly)
        command.run()
    except (ValueError, OSError) as error:
        print(f"rlopt: {error}", file=sys.stderr)
        return 2
    except Unfinished as error:
        print(f"rlopt: {error}", file=sys.stderr)
        return 1 if isinstance(error, BrokeOff) else 130
    except KeyboardInterrupt:
        print("rlopt: interrupted", file=sys.stderr)
        return 130
    return 0
