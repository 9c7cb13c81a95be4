"""What makes pages of the site legible where they are narrow, and pages that a command wrote say where it is."""

import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parents[1]
_TABLES = re.compile(r"results/metatest-(\d+)/tables\.md")
_PRE = re.compile(r"(<pre\b.*?</pre>)", re.DOTALL)
_CODE = re.compile(r"<code>([^<]*)</code>")
_TEST = re.compile(r"tests/\S+\.py::\w+")
_CELL = re.compile(r"<td>.*?</td>")
_NUMBER = r"-?\d[\d.,]*\d|-?\d"
_INTERVAL = re.compile(rf"\[(?:{_NUMBER}), (?:{_NUMBER})\]|(?:{_NUMBER}) to (?:{_NUMBER})")
_PICTURE = re.compile(r'<p>(<img [^>]*?src="([^"]+)"[^>]*>)</p>')


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads from tables that a command wrote to the page that explains them."""
    found = _TABLES.fullmatch(page.file.src_uri)
    if not found:
        return markdown
    about = f"[held-out tasks](../../metatest.md#{found[1]}-steps)"
    return f"What these tables show, and the command that makes them: {about}.\n\n{markdown}"


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Marks what is not to be broken, and pictures; what is in blocks of code stays."""
    parts = _PRE.split(html)
    parts[::2] = [legible(part) for part in parts[::2]]
    home = DOCS / PurePosixPath(page.file.src_uri).parent
    return _PICTURE.sub(lambda found: picture(found[1], found[2], home), "".join(parts))


def legible(html: str) -> str:
    """Intervals that lines do not break, and tests on lines of their own; flags are marked in hooks.py."""

    def whole(found: re.Match[str]) -> str:
        return f'<span class="whole">{found[0]}</span>'

    def code(found: re.Match[str]) -> str:
        if _TEST.fullmatch(found[1]):
            return f'<code class="test">{found[1].replace("::", "::<wbr>").replace("_", "_<wbr>")}</code>'
        return found[0]

    html = _CODE.sub(code, html)
    return _CELL.sub(lambda cell: _INTERVAL.sub(whole, cell[0]), html)


def picture(element: str, source: str, home: Path) -> str:
    """A picture that leads to its full size; one of a thousand pixels and more is kept wide enough to be read."""
    with (home / source).open("rb") as file:
        start = file.read(24)
    wide = start.startswith(b"\x89PNG") and int.from_bytes(start[16:20], "big") > 1000
    return f'<p class="picture{" wide" if wide else ""}"><a href="{source}">{element}</a></p>'
