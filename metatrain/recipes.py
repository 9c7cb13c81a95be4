"""Whole recipes of meta-training by name. Imports no jax."""

from dataclasses import replace

from metatrain.config import BASELINES, NAMES, MetaTrainConfig

RECIPES = ("default", "published")
# Of AdamW on theta, constant.
_RATES = {"celo2": 5e-5, "celo2_base": 1e-4, "celo_phase1": 3e-4, "celo": 3e-4, "celo_adam": 3e-4}
_BASELINE_RATE = 1e-4
# Unrolls never start anew all at once.
_NEVER = 1_000_000


def find(name: str, rule: str) -> MetaTrainConfig:
    """The settings of a recipe, to change what should be otherwise.

    "default": those of `MetaTrainConfig`. "published": those of the papers' commands, on the four data sets of
    "fast_velo", which have to be downloaded (`data_dir`); rates of celo_adam and of baselines are those of their kind.

    Raises:
      ValueError: for an unknown recipe or rule.

    Reference: arXiv 2501.12670, arXiv 2602.19142 and their public code.
    """
    for kind, given, known in (("recipe", name, RECIPES), ("rule", rule, NAMES)):
        if given not in known:
            raise ValueError(f"unknown {kind} {given!r}; there are {', '.join(known)}")
    start = MetaTrainConfig(rule)
    if name == "default":
        return start
    published = replace(
        start,
        families=("fast_velo",),
        tasks_per_family=8,
        outer_learning_rate=_RATES.get(rule, _BASELINE_RATE),
        outer_schedule="constant",
        outer_clip=None,
        average_decay=0.0,
        refresh_every=_NEVER,
    )
    if rule in BASELINES or rule == "celo_adam":  # which have one form
        return published
    steps = 5 if rule == "celo2" else None
    return replace(published, odd=False, size="unit", newton_schulz_steps=steps)
