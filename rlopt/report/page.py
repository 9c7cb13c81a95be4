"""The page of a report: one HTML file that needs nothing else."""

import base64
from collections.abc import Sequence
from html import escape
from importlib import resources

from rlopt.report import figures, formats
from rlopt.report.figures import Picture
from rlopt.report.formats import Table

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
<script>
{script}</script>
</body>
</html>
"""


def page(
    title: str,
    summary: Sequence[str],
    problems: Sequence[str],
    sections: Sequence[Table | Picture],
    command: str,
    origin: Sequence[str],
) -> str:
    """The whole document.

    Args:
      title: of the page. summary: paragraphs. problems: sentences that a reader must know before the numbers.
      sections: tables and figures, in order.
      command: what makes the runs and this page. origin: sentences on when, with what and on what it was made.
    """
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(text)}</p>" for text in summary)]
    if problems:
        items = "".join(f"<li>{escape(text)}</li>" for text in problems)
        parts.append(f'<div class="problems" id="problems"><strong>Read with care</strong><ul>{items}</ul></div>')
    links = "".join(f'<a href="#{_anchor(section)}">{escape(section.title)}</a>' for section in sections)
    parts.append(f"<nav>{links}</nav>")
    parts += [_table(section) if isinstance(section, Table) else _figure(section) for section in sections]
    parts += [
        '<h2 id="command">How to make this again</h2>',
        f"<pre>{escape(command)}</pre>",
        *(f'<p class="note">{escape(text)}</p>' for text in origin),
    ]
    files = resources.files("rlopt.report")
    style, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return _PAGE.format(title=escape(title), style=style, body="\n".join(parts), script=script)


def _anchor(section: Table | Picture) -> str:
    """What a section is linked by: a figure and a table may have one name."""
    return escape(section.name if isinstance(section, Table) else f"figure_{section.name}")


def _table(table: Table) -> str:
    csv, latex = (_data(kind, content(table).encode()) for kind, content in _DOWNLOADS.items())
    return (
        f'<section id="{_anchor(table)}"><h2>{escape(table.title)}</h2>\n<p class="note">{escape(table.note)}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"{formats.to_html(table)}</div>\n"
        f'<p class="note"><a download="{table.name}.csv" href="{csv}">CSV</a> '
        f'<a download="{table.name}.tex" href="{latex}">LaTeX</a></p></section>'
    )


def _figure(picture: Picture) -> str:
    light, dark = (_data("image/svg+xml", figures.render(picture, "svg", dark=dark)) for dark in (False, True))
    width, height = (round(100 * inches) for inches in picture.size)
    return (
        f'<section id="{_anchor(picture)}"><h2>{escape(picture.title)}</h2>\n<figure>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(picture.title)}"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(picture.alt)}" width="{width}" height="{height}"></picture></div>\n'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure></section>"
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


_DOWNLOADS = {"text/csv": formats.to_csv, "text/x-tex": formats.to_latex}
