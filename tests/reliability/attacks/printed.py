"""Names that are more than names where they are printed: in terminals, figures, LaTeX and tables."""

import csv
import io
from pathlib import Path

from attacks.base import Done, attack, change, command, finished, settings


def _plot(folder: Path, **told: str) -> Done:
    """What `plot` prints of a run of whose summary a stranger has changed entries."""
    run = finished(folder / "run")
    change(run / "summary.json", **told)
    done = command("plot", run, "--out", folder / "a.png")
    assert done.status == 0, done.err
    assert (folder / "a.png").exists()
    return done


@attack("an optimizer called `[/x]`", "`rlopt plot`: a traceback")
def a_closing_tag(folder: Path) -> str:
    assert "[/x]" in _plot(folder, optimizer="[/x]").out
    return "printed as it is"


@attack("an environment called `[link=https://a.b]Pong[/link]`", "printed as a link")
def a_link(folder: Path) -> str:
    out = "".join(_plot(folder, env_id="[link=https://a.b]P[/link]").out.split())
    assert "[link=https://a.b]P[/link]" in out
    return "printed as it is"


@attack("an optimizer with escape sequences of terminals in its name", "they reached the terminal")
def escapes(folder: Path) -> str:
    done = _plot(folder, optimizer="a\x1b[2J\x07b")
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert r"a\x1b[2J\x07b" in "".join(done.out.split())
    return r"printed as `\x1b`"


@attack("the same in the message of an error", "they reached the terminal")
def escapes_in_errors(folder: Path) -> str:
    run = finished(folder / "run")
    change(run / "config.json", agent="a\x1b[2J")
    (folder / "a\x1b[2J").mkdir()
    for done in (command("resume", run), command("plot", folder / "a\x1b[2J", "--out", folder / "a.png")):
        assert done.status == 2, done.err
        assert "\x1b" not in done.err
    return r"printed as `\x1b`"


@attack("an optimizer called `$\\frac$`", "`rlopt plot`: a traceback from within Matplotlib")
def mathematics(folder: Path) -> str:
    _plot(folder, optimizer="$\\frac$", env_id="$x^$ and $")
    return "drawn as it is"


@attack("a tuning run of it, and `rlopt sweep`'s picture", "a traceback from within Matplotlib")
def mathematics_in_sweeps(folder: Path) -> str:
    from rlopt.runs import plots, results

    runs = []
    for rate in (1e-3, 1e-2):
        run = finished(folder / f"{rate:g}", settings(learning_rate=rate))
        change(run / "summary.json", optimizer="$\\frac$")
        runs.append(results.read_run(run))
    plots.sensitivity(runs, folder / "a.png")
    return "drawn as it is"


def _table(name: str) -> tuple[str, str]:
    from rlopt.report import formats

    made = formats.Table("cost", f"On {name}", f"for {name}", ("optimizer", name), [(name, 1.0)])
    return formats.to_latex(made), formats.to_csv(made)


@attack("an environment whose name has a line break, in `cost.tex`", "out of the comment, `\\\\input{...}` and all")
def a_line_break(folder: Path) -> str:
    text, _ = _table("a\n\\input{/etc/passwd}\n\\immediate\\write18{touch X}")
    for line in text.splitlines():
        assert line.startswith(("%", "\\begin", "\\end", "\\toprule", "\\midrule", "\\bottomrule")) or line.endswith(
            r" \\"
        )
    for command_ in ("\\input", "\\immediate", "\\write"):
        assert not any(command_ in line for line in text.splitlines() if not line.startswith("%"))
    return "stays within its line, where no command is obeyed"


@attack("an optimizer called `<script>...`, in `report.html`", "as now")
def a_script(folder: Path) -> str:
    from rlopt.report import formats, page

    name = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    made = formats.Table("cost", name, name, (name,), [(name,)])
    html = page.page(name, [name], [name], [made], f"rlopt train {name}", name)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    return "text"


@attack('an optimizer called `=HYPERLINK("...")`, in a CSV file', "a formula")
def a_formula(folder: Path) -> str:
    for name in ('=HYPERLINK("http://a.b")', "+1", "-1+1", "@SUM(A1)", "\t=1"):
        for row in csv.reader(io.StringIO(_table(name)[1])):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row)
    return "text, after an apostrophe"
