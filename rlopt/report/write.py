"""Writes a report: report.html, figures and tables."""

from collections.abc import Container, Sequence
from pathlib import Path

from celo2.files import write_atomic
from rlopt.benchmark import random_policy
from rlopt.benchmark.plan import YARDSTICK
from rlopt.report import cost, evidence, figures, page, reproduce, scores, tables
from rlopt.report.evidence import Evidence
from rlopt.report.tables import Table
from rlopt.runs import results
from rlopt.storage import run_lock

PAGE = "report.html"


def write(
    folders: Sequence[Path], out: Path | None = None, timing: bool = True, trust: bool | Container[str] = False
) -> Path:
    """Makes the report of a benchmark, or of other runs together.

    Args:
      folders: a benchmark's, or any that hold runs.
      out: where it is written; default: FIRST_FOLDER/report. What an earlier report left there is replaced.
      timing: whether to time the optimizers' updates here and now, for the table of costs.
      trust: import the code that runs name as `module:name`, to time it or to play at random; else that is left out.
        A container: only the names in it.

    Returns:
      The page.

    Raises:
      ValueError: as `evidence.read`.
    """
    if not folders:
        raise ValueError("name at least one folder with runs")
    # One that the user names may be a link itself.
    run_lock.check_links(*((out,) if out else (folders[0], folders[0] / "report")))
    found = _with_random(evidence.read(folders), trust)
    out = out or folders[0] / "report"
    settings = scores.settings(found)
    matrices = {setting: scores.matrices(found, setting) for setting in settings}
    boards = {setting: scores.leaderboard(matrices[setting]) for setting in settings if matrices[setting]}
    left_out = [text for setting in settings for text in scores.left_out(found, setting, matrices[setting])]
    pictures = {picture.name: picture for picture in figures.all_of(found, matrices, boards)}
    sections: list[Table | figures.Picture] = [
        tables.leaderboard(rows, setting if found.plan else "", scores.normalised(found))
        for setting, rows in boards.items()
    ]
    sections = [*_these(pictures, "scores"), *sections, *_these(pictures, "improvement", "curves")]
    if found.reported:
        sections += [tables.returns(found, setting) for setting in settings]
        sections += _these(pictures, "efficiency", "profiles", "sensitivity")
        if "sensitivity" in pictures:
            sections.append(tables.sensitivity(found))
        if timing:
            sections.append(cost.measure(found, trust))
        if (broken := tables.failures(found)).rows:
            sections.append(broken)
        sections.append(tables.settings(found))
    for name, content in figures.files(list(pictures.values())).items():
        write_atomic(out / "figures" / name, content)
    for section in sections:
        if isinstance(section, Table):
            write_atomic(out / "tables" / f"{section.name}.csv", tables.to_csv(section).encode())
            write_atomic(out / "tables" / f"{section.name}.tex", tables.to_latex(section).encode())
    document = page.page(
        found.title,
        _summary(found, boards.get("tuned", [])),
        found.problems + left_out,
        sections,
        reproduce.commands(found, folders[0]),
        _versions(found),
    )
    write_atomic(out / PAGE, document.encode())
    return out / PAGE


def _these(pictures: dict[str, figures.Picture], *names: str) -> list[figures.Picture]:
    return [pictures[name] for name in names if name in pictures]


def _with_random(found: Evidence, trust: bool | Container[str]) -> Evidence:
    """Random policies are played where several environments need a zero and there is none."""
    if found.plan is not None or not scores.normalised(found):
        return found
    returns = dict(found.random)
    for environment in found.environments:
        cell = found.chosen(environment, YARDSTICK, "tuned")
        if cell is None or environment in returns:
            continue
        config = results.read_config(cell.run.folder)
        if ":" not in config.env or results.is_trusted(config, trust):
            returns[environment] = random_policy.play(config).tolist()
    return found._replace(random=returns)


def _summary(found: Evidence, tuned: list[scores.Row]) -> list[str]:
    """What was done, and the answer in a sentence per optimizer that differs from Adam."""
    if not found.reported:
        return ["There is nothing to show yet."]
    seeds = sorted({len(cell.seeds) for cell in found.reported})
    steps = sorted({scores.last_step(found, name) for name in found.environments if _has(found, name)})
    paragraphs = [
        f"{len(found.optimizers)} optimizers, {len(found.environments)} environments, "
        f"{' or '.join(map(str, seeds))} seeds each, {' or '.join(f'{n:,}' for n in steps)} environment steps per seed."
    ]
    if found.plan is not None:
        candidates = len(found.plan.learning_rates or found.plan.factors)
        paragraphs.append(
            f"Learning rates were chosen from {candidates} candidates per optimizer "
            f"with {found.plan.tuning_seeds} other seeds each, once per environment (tuned) and once for all "
            "environments (shared). Optimizers that take no learning rate had nothing to choose."
        )
    verdicts: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for row in tuned:
        if row.better is not None:
            low, high = row.better[1:]
            verdicts["better" if low > 0.5 else "worse" if high < 0.5 else "not told apart"].append(row.optimizer)
    if any(verdicts.values()):
        said = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in verdicts.items() if names)
        paragraphs.append(
            f"Compared with Adam, by whether the interval of the probability of improvement excludes a half: {said}."
        )
    return paragraphs


def _has(found: Evidence, environment: str) -> bool:
    return any(cell.environment == environment for cell in found.reported)


def _versions(found: Evidence) -> str:
    versions: dict[str, set[str]] = {}
    for cell in found.reported:
        for name, version in (cell.document.get("packages", {}) | {"python": cell.document.get("python", "?")}).items():
            versions.setdefault(name, set()).add(str(version))
    return "Runs made with " + ", ".join(f"{name} {' and '.join(sorted(x))}" for name, x in versions.items()) + "."
