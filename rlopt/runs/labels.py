"""What tells runs apart in plots and tables, beside optimizer and learning rate."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celo2.files import read_json
from rlopt import typed
from rlopt.optimizers import catalog
from rlopt.runs.results import CONFIG, Run, read_config


def tell_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, with "apart" in their summaries: the settings in which they differ, such as "seeds 4, epochs 2".

    Options and weights of an optimizer are compared between its runs only. Runs that are alike in everything have the
    names of their folders there.
    """
    settings = [_settings(run.folder) for run in runs]
    parts: list[list[str]] = [[] for _ in runs]
    for name in dict.fromkeys(name for found in settings for name in found):
        own = name[0] in ("options", "theta")
        rivals: dict[str, list[Any]] = {}
        for run, found in zip(runs, settings, strict=True):
            rivals.setdefault(run.summary["optimizer"] if own else "", []).append(found.get(name))
        differ = {group for group, values in rivals.items() if any(value != values[0] for value in values)}
        for i, run in enumerate(runs):
            if (run.summary["optimizer"] if own else "") in differ and name in settings[i]:
                parts[i].append(_shown(name, settings[i][name]))
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


def _settings(folder: Path) -> dict[tuple[str, str], Any]:
    """What may differ: {(group, name): value}."""
    try:
        config = read_config(folder)
        digest = read_json(folder / CONFIG).get("theta_sha256")
    except (OSError, ValueError):
        return {}
    found, info = typed.plain(config), catalog.find(config.optimizer)
    groups = {
        "options": {**(info.defaults if info else {}), **config.options},
        # The same weights may have been read from different places; of others, the file's name says more than a hash.
        "theta": {"theta": (str(digest), (config.theta or Path("packaged")).stem)},
        "run": {name: found[name] for name in ("seeds", "seed", "preset")},
        "hyper": found["hyper"],
        "atari": found["atari"],
    }
    return {(group, name): value for group, values in groups.items() for name, value in values.items()}


def _shown(name: tuple[str, str], value: Any) -> str:
    if name[0] == "theta":
        return f"theta {value[1]}"
    return f"{name[1]} {value:g}" if isinstance(value, float) else f"{name[1]} {value}"
