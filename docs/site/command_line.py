"""The page about the command line, made from the parser; jax is not imported for it."""

import argparse
import dataclasses
import html
import re
import warnings
from collections.abc import Iterable
from typing import Any

import tyro

from envs.atari_config import AtariConfig
from rlopt import cli
from rlopt.commands.learned import ThetaInfo, ThetaPlot
from rlopt.tracking.session import PopulationTracking
from rlopt.training import presets
from rlopt.training.config import TrainConfig

# Words with which a command is called, where it is not one word.
_CALLED = {"metatrain-returns": "metatrain returns", "metatest-returns": "metatest --suite returns"}
_BELOW: dict[str, dict[str, type]] = {"theta": {"theta info": ThetaInfo, "theta plot": ThetaPlot}}
_INTRODUCTION = """# Command line

This page is made from the parser. `rlopt COMMAND --help` says the same, with the defaults for the environment that
`--env` names. `rlopt --version` says which version this is.

What several commands share is described once: [settings of the agents](#settings-of-the-agents),
[Atari games](#atari-games), [trackers](#trackers). How flags may be written: [Settings and data](settings.md).
"""


def page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION, _overview()]
    for name, command in cli._COMMANDS.items():
        for called, kind in _BELOW.get(name, {_CALLED.get(name, name): command}).items():
            parts.append(_section(name, called, kind))
    parts.append("## Settings of the agents\n\nDefaults are those for CartPole-v1, of SAC for Pendulum-v1.\n")
    for agent, kind in presets.CONFIGS.items():
        parts.append(f"### Settings of {agent}\n\n" + _flags(_agent_actions(agent, kind)))
    atari = _names(AtariConfig, "--atari.")
    actions = [action for action in _actions(_train("ppo"), "rlopt train") if set(action.option_strings) & atari]
    parts.append("## Atari games\n\nHow they are shown and played: [Atari](atari.md).\n\n" + _flags(actions))
    shared = _names(PopulationTracking)
    actions = [action for action in _actions(_train("ppo"), "rlopt train") if set(action.option_strings) & shared]
    parts.append("## Trackers\n\nWhat they do: [Tracking](tracking.md).\n\n" + _flags(actions))
    return "\n\n".join(parts) + "\n"


def _overview() -> str:
    lines = ["| command | what it does |", "|---|---|"]
    for name, kind in cli._COMMANDS.items():
        called = _CALLED.get(name, name)
        place = next(iter(_BELOW.get(name, {called: kind})))
        lines.append(f"| [`rlopt {called}`](#{_anchor(place)}) | {_plain(_summary(kind))} |")
    return "\n".join(lines)


def _anchor(called: str) -> str:
    return re.sub(r"[^a-z]+", "-", f"rlopt {called}")


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n\n")[0]


def _section(name: str, called: str, kind: type) -> str:
    command = _of_agent(kind)
    actions = _actions(command, f"rlopt {called}")
    left_out = set[str]()
    notes = []
    if name in ("train", "compare", "sweep", "benchmark"):
        left_out |= {flag for config in presets.CONFIGS.values() for flag in _names(config)}
        left_out |= _names(AtariConfig, "--atari.")
        notes += ["of the [agent](#settings-of-the-agents)", "of [Atari games](#atari-games)"]
    if "tracking" in {field.name for field in dataclasses.fields(kind)}:
        left_out |= _names(PopulationTracking)
        notes.append("of [trackers](#trackers)")
    own = [action for action in actions if not set(action.option_strings) & left_out]
    words = " ".join(["rlopt", called, *(_placeholder(a) for a in actions if not a.option_strings)])
    words += " [FLAGS]" if any(action.option_strings for action in actions) else ""
    text = f"## rlopt {called} {{#{_anchor(called)}}}\n\n{_summary(kind)}\n\n    {words}\n\n"
    text += _flags(sorted(own, key=lambda action: bool(action.option_strings)))
    listed = " and ".join(filter(None, [", ".join(notes[:-1]), *notes[-1:]]))
    return text + (f"\n\nIt also takes the settings {listed}." if notes else "")


def _placeholder(action: argparse.Action) -> str:
    name = action.dest.rpartition(".")[2].upper()
    name = {"FOLDERS": "FOLDER", "SOURCE": "FILE"}.get(name, name)
    name += " ..." if action.nargs in ("*", "+") else ""
    return f"[{name}]" if action.nargs in ("?", "*") else name


def _of_agent(kind: type) -> Any:
    """What to parse: a command with the settings of PPO on CartPole, where it has settings of an agent."""
    return kind[presets.CONFIGS["ppo"]] if getattr(kind, "__parameters__", ()) else kind  # type: ignore[index]


def _train(agent: str) -> Any:
    return cli._COMMANDS["train"][presets.CONFIGS[agent]]  # type: ignore[index]


def _agent_actions(agent: str, kind: type) -> list[argparse.Action]:
    env = "Pendulum-v1" if agent == "sac" else "CartPole-v1"
    made = cli._COMMANDS["train"](TrainConfig(agent=agent, env=env))
    names = _names(kind)
    return [action for action in _actions(_train(agent), "rlopt train", made) if set(action.option_strings) & names]


def _actions(kind: Any, prog: str, default: Any = None) -> list[argparse.Action]:
    """What a command takes, in its order, without `--help`."""
    given = {} if default is None else {"default": default}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there is no other way to a parser so far
        parser = tyro.extras.get_parser(kind, prog=prog, **given)
    return [action for action in parser._actions if "--help" not in action.option_strings]


def _names(kind: type, prefix: str = "--") -> set[str]:
    """Flags of a dataclass's fields."""
    return {f"{prefix}{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)}


def _flags(actions: Iterable[argparse.Action]) -> str:
    """A list, which a phone shows as well as a desktop; a table of flags it does not."""
    lines = []
    for action in actions:
        found = re.fullmatch(r"(.*)\((?:default: (.*?)|required|repeatable)\)", action.help or "", re.DOTALL)
        text, default = found.groups() if found else (action.help or "", None)
        value = _value(action) if action.option_strings else ""
        words = [f"{flag} {value}".strip() for flag in action.option_strings] or [_placeholder(action)]
        line = "- " + ", ".join(f"**{_code(word)}**" for word in words)
        if default not in (None, "None", ""):
            line += f" (default {_code(default)})"
        lines.append(f"{line}: {_plain(text)}")
    return "\n".join(lines)


def _value(action: argparse.Action) -> str:
    """What a flag takes: `FLOAT`, `STR ...` for several."""
    text = str(action.metavar or "").replace("{None}|", "").replace("|{none}", "|none")
    text = re.sub(r"\{(\[.*\])\}", r"\1", text).replace("{None,", "{")
    several = re.fullmatch(r"\[?(.+?) \[\1 \.\.\.\]\]?", text)
    return f"{several[1]} ..." if several else text


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _plain(text: str) -> str:
    """Text of a help message in one line, without brackets that would be taken for a reference."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [html.escape(part, quote=False).replace("[", "&#91;") for part in parts[::2]]
    return "`".join(parts)
