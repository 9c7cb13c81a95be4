"""The command line: `rlopt COMMAND --help` says more about each command, `rlopt --version` which version this is."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from envs.atari_config import AtariConfig, is_atari
from metatrain.config import NAMES, MetaTrainConfig
from rlopt import escape, typed
from rlopt.benchmark.plan import Plan
from rlopt.commands import config_file, early, flags
from rlopt.commands.benchmark import Benchmark, ListSuites, Report
from rlopt.commands.export import Export
from rlopt.commands.learned import MetaTest, MetaTestReturns, MetaTrain, MetaTrainReturns, Theta
from rlopt.commands.listing import ListEnvs, ListOptimizers, ListPresets
from rlopt.commands.population import Compare, Evaluate, Plot, Resume, Train
from rlopt.commands.sweep import Sweep
from rlopt.commands.watch import Watch
from rlopt.storage.stopping import BrokeOff, Unfinished
from rlopt.training import machine, presets, runtime
from rlopt.training.config import TrainConfig

_RETURNS, _JUDGED = "metatrain-returns", "metatest-returns"


def _named(args: list[str], base: TrainConfig | None) -> tuple[str, str, str]:
    """Agent, environment and preset, found before parsing: they decide which settings there are, and their defaults.

    base: what `--config` says.
    """
    default = TrainConfig if base is None else base
    after = itertools.pairwise(args)  # a word after a flag is the flag's value
    agent = next((word for before, word in after if word in presets.AGENTS and before[:1] != "-"), default.agent)
    return agent, flags.value_of(args, "--env") or default.env, flags.value_of(args, "--preset") or default.preset


def _rule(args: list[str]) -> str | None:
    """The rule that is to be meta-trained by a recipe, which decides on the defaults; None: there is no recipe."""
    if args[:1] != ["metatrain"] or flags.value_of(args, "--recipe") is None:
        return None
    after = itertools.pairwise(args)
    return next((word for before, word in after if word in NAMES and before[:1] != "-"), MetaTrainConfig.rule)


def _with_pairs_joined(args: list[str]) -> list[str]:
    """Flags that take pairs, such as `--options a 1`, given once each with all their pairs: else the last would count.

    Raises:
      ValueError: for what is no pairs, or a name that is given twice.
    """
    of_pairs = (
        "--options",
        "--launcher-options",
        *(("--theta", "--rates") if args[:1] != ["train"] else ()),
        *(("--trials",) if args[:1] == ["metatest"] else ()),
    )
    joined: list[str] = []
    taken: dict[str, dict[str, str]] = {}
    rest = list(args)
    while rest:
        flag = rest.pop(0)
        name = flag.replace("_", "-")
        if name not in of_pairs:
            joined.append(flag)
            continue
        words = list(itertools.takewhile(lambda word: not flags.is_flag(word), rest))
        del rest[: len(words)]
        if name not in taken:
            joined.append(flag)
        if not words or len(words) % 2 or any("=" in word for word in words[::2]):
            given = " ".join(words)
            raise ValueError(f"{flag} takes names and values in turn, as in `{flag} NAME VALUE`, got {given!r}")
        for word, value in zip(words[::2], words[1::2], strict=True):
            if word in taken.setdefault(name, {}):
                raise ValueError(f"{flag}: {word} is given twice")
            taken[name][word] = value
    for name, pairs in taken.items():
        at = [word.replace("_", "-") for word in joined].index(name) + 1
        joined[at:at] = [word for pair in pairs.items() for word in pair]
    return joined


_COMMANDS: dict[str, type] = {
    "train": Train,
    "compare": Compare,
    "sweep": Sweep,
    "benchmark": Benchmark,
    "report": Report,
    "resume": Resume,
    "plot": Plot,
    "export": Export,
    "evaluate": Evaluate,
    "watch": Watch,
    "metatrain": MetaTrain,
    _RETURNS: MetaTrainReturns,
    "metatest": MetaTest,
    _JUDGED: MetaTestReturns,
    "theta": Theta,
    "optimizers": ListOptimizers,
    "suites": ListSuites,
    "presets": ListPresets,
    "envs": ListEnvs,
}
_WITH_DEFAULTS = (Benchmark, MetaTrain, MetaTrainReturns, MetaTest)


def _parse(args: list[str]) -> Any:
    if args[:2] == ["metatrain", "returns"]:  # its settings are not those of the rules that are trained on images
        args = [_RETURNS, *args[2:]]
    if (
        args[:1] == ["metatest"] and flags.value_of(args, "--suite") == "returns"
    ):  # nor are its settings the other one's
        args = [_JUDGED, *flags.without(args[1:], "--suite")]
    path = flags.value_of(args, "--config") if args[:1] and args[0] in config_file.COMMANDS else None
    base = None if path is None else config_file.read(Path(path))
    agent, env_id, preset = _named(args, base)
    kind = presets.CONFIGS[agent]
    known = flags.of(_COMMANDS[args[0]], kind) if args[:1] and args[0] in _COMMANDS else None
    if known is not None:
        args = [args[0], *flags.understood(args[0], args[1:], known)]
    args = _with_pairs_joined(args)
    preset = preset if preset in presets.NAMES else TrainConfig.preset  # what is misspelt is refused below
    found = presets.find(agent, env_id, preset)
    shared: dict[str, Any] = {"agent": agent, "atari": found.atari, "hyper": presets.config(agent, env_id, preset)}
    defaults = {"train": Train(TrainConfig(**shared)), "compare": Compare(**shared), "sweep": Sweep(**shared)}
    defaults |= {name: made() for name, made in _COMMANDS.items() if made in _WITH_DEFAULTS}
    defaults["benchmark"] = Benchmark(Plan(suite=flags.value_of(args, "--suite") or Plan.suite))
    rule = _rule(args)
    if rule is not None:
        defaults["metatrain"] = MetaTrain.of_recipe(flags.value_of(args, "--recipe") or "default", rule)
    if base is not None:
        defaults[args[0]] = config_file.defaults(args[0], base, agent, preset)
    commands: Any = None
    for name, made in _COMMANDS.items():
        default = {"default": defaults[name]} if name in defaults else {}
        of_agent = made[kind] if name in config_file.COMMANDS else made  # type: ignore[index]
        one = Annotated[of_agent, tyro.conf.subcommand(name, **default)]  # type: ignore[valid-type]
        commands = one if commands is None else commands | one
    registry = tyro.constructors.ConstructorRegistry()
    if {"-h", "--help"} & set(args) and not is_atari(env_id):
        registry.struct_rule(_without_flags)
    command = tyro.cli(commands, prog="rlopt", args=args, description=__doc__, registry=registry)
    if isinstance(command, MetaTrain) and command.recipe != "default" and command.config.rule != rule:
        raise ValueError(f"say the rule first: rlopt metatrain {command.config.rule} --recipe {command.recipe}")
    return command if base is None else config_file.completed(command, base, args)


def _without_flags(kind: tyro.constructors.StructTypeInfo) -> tyro.constructors.StructConstructorSpec | None:
    """Leaves out the settings of Atari games, from the help for other environments."""
    if kind.type is not AtariConfig:
        return None
    return tyro.constructors.StructConstructorSpec(instantiate=AtariConfig, fields=())


def _num_devices(command: Any) -> int | None:
    """Devices for the runs that a command trains side by side; None: it trains none."""
    populations: tuple[int, ...]
    if isinstance(command, Train):
        populations = (command.config.seeds,)
    elif isinstance(command, MetaTrain):
        return None  # its seeds are trained in turn, and its problems share whatever there is
    elif isinstance(command, Resume):
        if command.devices is not None:
            if command.devices < 1:
                raise ValueError(f"devices must be at least 1, got {command.devices}")
            return command.devices
        path = command.folder / "config.json"
        try:
            found = typed.glanced_at(path)
            cells = max(1, len(found.get("rates", ())), len(found.get("trials", ())))
            populations = (int(found["seeds"]) * cells,)
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
        words = sys.argv[1:] if args is None else args
        if words[:1] == ["--version"]:
            print(f"rlopt {machine.own_version()}")
            return 0
        command = _parse(words)
        early.check(command)
        if getattr(command, "launcher", "none") == "none":  # else jobs train, with the environment as it is
            exactly = isinstance(command, Resume) and command.devices is not None
            concurrent = isinstance(command, MetaTrain)
            configure(num_devices=_num_devices(command), concurrent=concurrent, exactly=exactly)
            early.announce(command)
        command.run()
    except (ValueError, OSError) as error:
        print(f"rlopt: {escape.terminal(str(error))}", file=sys.stderr)
        return 2
    except Unfinished as error:
        print(f"rlopt: {escape.terminal(str(error))}", file=sys.stderr)
        return 1 if isinstance(error, BrokeOff) else 130
    except KeyboardInterrupt:
        print("rlopt: interrupted", file=sys.stderr)
        return 130
    return 0
