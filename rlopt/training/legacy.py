"""What names and settings of older run folders mean today. Imports no jax.

Format 1 (no "format" in `config.json`): `celo2` and `celo2_base` took steps of unit size with the weights that are now
called `celo2_v1` and `celo2_base_v1`, and Adam at 5 times the rate elsewhere.

Formats 1 and 2: `celo` had the weights that are now called `celo_v1`; its steps and those of `celo_adam` were neither
shared nor annealed. What is DQN's `batch_size` was its `learning_batch`.

Formats 1 to 3: the share of Celo's and Celo-Adam's steps was not written down, but was the agents' of that time.
"""

from typing import Any

FORMAT = 4
_LEARNED = ("celo2", "celo2_base")
_SCHEDULED = ("celo", "celo_adam")
# By agent; DQN's of Celo apart.
_SHARES = {"ppo": 1 / 3, "pqn": 1 / 3, "dqn": 1.0}
_DQN_CELO = 1 / 100


def upgraded(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run, of any format, as this version has them: a new dict with the newest "format".

    Weights given by path stay; packaged ones are named as they are called now. The values are not checked.
    """
    written = settings.get("format", 1)
    if written not in (1, 2, 3):
        return dict(settings)
    settings = _with_share({**settings, "format": FORMAT})
    if written == 3:
        return settings
    hyper = settings.get("hyper")
    if isinstance(hyper, dict) and "learning_batch" in hyper:
        settings["hyper"] = {"batch_size" if name == "learning_batch" else name: x for name, x in hyper.items()}
    name, options = settings.get("optimizer"), settings.get("options", {})
    if name in _SCHEDULED and isinstance(options, dict):
        settings["options"] = {"scaled": False, **options}
        if settings.get("theta") is None and name == "celo":
            settings["theta"] = "celo_v1"
    if written == 2:
        return settings
    if name in _LEARNED and isinstance(options, dict):
        settings["options"] = {"multiplier": 5.0, "odd": False, "size": "unit", **options}
        if settings.get("theta") is None:
            settings["theta"] = f"{name}_v1"
    return settings


def _with_share(settings: dict[str, Any]) -> dict[str, Any]:
    name, agent, options = settings.get("optimizer"), settings.get("agent"), settings.get("options", {})
    if name not in _SCHEDULED or agent not in _SHARES or not isinstance(options, dict):
        return settings
    share = _DQN_CELO if (name, agent) == ("celo", "dqn") else _SHARES[agent]
    return {**settings, "options": {"share": share, **options}}
