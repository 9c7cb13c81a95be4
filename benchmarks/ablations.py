"""The ablations of docs/metatrain.md: trains what is asked for, and prints a table of what is finished.

    python benchmarks/ablations.py celo2_base --only augmentation normalization --out runs/ablations
    python benchmarks/ablations.py celo --out runs/ablations
    python benchmarks/ablations.py celo2_base celo --table --out runs/ablations

Each is the default recipe but for one thing: 2,000 outer iterations, meta-seeds 0 and 1, judged by meta-validation
(lower is better). One run after the other on one device, in OUT/RULE/NAME/seed-N; the same command goes on with what
was stopped and skips what is finished. Celo's are two runs: the update rule (in OUT/celo_phase1), then the schedule on
it; one phase gets the iterations of both. The default of a rule is always trained too, as all are compared with it.

Unroll lengths are judged over 10,000 steps as well, by the same tasks (`long.json` beside the weights), 2,000 being the
default's. "scheduler off" is no run of its own: it is the update rule of phase 1 at its best constant step size.
"""

import argparse
import dataclasses
import functools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metatrain.config import MetaTrainConfig
from rlopt.training import runtime

ITERATIONS, SEEDS, DEFAULT = 2000, (0, 1), "default"
LONG_STEPS, LONG = 10_000, "long.json"


class Ablation(NamedTuple):
    """What differs from the default recipe.

    changes: settings. first: those of phase 1, of Celo in two phases. times: of the usual iterations. phase_1: judged
    is the update rule alone. long: judged over 10,000 steps too.
    """

    group: str
    name: str
    changes: dict[str, Any] = {}  # noqa: RUF012  # never changed
    first: dict[str, Any] | None = None
    times: int = 1
    phase_1: bool = False
    long: bool = False


def _of_update_rule() -> list[Ablation]:
    """Celo2's and Celo2-base's."""
    return [
        Ablation(DEFAULT, DEFAULT, long=True),
        *(Ablation("augmentation", x, {"augmentation": x}) for x in ("none", "tensor", "parameter", "mixed")),
        *(Ablation("normalization", x, {"normalization": x}) for x in ("raw", "rolling", "clipped")),
        *(Ablation("decay", f"decay-{x:g}", {"inner_weight_decay": x}) for x in (0.1, 1.0)),
        *(Ablation("unroll", f"unroll-{x}", {"max_unroll": x}, long=True) for x in (1000, 5000)),
    ]


def _of_schedule(two_phases: bool) -> list[Ablation]:
    """Celo's and Celo-Adam's."""
    first: dict[str, Any] | None = {} if two_phases else None
    return [
        Ablation(DEFAULT, DEFAULT, {}, first, long=True),
        *(Ablation("form", x, {"schedule_form": x}, first) for x in ("linear", "clipped")),
        *(
            Ablation("unroll", f"unroll-{x}", {"max_unroll": x}, {"max_unroll": x} if two_phases else None, long=True)
            for x in (1000, 5000)
        ),
    ]


_LEVELS = (
    *(("none", "none"), ("global", "none"), ("none", "global")),
    *(("tensor", "global"), ("global", "tensor"), ("tensor", "tensor"), ("mixed", "mixed")),
)
ABLATIONS: dict[str, list[Ablation]] = {
    "celo2": _of_update_rule(),
    "celo2_base": _of_update_rule(),
    "celo_adam": [
        *_of_schedule(False),
        *(Ablation("augmentation", x, {"augmentation": x}) for x in ("none", "tensor", "parameter", "mixed")),
    ],
    "celo": [
        *_of_schedule(True),
        Ablation("phases", "scheduler-off", phase_1=True, first={}),
        Ablation("phases", "one-phase", {"one_phase": True}, times=2),
        Ablation("tensors", "tensor-features", {"tensor_features": True}, {}),
        *(
            Ablation("augmentation", f"{one}-{two}", {"augmentation": two}, {"augmentation": one})
            for one, two in _LEVELS
        ),
    ],
}
GROUPS = tuple(dict.fromkeys(ablation.group for several in ABLATIONS.values() for ablation in several))


class Run(NamedTuple):
    """One training: its settings and its folder; long: judged over 10,000 steps too."""

    config: MetaTrainConfig
    folder: Path
    long: bool = False

    @property
    def best(self) -> Path:
        """The weights that did best in meta-validation."""
        return self.folder / f"{self.config.rule}.best.theta"

    @property
    def loss(self) -> float | None:
        """Their loss there; None before the run is finished."""
        last = self.folder / f"{self.config.rule}.json"
        if not (last.exists() and self.best.exists()) or _read(last)["iterations"] < self.config.iterations:
            return None
        return float(_read(self.best.with_suffix(".json"))["validation"]["loss"])

    @property
    def long_loss(self) -> float | None:
        """Their loss over 10,000 steps; None where it was not measured."""
        path = self.folder / LONG
        return float(_read(path)["loss"]) if path.exists() else None


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def runs(rule: str, ablation: Ablation, seed: int, out: Path, usual: MetaTrainConfig) -> list[Run]:
    """What is to be trained for an ablation, in order; the last run is the one that is judged.

    usual: what they have in common, but for rule, seed and where they start.
    """
    found: list[Run] = []
    config = dataclasses.replace(usual, rule=rule, seed=seed, iterations=ablation.times * usual.iterations)
    if ablation.first is not None:
        one = dataclasses.replace(config, rule="celo_phase1", **ablation.first)
        changed = [f"{key}-{value}" for key, value in ablation.first.items() if value != getattr(usual, key)]
        name = "-".join(changed) or DEFAULT
        found = [Run(one, out / "celo_phase1" / name / f"seed-{seed}")]
        config = dataclasses.replace(config, init_theta=found[0].best)
    if not ablation.phase_1:
        config = dataclasses.replace(config, **ablation.changes)
        found.append(Run(config, out / rule / ablation.name / f"seed-{seed}", ablation.long))
    return found


def chosen(rule: str, only: Sequence[str]) -> list[Ablation]:
    """Ablations of a rule, those of some groups or all; the default comes first."""
    return [ablation for ablation in ABLATIONS[rule] if not only or ablation.group in (DEFAULT, *only)]


def train(run: Run, validate_every: int = 1000, score: Any = None, long_score: Any = None) -> bool:
    """Trains what is left of a run, and judges it over 10,000 steps if it is to be; False: a signal came.

    score, long_score: theta -> meta-validation, over 1,000 and 10,000 steps; default: made once for each form.
    """
    import celo2
    from celo2.files import write_atomic
    from rlopt.metatraining import trainer

    config = run.config
    if run.loss is None:
        print(f"training {run.folder}", file=sys.stderr, flush=True)
        score = score or _score(config.rule, config.form, config.inner)
        if trainer.train(config, run.folder, score=score, validate_every=validate_every).stopped:
            return False
    if run.long and run.long_loss is None:
        print(f"judging {run.folder} over {LONG_STEPS:,} steps", file=sys.stderr, flush=True)
        long_score = long_score or _score(config.rule, config.form, config.inner, LONG_STEPS)
        found = long_score(celo2.load_theta(run.best))
        document = {"steps": LONG_STEPS, "loss": found.loss, "rate": found.rate, "family_loss": found.family_loss}
        write_atomic(run.folder / LONG, json.dumps(document, indent=1).encode() + b"\n")
    return True


@functools.cache
def _score(rule: str, form: Any, inner: Any, steps: int = 1000) -> Any:
    from metatrain import validation

    return validation.make(rule, form, inner=inner, steps=steps)


def table(rule: str, ablations: Sequence[Ablation], seeds: Sequence[int], out: Path, usual: MetaTrainConfig) -> str:
    """Markdown: a row for each ablation of which all seeds are finished, with its distance from the default."""
    found = {}
    for ablation in ablations:
        last = [runs(rule, ablation, seed, out, usual)[-1] for seed in seeds]
        losses = [run.loss for run in last]
        if None not in losses:
            found[ablation.name] = (ablation, losses, [run.long_loss for run in last])
    reference = statistics.fmean(found[DEFAULT][1]) if DEFAULT in found else None  # type: ignore[type-var]
    head = ["ablation", "group", "mean", *(f"seed {seed}" for seed in seeds), "against default"]
    lines = [f"| {' | '.join([*head, f'{LONG_STEPS:,} steps'])} |", "|---" * (len(head) + 1) + "|"]
    for name, (ablation, losses, longer) in found.items():
        mean: float = statistics.fmean(losses)  # type: ignore[type-var]
        change = "" if reference is None or name == DEFAULT else f"{100 * (mean / reference - 1):+.1f} %"
        known = [x for x in longer if x is not None]
        long = f"{statistics.fmean(known):.4f}" if len(known) == len(seeds) else ""
        cells = [name, ablation.group, f"{mean:.4f}", *(f"{loss:.4f}" for loss in losses), change, long]
        lines.append(f"| {' | '.join(cells)} |")
    waiting = [ablation.name for ablation in ablations if ablation.name not in found]
    return "\n".join([*lines, *([f"\nnot finished: {', '.join(waiting)}"] if waiting else [])])


def main() -> None:
    """Trains, unless only the table is asked for, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", nargs="+", choices=list(ABLATIONS))
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=(), help="groups; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--table", action="store_true", help="print what is finished, train nothing")
    args = parser.parse_args()
    usual = MetaTrainConfig(iterations=args.iterations)
    if not args.table:
        runtime.configure(num_devices=1)
        for rule in args.rules:
            for ablation in chosen(rule, args.only):
                for run in (run for seed in args.seeds for run in runs(rule, ablation, seed, args.out, usual)):
                    if not train(run, min(1000, args.iterations)):
                        sys.exit("stopped; the same command goes on")
    for rule in args.rules:
        print(f"\n{rule}, {args.iterations:,} iterations, meta-validation (a share of the loss before training)\n")
        print(table(rule, chosen(rule, args.only), args.seeds, args.out, usual))


if __name__ == "__main__":
    main()
