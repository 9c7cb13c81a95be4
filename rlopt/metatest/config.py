"""Settings of the supervised suite. Nothing here imports jax, so that a command line can read it at once."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rlopt.metatest.trials import draws
from rlopt.optimizers import arms, catalog

DEFAULT_TASKS = (
    *("wide", "deep", "small_set", "layer_norm", "residual"),
    *("convolution", "autoencoder", "teacher", "transformer", "lstm"),
)
# The seventeen on which the Celo paper judges, by the paper's names (arXiv 2501.12670, appendix A.8).
CELO17_TASKS = (
    *("ImageMLP_FashionMnist_Relu128x128", "ImageMLP_Cifar10_128x128x128_LayerNorm_Relu"),
    *("ImageMLP_Cifar10_128x128x128_Tanh_bs128", "Conv_Cifar10_32x64x64", "Conv_Cifar10_32x64x64_batchnorm"),
    *("Conv_Cifar10_32x64x64_layernorm", "Conv_Cifar100_32x64x64"),
    *("VIT_Cifar100_wideshallow", "VIT_Cifar100_skinnydeep"),
    *("TransformerLM_LM1B_MultiRuntime_0", "TransformerLM_LM1B_MultiRuntime_2", "TransformerLM_LM1B_MultiRuntime_5"),
    *("ImageMLPAE_Cifar10_128x32x128_bs256", "ImageMLPAE_Mnist_128x32x128_bs128"),
    *("RNNLM_lm1b32k_Patch32_LSTM256_Embed128", "RNNLM_wikipediaen32k_Patch32_LSTM256_Embed128"),
    "LOpt_AdafacMLPLOpt_FashionMnist_50",
)
EVERY = 10
SHORTEST = 20
# Everything is measured by Adam as optax has it (the catalog's epsilon is PPO's).
REFERENCE = "adam:eps=1e-8"
# The rules on all matrices, as they were trained, not on hidden ones only, as in RL: many of these networks have none.
LEARNED = (
    *("celo2:routing=matrices", "celo2_base:routing=all"),
    *("celo2_published", "celo2_base_published", "celo", "celo_adam"),
)
HAND_DESIGNED = (
    *(REFERENCE, "adamw:eps=1e-8", "nadamw:eps=1e-8", "radam:eps=1e-8", "adabelief", "rmsprop", "adagrad"),
    *("sgd", "nesterov", "lion", "lamb", "muon:routing=matrices"),
)


@dataclass(frozen=True)
class SuiteConfig:
    """Learned rules, each at one setting for all tasks, against hand-designed optimizers tuned on each task."""

    suite: Literal["small", "celo17", "returns", "supervised"] = "small"
    """small (once called supervised): ten small networks on images, text and regression. celo17: the seventeen tasks of
    the Celo paper at their sizes. returns: short trainings of agents, beside Adam and routed Muon, which has settings
    of its own (`rlopt metatest --suite returns --help`)."""
    optimizers: tuple[str, ...] = LEARNED + HAND_DESIGNED
    """What is compared, [NAME=]OPTIMIZER[:OPTION=VALUE,...]; `rlopt optimizers` lists them. Adam, by which all are
    measured, always takes part."""
    tasks: tuple[str, ...] | None = None
    """Tasks of the suite; default: all of it."""
    steps: int = 2000
    """Length of every training run, at a constant rate (rules with a schedule of their own follow it)."""
    fraction: float = 1.0
    """Share of the steps that are trained, of every task: 0.1 is a tenth of --steps, rounded up to a multiple of 10 and
    at least 20. Rules with a schedule follow that of the shorter training."""
    data: Path | None = None
    """Folder with data sets of yours for celo17 (docs/metatest.md says which files); what it lacks is made up."""
    seeds: int = 3
    """Runs per task and optimizer."""
    options: dict[str, float | str] = field(default_factory=dict)
    """What optimizers are told besides, such as `--options weight_decay 0.1`: those that have an option of the name."""
    theta: dict[str, Path] = field(default_factory=dict)
    """Weight files for learned optimizers, in place of the packaged ones: `--theta celo2 mine.theta`."""
    rates: dict[str, float] = field(default_factory=dict)
    """Learning rates of optimizers that are not to be tuned, by optimizer or by name: `--rates celo2 1e-3`. By default
    learned rules have the one that meta-validation found best for their weights."""
    trials: dict[str, int] = field(default_factory=dict)
    """Random draws of rate, betas, epsilon and weight decay, in place of fifteen rates, for hand-designed optimizers on
    each task, by optimizer or by name: `--trials nadamw 1000` (as many as in the paper)."""
    tune_learned: bool = False
    """Tune the learned rules on each task as well, as the hand-designed optimizers are."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the tasks."""
        if self.tasks is not None:
            return self.tasks
        return CELO17_TASKS if self.suite == "celo17" else DEFAULT_TASKS

    @property
    def length(self) -> int:
        """Steps of every training run."""
        return max(SHORTEST, EVERY * math.ceil(round(self.steps * self.fraction / EVERY, 6)))

    @property
    def arms(self) -> dict[str, arms.Arm]:
        """What is compared, by name: learned rules, then the others, each in the order given.

        Raises:
          ValueError: for what is no arm, or is named twice.
        """
        missing = () if REFERENCE in self.optimizers else (REFERENCE,)
        found = arms.parse_all((*missing, *self.optimizers))
        learned = {name: arm for name, arm in found.items() if is_learned(arm)}
        return learned | found

    def check(self) -> None:
        """Refuses impossible numbers.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        if self.suite == "returns":
            raise ValueError("the suite returns has settings of its own, `ReturnsConfig`")
        for name, least in (("steps", SHORTEST), ("seeds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.steps % EVERY:
            raise ValueError(f"steps must be a multiple of {EVERY}, got {self.steps}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {self.fraction}")
        if not self.optimizers or not self.chosen:
            raise ValueError("at least one optimizer and one task are needed")
        if len(set(self.chosen)) < len(self.chosen):
            raise ValueError(f"each task may be named once, got {', '.join(self.chosen)}")
        if self.data is not None and self.suite != "celo17":
            raise ValueError(f"data is for the suite celo17; {self.suite} has its own")
        compared = self.arms
        for name, arm in compared.items():
            info = catalog.find(arm.optimizer)
            if info and info.told:
                raise ValueError(
                    f"{name} reads what only agents tell (who acts, epochs, dormancy): it fits no supervised task; "
                    "try it with `rlopt train` or `rlopt compare`"
                )
        by_optimizer = {arm.optimizer: arm for arm in compared.values()}
        self._check_trials()
        for name, rate in self.rates.items():
            if name not in compared and name not in by_optimizer:
                raise ValueError(
                    f"a rate was given for {name!r}, which is not compared; there are {', '.join(compared)}"
                )
            info = catalog.find(compared[name].optimizer if name in compared else name)
            if info and info.scheduled:
                raise ValueError(f"{name} takes no learning rate, got {rate}")
            if not (math.isfinite(rate) and rate > 0):
                raise ValueError(f"rates must be finite and positive, got {rate} for {name}")

    def _check_trials(self) -> None:
        compared = self.arms
        for name, number in self.trials.items():
            meant = [own for own, arm in compared.items() if name in (own, arm.optimizer)]
            if not meant:
                among = ", ".join(compared)
                raise ValueError(f"trials were given for {name!r}, which is not compared; there are {among}")
            if REFERENCE in meant:
                raise ValueError(f"{REFERENCE}, by which all are measured, has the same rates always: none of {name}")
            if self.rates.keys() & {name, *meant}:
                raise ValueError(f"{name} has trials and a rate: give one of them")
            for own in meant:
                draws(compared[own].optimizer, (), number)


def is_learned(arm: arms.Arm) -> bool:
    """Whether an arm's optimizer has weights; not, if there is none of its name."""
    info = catalog.find(arm.optimizer)
    return info is not None and info.learned
