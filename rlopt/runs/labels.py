"""What tells runs apart in plots and tables, beside optimizer and learning rate."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celo2.files import read_json
from rlopt import typed
from rlopt.optimizers import catalog, heads
from rlopt.runs.results import CONFIG, Run, read_config
from rlopt.training import legacy

_STOPS = ("stop_below", "stop_at", "halve_at")


def tell_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, with "apart" in their summaries: the settings in which they differ, such as "seeds 4, epochs 2".

    Options and weights of an optimizer are compared between its runs only. Runs that are alike in everything have the
    names of their folders there.
    """
    found = [_settings(run.folder) for run in runs]
    parts: list[list[str]] = [[] for _ in runs]
    for name in dict.fromkeys(name for mine in found for name in mine):
        own = name[0] in ("options", "theta")
        rivals: dict[str, list[Any]] = {}
        for run, mine in zip(runs, found, strict=True):
            rivals.setdefault(run.summary["optimizer"] if own else "", []).append(mine.get(name))
        differ = {group for group, values in rivals.items() if any(value != values[0] for value in values)}
        for i, run in enumerate(runs):
            if (run.summary["optimizer"] if own else "") in differ and name in found[i]:
                parts[i].append(shown(name, found[i][name]))
    apart = [", ".join(mine) for mine in parts]
    keys = [
        (run.summary["optimizer"], run.summary["learning_rate"], text) for run, text in zip(runs, apart, strict=True)
    ]
    count, folders = Counter(keys), Counter(run.folder.name for run in runs)
    for i, run in enumerate(runs):
        if count[keys[i]] > 1:
            place = run.folder.name if folders[run.folder.name] == 1 else str(run.folder)
            apart[i] = ", ".join([apart[i], place] if apart[i] else [place])
    return [run._replace(summary=run.summary | {"apart": text}) for run, text in zip(runs, apart, strict=True)]


def settings(document: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """What may differ between runs, of the content of a `config.json` of any format: {(group, name): value}.

    Groups: "options" (those left out at their defaults, and what parts have of their own) and "theta" are the
    optimizer's, "run" the seeds and the preset's name, "hyper" the agent's settings, "atari" those of Atari games,
    "stops" by what seeds are given up.
    """
    found = legacy.upgraded(document)
    info = catalog.find(found.get("optimizer", ""))
    groups = {
        "options": {
            **(info.defaults if info else {}),
            **found.get("options", {}),
            **{f"{part}'s optimizer": text for part, text in found.get("optimizer_of", {}).items()},
        },
        # The same weights may have been read from different places; of others, the file's name says more than a hash.
        "theta": {"theta": (found.get("theta_sha256"), Path(found.get("theta") or "packaged").stem)},
        "run": {name: found[name] for name in ("seeds", "seed", "preset") if name in found},
        "hyper": found.get("hyper", {}),
        "atari": found.get("atari", {}),
        "stops": {name: x for name, x in found.get("monitor", {}).items() if name in _STOPS and x not in (None, 0, [])},
    }
    return {(group, name): value for group, values in groups.items() for name, value in values.items()}


def shown(name: tuple[str, str], value: Any) -> str:
    """A setting and its value in words."""
    if name[0] == "theta":
        return f"theta {value[1]}"
    if name == ("options", heads.OPTION):  # eleven numbers are no name
        return f"head {hashlib.sha256(str(value).encode()).hexdigest()[:6]}"
    short = isinstance(value, float) and float(f"{value:g}") == value
    return f"{name[1]} {value:g}" if short else f"{name[1]} {value}"


def _settings(folder: Path) -> dict[tuple[str, str], Any]:
    try:
        # Read typed, since a file may hold anything; the hash of weights is beside the settings.
        found, document = typed.plain(read_config(folder)), read_json(folder / CONFIG)
        return settings(found | {"format": legacy.FORMAT, "theta_sha256": str(document.get("theta_sha256"))})
    except (OSError, ValueError):
        return {}
