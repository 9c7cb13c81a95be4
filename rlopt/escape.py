"""Text that may be anybody's, fit for where it is shown: one function per format (of HTML, `html.escape`)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}
# What makes a formula of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def terminal(text: str) -> str:
    """For a terminal, which it cannot steer; lines stay lines."""
    return "".join(x if x.isprintable() or x == "\n" else x.encode("unicode_escape").decode() for x in text)


def rich(text: str, style: str = "") -> "Text":
    """For what the package rich prints, without being read as its markup."""
    from rich.text import Text

    return Text(terminal(text), style=style)


def figure(text: str) -> str:
    """For a label of matplotlib, without being read as mathematics."""
    return terminal(text).replace("\\$", "$").replace("$", r"\$")


def latex(text: str) -> str:
    """For a cell of a LaTeX table, or a comment: one line without commands."""
    return "".join(_LATEX.get(x, x) for x in terminal(" ".join(text.split())))


def spreadsheet(text: str) -> str:
    """For a cell of a CSV file: text, whatever it begins with."""
    return f"'{text}" if text.startswith(_FORMULA) else text
