"""Writes a report: report.html, figures and tables."""

import time
from collections.abc import Container, Sequence
from pathlib import Path

from celo2.files import write_atomic
from envs import names
from rlopt.benchmark import random_policy
from rlopt.report import (
    cost,
    equal_time,
    figures,
    formats,
    page,
    pictures,
    rates,
    reading,
    reproduce,
    scores,
    tables,
    verdicts,
    words,
)
from rlopt.report.cells import Evidence
from rlopt.report.formats import Table
from rlopt.report.scores import Scores
from rlopt.runs import results
from rlopt.statistics import Interval, aggregate_iqm
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
      ValueError: as `reading.read`.
    """
    if not folders:
        raise ValueError("name at least one folder with runs")
    # One that the user names may be a link itself.
    run_lock.check_links(*((out,) if out else (folders[0], folders[0] / "report")))
    found = _with_random(reading.read(folders), trust)
    out = out or folders[0] / "report"
    settings = scores.settings(found)
    matrices = {setting: scores.matrices(found, setting) for setting in settings}
    judged = _Judged(found, matrices)
    problems = found.problems + rates.problems(found)
    problems += verdicts.limits(found, matrices["tuned"], judged.told["tuned"])
    problems += [text for setting in settings for text in scores.left_out(found, setting, matrices[setting])]
    drawn = {picture.name: picture for picture in pictures.all_of(found, matrices, judged.boards, judged.timing)}
    costs = None
    if timing and found.reported:
        costs, untimed = cost.measure(found, trust)
        problems += untimed
    sections = _sections(found, judged, drawn, costs)
    document = page.page(
        found.title,
        words.summary(found, judged.told.get("tuned", {}), judged.in_time()),
        problems,
        sections,
        reproduce.commands(found, folders),
        words.origin(found, time.strftime("%Y-%m-%d")),
    )
    with run_lock.held(out):
        for name, content in figures.files(list(drawn.values())).items():
            write_atomic(out / "figures" / name, content)
        for section in sections:
            if isinstance(section, Table):
                write_atomic(out / "tables" / f"{section.name}.csv", formats.to_csv(section).encode())
                write_atomic(out / "tables" / f"{section.name}.tex", formats.to_latex(section).encode())
        write_atomic(out / PAGE, document.encode())
    return out / PAGE


class _Judged:
    """What is computed from score matrices, once: leaderboards, verdicts, and both at equal time."""

    def __init__(self, found: Evidence, matrices: dict[str, dict[str, Scores]]):
        self.boards = {name: scores.leaderboard(found, mine) for name, mine in matrices.items() if mine}
        self.told = {setting: verdicts.verdicts(found, mine) for setting, mine in matrices.items()}
        self.timing = equal_time.of(found)
        self._evidence = found
        timed = equal_time.at_equal_time(found, matrices["tuned"], self.timing) if self.timing else {}
        self.timed: dict[str, Interval] = {
            name: scores.interval(mine.final, aggregate_iqm) for name, mine in timed.items()
        }
        self._told_in_time = verdicts.verdicts(found, timed)

    def in_time(self) -> list[str]:
        """Sentences on times, and on where verdicts at equal time are others."""
        if self.timing is None:
            return []
        slower = equal_time.slower(self._evidence, self.timing)
        said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in slower.items())
        changed = equal_time.difference(self.timing, self.told["tuned"], self._told_in_time)
        return [
            f"{self.timing.kind.capitalize()} of training, as a multiple of the quickest: {said}."
            + (f" {changed}" if changed else "")
        ]


def _sections(
    found: Evidence, judged: _Judged, drawn: dict[str, figures.Picture], costs: Table | None
) -> list[Table | figures.Picture]:
    """Tables and figures in their order."""

    def these(*names: str) -> list[figures.Picture]:
        return [drawn[name] for name in names if name in drawn]

    boards = [
        tables.leaderboard(
            found,
            rows,
            setting if found.tunes else "",
            judged.told[setting],
            judged.timed if setting == "tuned" else {},
        )
        for setting, rows in judged.boards.items()
    ]
    sections: list[Table | figures.Picture] = [*these("scores"), *boards]
    sections += these("improvement", "curves", "curves_time", "evaluations")
    if found.reported:
        sections += [tables.returns(found, setting) for setting in scores.settings(found)]
        sections += these("efficiency", "profiles", "sensitivity")
        if (windows := tables.sensitivity(found)).rows:
            sections.append(windows)
        if costs is not None:
            sections.append(costs)
        if (broken := tables.failures(found)).rows:
            sections.append(broken)
        sections.append(tables.settings(found))
    return sections


def _with_random(found: Evidence, trust: bool | Container[str]) -> Evidence:
    """Random policies are played where several environments need a zero and there is none."""
    if found.plan is not None or not scores.normalised(found) or found.yardstick is None:
        return found
    returns, problems = dict(found.random), list(found.problems)
    for environment in found.environments:
        cell = found.chosen(environment, found.yardstick, "tuned")
        if cell is None or environment in returns:
            continue
        if names.is_own_code(cell.config.env) and not results.is_trusted(cell.config, trust):
            continue
        try:
            returns[environment] = random_policy.play(cell.config).tolist()
        # Whatever an environment raises that is of another version, or somebody's own.
        except Exception as error:
            problems.append(f"No random policy can be played on {environment} here, so that it has no scores: {error}.")
    return found._replace(random=returns, problems=problems)
