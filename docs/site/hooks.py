"""What `mkdocs build` asks for while it builds the site: pages made from other files, and links that fit.

Some pages have their text elsewhere: the README is the first page, the glossary is a section of CONTRIBUTING.md, the
command line is described by its parser. All Markdown is written for GitHub; what the site's dialect reads otherwise is
rewritten here.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

import command_line
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Pages of the site, and the files of the repository whose text they have.
ELSEWHERE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "examples.md": "examples/README.md",
}
_PAGES = {source: page for page, source in ELSEWHERE.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_ITEM = re.compile(r"([-*]|\d+\.) ")
_TABLES = re.compile(r"results/metatest-(\d+)/tables\.md")
_PRE = re.compile(r"(<pre\b.*?</pre>)", re.DOTALL)
_CODE = re.compile(r"<code>([^<]*)</code>")
_TEST = re.compile(r"tests/\S+\.py::\w+")
_FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_CELL = re.compile(r"<td>.*?</td>")
_NUMBER = r"-?\d[\d.,]*\d|-?\d"
_INTERVAL = re.compile(rf"\[(?:{_NUMBER}), (?:{_NUMBER})\]|(?:{_NUMBER}) to (?:{_NUMBER})")
_PICTURE = re.compile(r'<p>(<img [^>]*?src="([^"]+)"[^>]*>)</p>')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages whose text is elsewhere, and a place in the navigation for those that mkdocs.yml gives none."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in ELSEWHERE.items()}
    made["glossary.md"] = glossary(made["contributing.md"])
    made["command-line.md"] = command_line.page()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    nav = config.nav or []
    left = sorted({file.src_uri for file in files.documentation_pages()} - set(placed(nav)))
    config.nav = [*nav, {"More": left}] if left else nav
    return files


def placed(nav: Any) -> Iterator[str]:
    """The pages that a navigation, as mkdocs.yml has it, names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from placed(part)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links and lists of a page what the site's dialect understands; tables that a command wrote say where it is."""
    name = page.file.src_uri
    if found := _TABLES.fullmatch(name):
        about = f"[held-out tasks](../../metatest.md#{found[1]}-steps)"
        markdown = f"What these tables show, and the command that makes them: {about}.\n\n{markdown}"
    return indented(relinked(markdown, name, {file.src_uri for file in files}))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes a page legible where it is narrow; what is in blocks of code stays."""
    parts = _PRE.split(html)
    parts[::2] = [legible(part) for part in parts[::2]]
    home = ROOT / "docs" / PurePosixPath(page.file.src_uri).parent
    return _PICTURE.sub(lambda found: picture(found[1], found[2], home), "".join(parts))


def legible(html: str) -> str:
    """Flags and intervals that lines do not break, and tests on lines of their own."""

    def whole(found: re.Match[str]) -> str:
        return f'<span class="whole">{found[0]}</span>'

    def code(found: re.Match[str]) -> str:
        if _TEST.fullmatch(found[1]):
            return f'<code class="test">{found[1].replace("::", "::<wbr>").replace("_", "_<wbr>")}</code>'
        return f"<code>{_FLAG.sub(whole, found[1])}</code>"

    html = _CODE.sub(code, html)
    return _CELL.sub(lambda cell: _INTERVAL.sub(whole, cell[0]), html)


def picture(element: str, source: str, home: Path) -> str:
    """A picture that leads to its full size; one of a thousand pixels and more is kept wide enough to be read."""
    with (home / source).open("rb") as file:
        start = file.read(24)
    wide = start.startswith(b"\x89PNG") and int.from_bytes(start[16:20], "big") > 1000
    return f'<p class="picture{" wide" if wide else ""}"><a href="{source}">{element}</a></p>'


def glossary(contributing: str) -> str:
    """The section "Words" of CONTRIBUTING.md, as a page.

    Raises:
      ValueError: where there is no such section.
    """
    found = re.search(r"^## Words\n(.*?)(?=^## )", contributing, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("CONTRIBUTING.md has no section 'Words', which the glossary is made of")
    return f"# Words\n{found[1]}"


def relinked(markdown: str, page: str, known: set[str]) -> str:
    """Links from a page to files of the repository, as links within the site.

    A folder is no page: its name stands in place of a link to it.

    Args:
      markdown: text of the page.
      page: its path in the site.
      known: paths of all files of the site.
    """
    home = PurePosixPath(ELSEWHERE.get(page, f"docs/{page}")).parent

    def link(found: re.Match[str]) -> str:
        bang, text, target = found.groups()
        path, hash_mark, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return found[0]
        source = normpath(home / path)
        inside = _PAGES.get(source, source.removeprefix("docs/"))
        if inside in known:
            return f"{bang}[{text}]({relpath(inside, PurePosixPath(page).parent)}{hash_mark}{anchor})"
        if (ROOT / source).exists():
            return f"{text} (`{source}`)" if text.strip("`") != source else f"`{source}`"
        return found[0]  # the strict build refuses it

    return _LINK.sub(link, markdown)


def indented(markdown: str) -> str:
    """Lists whose items go on at a depth of four, where GitHub wants as much as their mark is wide.

    Python-Markdown ends an item at anything that is indented by less than four, and begins none right below a second
    paragraph of the one before.
    """
    made: list[str] = []
    width, fenced, paragraphs = 0, False, False
    for line in markdown.split("\n"):
        if line[:1].strip() and not fenced:
            item = _ITEM.match(line)
            if item and paragraphs and made[-1]:
                made.append("")
            width, paragraphs = len(item[0]) if item else 0, False
        if line.lstrip().startswith("```"):
            fenced = not fenced
        goes_on = width and line.startswith(" " * width)
        paragraphs = paragraphs or bool(goes_on and not made[-1])
        made.append(" " * (4 - width) + line if goes_on else line)
    return "\n".join(made)
