"""What a report says in sentences: what was done, the answer, and where it comes from."""

from collections.abc import Sequence

from rlopt.report import rates, scores, verdicts
from rlopt.report.cells import Evidence
from rlopt.report.formats import count
from rlopt.report.verdicts import Verdict
from rlopt.training import machine


def summary(found: Evidence, told: dict[str, Verdict], in_time: Sequence[str]) -> list[str]:
    """What was done, and the answer. told: verdicts. in_time: sentences on equal time."""
    if not found.reported:
        return ["There is nothing to show yet."]
    reported = {cell.environment for cell in found.reported}
    seeds = sorted({len(cell.seeds) for cell in found.reported})
    steps = sorted({scores.last_step(found, name) for name in found.environments if name in reported})
    paragraphs = [
        f"{count(len(found.optimizers), 'optimizer')}, {count(len(found.environments), 'environment')}, "
        f"{' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'} each, "
        f"{' or '.join(f'{n:,}' for n in steps)} environment steps per seed."
    ]
    if found.plan is not None:
        paragraphs.append(_tuning(found))
    if verdict := verdicts.said(told):
        tested = sum(told[name].p is not None for name in told)
        paragraphs.append(
            f"Compared with {found.baseline}, by a permutation test at the level of {verdicts.LEVEL:.0%}, corrected "
            f"for {count(tested, 'optimizer')} compared: {verdict}."
        )
    return [*paragraphs, *in_time]


def _tuning(found: Evidence) -> str:
    plan = found.plan
    assert plan is not None
    if not plan.tunes:
        what = "the same for all" if plan.learning_rates else "each optimizer's own for the first environment"
        return f"Learning rates were not tuned: one was trained of each optimizer, {what}, on every environment."
    tried = f"{count(len(plan.learning_rates or plan.factors), 'candidate')} per optimizer"
    if extended := rates.extended(found):
        tried += f" (and more where the best was at the edge: {', '.join(extended)})"
    others = "1 other seed" if plan.tuning_seeds == 1 else f"{plan.tuning_seeds} other seeds each"
    if plan.tuning_seeds > plan.first_tuning_seeds:
        others += f" ({plan.first_tuning_seeds} for those that were not among the better half then)"
    return (
        f"Learning rates were chosen from {tried} with {others}, once per environment (tuned) and once for all "
        "environments (shared). Optimizers that take no learning rate had nothing to choose."
    )


def origin(found: Evidence, date: str) -> list[str]:
    """When and with what the page was made, what the runs were made with and on, and what they took."""
    made = [f"This page was made on {date} with rlopt {machine.own_version()}."]
    # Runs of other commands are tuning and reported at once.
    cells = list({cell.folders: cell for cell in (*found.tuning, *found.reported)}.values())
    if not cells:
        return made
    versions: dict[str, set[str]] = {}
    for cell in cells:
        for document in cell.documents:
            for name, version in (document.get("packages", {}) | {"python": document.get("python", "?")}).items():
                versions.setdefault(name, set()).add(str(version))
    made.append(
        "Runs made with " + ", ".join(f"{name} {' and '.join(sorted(x))}" for name, x in versions.items()) + "."
    )
    summaries = [one for cell in cells for one in cell.summaries]
    machines = sorted({_machine(one) for one in summaries})
    wall = sum(one["wall_seconds"] for one in summaries)
    known = [one["cpu_seconds"] for one in summaries if "cpu_seconds" in one]
    processor = f", and {_hours(sum(known))} of processor time" if len(known) == len(summaries) else ""
    made.append(
        f"Trained on {' and '.join(machines)}. Total compute, tuning included: {_hours(wall)} of wall-clock time"
        f"{processor}."
    )
    return made


def _machine(told: dict[str, str]) -> str:
    devices, processor = told.get("devices"), told.get("processor")
    if devices is None:
        return "an unknown machine (an older version did not note it)"
    return f"{devices} ({processor})" if processor and devices.endswith("cpu") else devices


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
