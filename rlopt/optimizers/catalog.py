"""The optimizers by name: what each is, its default learning rate for RL, and the fields that can be set.

One line adds one. Imports no jax, so that a command line is quick.
"""

import math
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rlopt.optimizers import heads

# What is handed, in place of a learning rate, to an optimizer that takes none: what its steps are multiplied by. Runs
# of agents have a default of their own (`presets.share`).
SHARE = "share"


class Choice(NamedTuple):
    """An option that is one of a few words, or of a few values that are told by words: the default, then the others."""

    default: Any
    others: tuple[Any, ...]


# Options of every optimizer of the catalog, beside its own; as `schedules.share_of_rate` takes them.
SCHEDULE = MappingProxyType({"schedule": Choice("constant", ("linear", "cosine")), "warmup": 0.0})
SHARED = (*SCHEDULE, heads.OPTION)


class OptimizerInfo(NamedTuple):
    """An optimizer, or a way to make one.

    summary: one line for listings.
    learning_rate: default, that of PPO on classic control; None: takes none, or has none yet (`module:function`).
    factory: "module:function", called with the learning rate (if it takes none, with the agent's share of its own
      steps, annealed as the rate is) and the options; also with `num_updates`
      (over the whole training), `updates_per_target` (until the next batch of PPO or PQN, or the next target network of
      DQN), `epochs_per_target` (passes over such a batch) if it has parameters of these names, and with `theta` if
      learned.
    options: what can be set besides, with defaults; their types are those of the defaults (a number, True or False), or
      a `Choice`.
    weights: name of the packaged weights; None: there are none. rule: whose weights it takes, as `celo2.init_theta`
      names it; None: it is not learned. scheduled: finds its step size by itself and takes no learning rate, but has an
      option `SHARE`. told: reads what only agents tell (`agents.telling`), so that it fits no supervised task.
    """

    summary: str
    learning_rate: float | None
    factory: str
    options: Mapping[str, Any] = MappingProxyType({})
    weights: str | None = None
    rule: str | None = None
    scheduled: bool = False
    told: bool = False

    @property
    def learned(self) -> bool:
        """Whether it has weights (a theta)."""
        return self.rule is not None

    @property
    def defaults(self) -> dict[str, Any]:
        """The options at their defaults."""
        return {name: x.default if isinstance(x, Choice) else x for name, x in self.options.items()}

    def read(self, option: str, value: Any) -> Any:
        """The value of an option, as the factory takes it, from what a command line or a file has.

        Raises:
          ValueError: naming the option, the value and what is allowed.
        """
        if option == heads.OPTION and option not in self.options:
            return heads.read(value)
        allowed = self.options[option] if option in self.options else SCHEDULE[option]
        choices = {as_word(x): x for x in (allowed.default, *allowed.others)} if isinstance(allowed, Choice) else {}
        if isinstance(allowed, bool):
            choices = {"false": False, "true": True}
        if not choices:
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number:
                raise ValueError(f"option {option} must be a number, got {value!r}")
            return value
        flags = {0: "false", 1: "true"} if "true" in choices else {}
        word = as_word(flags.get(value, value))
        if word not in choices:
            raise ValueError(f"option {option} must be one of {', '.join(choices)}, got {value!r}")
        return choices[word]


def as_word(value: Any) -> str:
    """An option's value as a command line has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# Numbers that decide about shapes or the program: members of a population cannot differ in them.
UNTRACED = frozenset({"min_dim_size_to_factor", "interval"})
# An option that is left to the card of the weights: the form that they were trained in.
CARD = "card"
_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-5}
_DECAY = {"weight_decay": 1e-2}
_ROUTED = {"multiplier": 5.0}
# Which matrices a routed rule takes; "matrices": all but embeddings and output heads.
_ROUTING = Choice("hidden", ("matrices", "all"))
# See `celo2.celo2`: form, then which matrices the rule takes, then the rest.
_RULE = {
    "odd": Choice(CARD, (True, False)),
    "size": Choice(CARD, ("unit", "adam", "snr", "learned")),
    "weight_decay": 0.0,
    "matrix_axes": Choice("last_two", ("fan_in_fan_out",)),
    "bias_correction": False,
}
_FOR_RL = {"multiplier": 1.0, "routing": _ROUTING} | _RULE | _ADAM
# As published, with weights of that form: AdamW at 20 times the rate.
_PUBLISHED = {"multiplier": 20.0} | _RULE | {"b1": 0.9, "b2": 0.95, "eps": 1e-8}


def _baseline(rule: str, summary: str, options: Mapping[str, Any] = MappingProxyType({})) -> OptimizerInfo:
    """A learned rule to compare with: no packaged weights, no learning rate, a share as `celo_adam` has one."""
    return OptimizerInfo(
        summary + "; give weights with --theta",
        None,
        f"rlopt.optimizers.routed:{rule}",
        {SHARE: 1.0, "scaled": Choice(True, (False,)), **options},
        rule=rule,
        scheduled=True,
    )


OPTIMIZERS: dict[str, OptimizerInfo] = {
    "adam": OptimizerInfo("Adam", 2.5e-3, "optax:adam", _ADAM),
    "adamw": OptimizerInfo("AdamW", 2.5e-3, "optax:adamw", _ADAM | _DECAY),
    "nadamw": OptimizerInfo("AdamW with Nesterov momentum", 2.5e-3, "optax:nadamw", _ADAM | _DECAY),
    "radam": OptimizerInfo("rectified Adam", 5e-3, "optax:radam", _ADAM | {"threshold": 5.0}),
    "adam_rel": OptimizerInfo(
        "Adam that counts its steps anew for each batch of PPO and PQN, or target network of DQN",
        5e-3,
        "rlopt.optimizers.routed:adam_rel",
        _ADAM,
    ),
    "yogi": OptimizerInfo("Yogi", 5e-3, "optax:yogi", {"b1": 0.9, "b2": 0.999, "eps": 1e-3}),
    "adabelief": OptimizerInfo("AdaBelief", 2.5e-3, "optax:adabelief", {"b1": 0.9, "b2": 0.999, "eps": 1e-8}),
    "adan": OptimizerInfo("Adan", 1e-2, "optax:adan", {"b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-5}),
    "lamb": OptimizerInfo("LAMB", 3e-3, "optax:lamb", {"b1": 0.9, "b2": 0.999, "eps": 1e-5, "weight_decay": 0.0}),
    "lars": OptimizerInfo("LARS", 1.0, "optax:lars", {"momentum": 0.9, "trust_coefficient": 1e-3, "weight_decay": 0.0}),
    "adafactor": OptimizerInfo(
        "Adafactor",
        2e-2,
        "optax:adafactor",
        {"decay_rate": 0.8, "clipping_threshold": 1.0, "min_dim_size_to_factor": 32},
    ),
    "adagrad": OptimizerInfo("Adagrad", 1e-1, "optax:adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-7}),
    "sm3": OptimizerInfo("SM3", 5e-2, "optax:sm3", {"momentum": 0.9}),
    "rmsprop": OptimizerInfo("RMSProp", 1e-3, "optax:rmsprop", {"decay": 0.99, "eps": 1e-5}),
    "sgd": OptimizerInfo("gradient descent with momentum", 1e-1, "optax:sgd", {"momentum": 0.9}),
    "nesterov": OptimizerInfo(
        "gradient descent with Nesterov momentum", 1e-1, "optax:sgd", {"momentum": 0.9, "nesterov": True}
    ),
    "lion": OptimizerInfo("Lion", 1e-3, "optax:lion", {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3}),
    "fromage": OptimizerInfo("Fromage", 3e-2, "optax:fromage", {"min_norm": 1e-6}),
    "schedule_free": OptimizerInfo(
        "schedule-free AdamW", 7.5e-3, "optax.contrib:schedule_free_adamw", _ADAM | {"weight_decay": 0.0}
    ),
    "prodigy": OptimizerInfo(
        "Prodigy, which estimates its rate; the learning rate multiplies it",
        0.1,
        "optax.contrib:prodigy",
        {"estim_lr0": 1e-6, "estim_lr_coef": 1.0, "weight_decay": 0.0},
    ),
    "muon": OptimizerInfo(
        "Muon on hidden matrices, Adam elsewhere, at the same rate",
        1e-2,
        "rlopt.optimizers.routed:muon",
        {"beta": 0.95, "multiplier": 1.0, "routing": _ROUTING},
    ),
    "ano": OptimizerInfo(
        "Ano: the sign of the momentum, the length of this gradient; made for noise",
        1e-3,
        "rlopt.optimizers.rivals.ano:ano",
        {"b1": 0.92, "b2": 0.99, "eps": 1e-8, "weight_decay": 0.0},
    ),
    "trac": OptimizerInfo(
        "TRAC around Adam: parameter-free share of the way from the start; made for lifelong RL",
        2.5e-3,
        "rlopt.optimizers.rivals.trac:trac",
        _ADAM,
    ),
    "namo": OptimizerInfo(
        "NAMO: Muon whose steps shrink with the noise, on hidden matrices, Adam elsewhere, at the same rate",
        1e-2,
        "rlopt.optimizers.rivals.matrices:namo",
        {"beta": 0.95, "b2": 0.99, "multiplier": 1.0, "routing": _ROUTING, "weight_decay": 0.0},
    ),
    "muonh": OptimizerInfo(
        "MuonH: Muon on hidden matrices that keep their norm, Adam elsewhere at an eighth of the rate",
        2e-2,
        "rlopt.optimizers.rivals.matrices:muonh",
        {"beta": 0.95, "multiplier": 0.125, "routing": _ROUTING},
    ),
    "shampoo": OptimizerInfo(
        "Shampoo, with the size of Adagrad's steps or of the gradient (graft sgd)",
        1e-2,
        "rlopt.optimizers.rivals.shampoo:shampoo",
        {
            "graft": Choice("adagrad", ("sgd",)),
            "b1": 0.9,
            "b2": 0.99,
            "eps": 1e-6,
            "interval": 10.0,
            "weight_decay": 0.0,
        },
    ),
    "soap": OptimizerInfo(
        "SOAP: Adam in the eigenbases of Shampoo's matrices",
        2.5e-3,
        "rlopt.optimizers.rivals.soap:soap",
        {"b1": 0.95, "b2": 0.95, "eps": 1e-8, "interval": 10.0, "weight_decay": 0.0},
    ),
    "adam_routed": OptimizerInfo(
        "Adam; input layers, heads and 1-D tensors at 5 times the rate",
        1e-3,
        "rlopt.optimizers.routed:adam_routed",
        _ROUTED,
    ),
    "muon_routed": OptimizerInfo(
        "unit-RMS Muon on hidden matrices, Adam at 5 times the rate elsewhere",
        1e-3,
        "rlopt.optimizers.routed:muon_routed",
        _ROUTED | {"size": Choice("unit", ("adam", "snr")), "routing": _ROUTING},
    ),
    "celo2": OptimizerInfo(
        "Celo2 (learned) on hidden matrices, Adam elsewhere, all at Adam's rate: celo2.celo2(rate, **celo2.RL)",
        2.5e-3,
        "rlopt.optimizers.routed:celo2",
        _FOR_RL,
        weights="celo2",
        rule="celo2",
    ),
    "celo2_base": OptimizerInfo(
        "Celo2-base (learned) on hidden matrices, Adam elsewhere, all at Adam's rate: "
        "celo2.celo2_base(rate, **celo2.RL)",
        2.5e-3,
        "rlopt.optimizers.routed:celo2_base",
        _FOR_RL,
        weights="celo2_base",
        rule="celo2",
    ),
    "celo2_published": OptimizerInfo(
        "Celo2 as published: all matrices but embeddings and heads, AdamW at 20 times the rate elsewhere: "
        'celo2.celo2(rate, "celo2_v1")',
        7.5e-4,
        "rlopt.optimizers.routed:celo2_published",
        _PUBLISHED,
        weights="celo2_v1",
        rule="celo2",
    ),
    "celo2_base_published": OptimizerInfo(
        'Celo2-base as published, on every tensor: celo2.celo2_base(rate, "celo2_base_v1")',
        7.5e-4,
        "rlopt.optimizers.routed:celo2_base_published",
        _RULE,
        weights="celo2_base_v1",
        rule="celo2",
    ),
    "celo": OptimizerInfo(
        "Celo (learned rule and schedule) on every tensor: celo2.celo(num_updates, multiplier=share, annealed)",
        None,
        "rlopt.optimizers.routed:celo",
        {
            SHARE: 1.0,
            "scaled": Choice(CARD, (True, False)),
            "odd": _RULE["odd"],
            "size": _RULE["size"],
            "scheduler": Choice(True, (False,)),
        },
        weights="celo",
        rule="celo",
        scheduled=True,
    ),
    "celo_adam": OptimizerInfo(
        "Adam with Celo's learned schedule on every tensor: celo2.celo_adam(num_updates, multiplier=share, annealed)",
        None,
        "rlopt.optimizers.routed:celo_adam",
        {SHARE: 1.0, "scaled": Choice(True, (False,))},
        weights="celo_adam",
        rule="celo_adam",
        scheduled=True,
    ),
    "nnadam": _baseline("nnadam", "NN-Adam (learned): an LSTM moves the settings of Adam: celo2.nnadam(theta)"),
    "adafac_mlp": _baseline(
        "adafac_mlp", "AdaFac-MLP (learned): a small MLP over gradient statistics: celo2.adafac_mlp(theta)"
    ),
    "rnn_mlp": _baseline(
        "rnn_mlp", "RNN-MLP (learned): an LSTM per tensor above an MLP per parameter: celo2.rnn_mlp(theta)"
    ),
    "velo": _baseline(
        "velo",
        "VeLO of any size (learned): a schedule per tensor above mixed MLPs: celo2.velo(num_updates, theta)",
        {"mlp_mult": 1.0},
    ),
    # Its steps are not annealed: it is told the progress of the training.
    "open": OptimizerInfo(
        "OPEN (learned, made for RL): a GRU per parameter that agents tell where they stand: celo2.open_rule(theta); "
        "give weights with --theta",
        None,
        "rlopt.optimizers.routed:open_rule",
        {SHARE: 1.0, "scaled": Choice(False, (True,))},
        rule="open",
        scheduled=True,
        told=True,
    ),
}


def find(name: str) -> OptimizerInfo | None:
    """What there is to know of an optimizer, also of one named as `module:function`; None for an unknown name."""
    if ":" in name:
        return OptimizerInfo("a user's own", None, name)
    return OPTIMIZERS.get(name)


def path_of(function: Any) -> str:
    """A function's name as `module:function`, in the shortest module that has it: optax.adam is "optax:adam".

    Raises:
      ValueError: for what is no function, or one that cannot be imported by name (a lambda).
    """
    module, name = (str(getattr(function, attribute, "")) for attribute in ("__module__", "__qualname__"))
    parts = module.split(".")
    for prefix in (".".join(parts[: i + 1]) for i in range(len(parts))):
        if callable(function) and getattr(sys.modules.get(prefix), name, None) is function:
            return f"{prefix}:{name}"
    raise ValueError(
        "optimizer must be a name (`rlopt optimizers` lists them) or a function of a module that is called with the "
        f"learning rate, such as optax.adam; got {function!r:.100}"
    )
