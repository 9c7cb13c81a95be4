"""Settings of a meta-training run. Nothing here imports jax, so that a command line can read it at once."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from celo2.form import Form

NEWTON_SCHULZ_STEPS = 2
# Rules that train a part of theta only and take the rest from an earlier run.
NEEDS_INIT_THETA = ("celo",)
# Rules with a schedule that ours learn.
SCHEDULED = ("celo", "celo_adam")
# Learned optimizers that ours are compared with; they have one form.
BASELINES = ("nnadam", "adafac_mlp", "rnn_mlp", "velo")
NAMES = ("celo2", "celo2_base", "celo_phase1", "celo", "celo_adam", *BASELINES)
# Several families by one name, which stands where the name of a set does. The first: what the published rules learned.
BUNDLES = {"fast_velo": ("cifar10", "fashion", "mnist", "svhn")}
REGEX_1D = "/b$"
AT_LEAST_ONE = (
    *("iterations", "tasks_per_family", "hidden", "batch_size", "truncation", "min_unroll"),
    *("outer_hold", "refresh_every"),
)


class Inner(NamedTuple):
    """Settings of the inner optimizer of celo2 and celo2_base; None: those that go with the form.

    step_mult: step size of the rule. mult_1d: that of the Adam branch as a multiple of it. adam_b2: of that branch.
    weight_decay: decoupled, of both. regex_1d: tensors whose slash-joined name it is found in take the branch.
    """

    step_mult: float | None = None
    mult_1d: float | None = None
    adam_b2: float | None = None
    weight_decay: float = 0.0
    regex_1d: str = REGEX_1D


@dataclass(frozen=True)
class MetaTrainConfig:
    """8 families x 4 tasks x 2 signs x 50 steps = 3,200 inner steps per outer iteration, as many as published."""

    rule: str = "celo2"
    """Rule to train, one of `metatrain.rules.RULES`."""
    iterations: int = 100_000
    """Outer iterations, in total: a resumed run continues up to this number."""
    init_theta: Path | None = None
    """Theta file to start from; default: random weights."""
    init_schedule: Path | None = None
    """Theta file whose schedule celo starts from, such as that of celo_adam; default: that of --init-theta."""
    one_phase: bool = False
    """Train update rule and schedule of celo together, from random weights; published: the schedule on top of the
    finished update rule of --init-theta. (An ablation, as the next three.)"""
    tensor_features: bool = False
    """Give every tensor a schedule of its own (celo only), which reads the tensor's statistics too, as VeLO's does."""
    schedule_form: Literal["exp", "linear", "clipped"] = "exp"
    """How the output o of the schedule becomes the multiplier of the step (celo, celo_adam): 0.1 exp(o), 0.1 (1 + o),
    or that cut to [0, 1]; published: exp."""
    normalization: Literal["step", "rolling", "clipped", "raw"] = "step"
    """What the output of celo2 or celo2_base is divided by before it gets its size: its root mean square (published),
    a running one, that only where it is above 1, or nothing."""
    families: tuple[str, ...] = (
        "digits",
        "mnist",
        "fashion",
        "fashion_inverted",
        "fashion_noisy",
        "mnist_binary",
        "fashion_inverted/deep",
        "mnist/regression",
    )
    """Task families, SET[/NETWORK[:HIDDEN]][@PROBLEM]: an image set, what is trained on it (default: relu, --hidden
    units), and to what end: bandit, bandit_ppo, value, drift (default: to classify). fast_velo in place of a set: the
    four published ones."""
    tasks_per_family: int = 4
    """Inner problems per family; each is run twice, with theta + e and theta - e."""
    data_dir: Path | None = None
    """Folder with image files of your own: sets named after a file in it (see docs/metatrain.md)."""
    odd: bool = True
    """Train celo2 or celo in the odd form: the step for the negative gradient and parameters is the negative step;
    published: --no-odd. Baselines are trained as published."""
    size: Literal["unit", "adam", "snr", "learned"] | None = None
    """What steps are multiplied with (by default: adam), see `celo2.scale_by_celo2`; published: unit. With any other,
    the biases of celo2 and celo2_base take Adam (0.9, 0.999, eps 1e-5) at the rule's own rate, as in RL."""
    momentum_decays: tuple[float, float, float] = (0.9, 0.99, 0.999)
    """The three momenta that the rule reads."""
    newton_schulz_steps: int | None = None
    """Iterations of the orthogonalisation (celo2 only, 2 by default); published: 5."""
    newton_schulz_ratio: float | None = None
    """Matrices of more than this ratio of sides are not orthogonalised (celo2 only); default and published: all are."""
    step_mult: float | None = None
    """Step size of celo2 and celo2_base in the inner problems (default: 0.003, of size unit 0.001, as published)."""
    mult_1d: float | None = None
    """Step size of their Adam branch as a multiple of it (default: 1, of size unit 20, as published)."""
    adam_b2: float | None = None
    """Second decay of that Adam (default: 0.999, of size unit 0.95, as published)."""
    inner_weight_decay: float = 0.0
    """Decoupled weight decay of the inner networks (celo2, celo2_base), times the step size; published: 0."""
    regex_1d: str = REGEX_1D
    """Regular expression: tensors in whose name, as in /mlp/~/linear_0/b, it is found take the Adam branch."""
    hidden: int = 32
    """Hidden units of the inner networks."""
    batch_size: int = 64
    """Images per inner step."""
    truncation: int = 50
    """Inner steps per outer iteration."""
    min_unroll: int = 100
    """Shortest inner training run; lengths are log-uniform."""
    max_unroll: int = 2000
    """Longest inner training run."""
    estimator: Literal["pes", "es"] = "pes"
    """Persistent evolution strategies, or plain truncated ones (biased towards short-term gains)."""
    std: float = 0.01
    """Standard deviation of the perturbations of theta."""
    augmentation: Literal["none", "global", "tensor", "parameter", "mixed"] = "global"
    """Random re-parametrisation of the inner networks: one scale per network, per tensor, per parameter, or a draw."""
    signs: Literal["none", "tensor", "parameter", "mixed"] = "none"
    """Random signs in the re-parametrisation, one per tensor, per parameter, or either: for rules that are not
    --odd."""
    scale_range: tuple[float, float] = (1e-3, 1e3)
    """Range of its log-uniform scale."""
    outer_learning_rate: float = 1e-3
    """AdamW's learning rate for theta; published: 5e-5 (celo2), 1e-4 (celo2_base), 3e-4 (celo), constant."""
    outer_schedule: Literal["constant", "inverse_sqrt", "cosine"] = "inverse_sqrt"
    """Course of that rate: constant, as published; falling as 1/sqrt(iteration) after outer_hold iterations; or cosine,
    down to zero at the last iteration, which must then stay the same on resuming."""
    outer_hold: int = 1000
    """Outer iterations before the rate begins to fall (inverse_sqrt only)."""
    outer_weight_decay: float = 1e-4
    """AdamW's decoupled weight decay on theta."""
    outer_clip: float | None = 100.0
    """Largest norm of the meta-gradient; published: None, not limited."""
    average_decay: float = 0.998
    """Decay of the running mean of theta that is written out; published: 0, theta itself."""
    refresh_every: int = 1000
    """Outer iterations after which all unrolls start anew, so that a small checkpoint is exact there."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Puts the families of a bundle in the place of its name."""
        object.__setattr__(self, "families", tuple(spec for given in self.families for spec in _spelt_out(given)))

    @property
    def inner(self) -> Inner:
        """Settings of the inner optimizer of celo2 and celo2_base."""
        return Inner(self.step_mult, self.mult_1d, self.adam_b2, self.inner_weight_decay, self.regex_1d)

    @property
    def form(self) -> "Form":
        """The form that the weights are trained in, and that their card records; ValueError for an impossible one."""
        from celo2.form import PUBLISHED

        if self.rule in BASELINES:
            return PUBLISHED  # what else is asked for, `check` refuses
        default = PUBLISHED if self.rule == "celo_adam" else PUBLISHED._replace(size="adam")
        if self.rule == "celo2":
            default = default._replace(newton_schulz_steps=NEWTON_SCHULZ_STEPS)
        return default.changed(
            odd=self.odd,
            size=self.size,
            momentum_decays=self.momentum_decays,
            newton_schulz_steps=self.newton_schulz_steps,
            newton_schulz_ratio=self.newton_schulz_ratio,
            normalization=self.normalization,
            schedule_form=self.schedule_form,
        )

    @property
    def num_tasks(self) -> int:
        """Inner problems over all families (each is a pair of trajectories)."""
        return len(self.families) * self.tasks_per_family

    @property
    def inner_steps_per_iteration(self) -> int:
        """Inner steps per outer iteration, both signs counted."""
        return 2 * self.num_tasks * self.truncation

    def check(self) -> None:
        """Refuses impossible settings before anything is compiled.

        Raises:
          ValueError: naming the setting, its value and what is allowed.
        """
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        from celo2.form import PUBLISHED

        form = self.form
        for name in ("newton_schulz_steps", "newton_schulz_ratio"):
            if self.rule != "celo2" and getattr(self, name) is not None:
                raise ValueError(f"{name} is for celo2; {self.rule} is not orthogonalised")
        self._check_ablations()
        if self.rule == "celo_adam" and form != PUBLISHED._replace(odd=True, schedule_form=form.schedule_form):
            raise ValueError(f"celo_adam has Adam's update, which is odd and has no other form, got {form}")
        if self.rule in BASELINES and (self.size is not None or self.momentum_decays != PUBLISHED.momentum_decays):
            raise ValueError(f"size and momentum_decays are for celo2 and celo; {self.rule} has steps of its own")
        self._check_inner(form)
        if not self.families:
            raise ValueError("families must name at least one task family, such as fashion or mnist/deep")
        if self.min_unroll < self.truncation:
            raise ValueError(
                f"min_unroll ({self.min_unroll}) must not be shorter than truncation ({self.truncation}): "
                "at most one unroll may end within a truncation"
            )
        if self.max_unroll < self.min_unroll:
            raise ValueError(f"max_unroll ({self.max_unroll}) must be at least min_unroll ({self.min_unroll})")
        for name in ("std", "outer_learning_rate", "outer_clip"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not (math.isfinite(self.outer_weight_decay) and self.outer_weight_decay >= 0):
            raise ValueError(f"outer_weight_decay must be >= 0, got {self.outer_weight_decay}")
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay must lie in [0, 1), got {self.average_decay}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in [0, 2**32), got {self.seed}")
        if self.rule in NEEDS_INIT_THETA and self.init_theta is None and not self.one_phase:
            raise ValueError(
                f"{self.rule} trains the schedule only: give the update rule with --init-theta, "
                "for example runs/metatrain-celo_phase1/celo_phase1.theta"
            )
        if self.init_schedule is not None and self.rule not in NEEDS_INIT_THETA:
            raise ValueError(f"init_schedule is for {', '.join(NEEDS_INIT_THETA)}, not for {self.rule}")
        for name in ("init_theta", "init_schedule"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {path}")

    def _check_ablations(self) -> None:
        """Refuses variants of what a rule has not."""
        of_rules = {
            "one_phase": NEEDS_INIT_THETA,
            "tensor_features": NEEDS_INIT_THETA,
            "schedule_form": SCHEDULED,
            "normalization": ("celo2", "celo2_base"),
        }
        for name, names in of_rules.items():
            value = getattr(self, name)
            if value != getattr(type(self), name) and self.rule not in names:
                raise ValueError(f"{name} {value} is for {' and '.join(names)}, not for {self.rule}")

    def _check_inner(self, form: "Form") -> None:
        """Refuses impossible settings of the inner optimizer, and such as a rule has not."""
        given = [name for name in INNER if getattr(self, name) != getattr(type(self), name)]
        if given and self.rule not in ("celo2", "celo2_base"):
            raise ValueError(f"{', '.join(given)}: for celo2 and celo2_base, not for {self.rule}")
        of_branch = [name for name in given if name in ("mult_1d", "adam_b2", "regex_1d")]
        if of_branch and self.rule == "celo2_base" and form.size == "unit":
            raise ValueError(f"{', '.join(of_branch)}: celo2_base with steps of size unit has no Adam branch")
        for name in ("step_mult", "mult_1d"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if self.adam_b2 is not None and not 0 <= self.adam_b2 < 1:
            raise ValueError(f"adam_b2 must lie in [0, 1), got {self.adam_b2}")
        if not (math.isfinite(self.inner_weight_decay) and self.inner_weight_decay >= 0):
            raise ValueError(f"inner_weight_decay must be >= 0, got {self.inner_weight_decay}")
        try:
            re.compile(self.regex_1d)
        except re.error as error:
            raise ValueError(f"regex_1d must be a regular expression, got {self.regex_1d!r} ({error})") from error


INNER = ("step_mult", "mult_1d", "adam_b2", "inner_weight_decay", "regex_1d")


def _spelt_out(spec: str) -> tuple[str, ...]:
    """A family, or those that a bundle's name stands for, each with the network and the problem that follow it."""
    name = re.split("[/@]", spec, maxsplit=1)[0]
    return tuple(member + spec.removeprefix(name) for member in BUNDLES.get(name, (name,)))
