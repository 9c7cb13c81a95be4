"""What `mkdocs build` asks for while it builds the site: pages made from other files, links and tables that fit.

Some pages have their text elsewhere: the README is the first page, the glossary is a section of CONTRIBUTING.md, the
command line is described by its parser. All Markdown is written for GitHub; what the site's dialect reads otherwise is
rewritten here.
"""

import html
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
_TAG = re.compile(r"<[^>]*>")
# Code, links and tags, which stay as they are; or the name of a page in a text.
_NAMED = re.compile(r"<pre\b.*?</pre>|<a\b.*?</a>|<[^>]*>|docs/([\w/-]+)\.md", re.DOTALL)
_CELL = re.compile(r"<(t[dh])\b([^>]*)>(.*?)</\1>", re.DOTALL)
_CODE = re.compile(r"<code>.*?</code>", re.DOTALL)
_MARK = re.compile(r"<[^>]*>|&\w+;|([_./=:,])(?=[A-Za-z]\w{3})")  # tags; or after what a long word may be broken
_INLINE = re.compile(r"<(pre|th|script)\b.*?</\1>|(<code>.*?</code>)", re.DOTALL)
_FLAG = re.compile(r"<[^>]*>|(?<![\w-])(--?[A-Za-z][\w.-]*)")
_SHORT, _LONG = 11, 60  # characters of a cell that stays in one line, and of one that is a sentence


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
    """Makes links and lists of a page what the site's dialect understands."""
    name = page.file.src_uri
    return indented(relinked(markdown, name, {file.src_uri for file in files}))


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links of the pages that docstrings and texts name as `docs/NAME.md`."""

    def link(found: re.Match[str]) -> str:
        file = found[1] and files.get_file_from_path(f"{found[1]}.md")
        return f'<a href="{file.url_relative_to(page.file)}">{found[0]}</a>' if file else found[0]

    return _NAMED.sub(link, content)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Marks cells of tables, and flags: after the search's index was made, which would take the marks for spaces."""
    return _CELL.sub(lambda found: cell(*found.groups()), flagged(output))


def flagged(page: str) -> str:
    """Flags in the code of sentences and cells, so that no line ends within one."""

    def marked(found: re.Match[str]) -> str:
        return f'<span class="flag">{found[1]}</span>' if found[1] else found[0]

    return _INLINE.sub(lambda found: _FLAG.sub(marked, found[0]) if found[2] else found[0], page)


def cell(tag: str, attributes: str, inside: str) -> str:
    """A cell of a table with a class for its length, and with places where its code may be broken."""
    length = len(html.unescape(_TAG.sub("", inside)).strip())
    kind = "short" if length <= _SHORT else "long" if length > _LONG else ""
    inside = _CODE.sub(lambda code: _MARK.sub(lambda mark: mark[0] + "<wbr>" * bool(mark[1]), code[0]), inside)
    return f"<{tag}{attributes}" + (f' class="{kind}"' if kind else "") + f">{inside}</{tag}>"


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

    A folder is no page: its name stands in place of a link to it. A page that is called by its file's name gets its
    title.

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
            if not bang and text.endswith(".md") and (ROOT / source).is_file():
                text = title((ROOT / source).read_text(encoding="utf-8"))
            return f"{bang}[{text}]({relpath(inside, PurePosixPath(page).parent)}{hash_mark}{anchor})"
        if (ROOT / source).exists():
            return f"{text} (`{source}`)" if text.strip("`") != source else f"`{source}`"
        return found[0]  # the strict build refuses it

    return _LINK.sub(link, markdown)


def title(markdown: str) -> str:
    """The first heading of a page."""
    return next(line.removeprefix("# ") for line in markdown.split("\n") if line.startswith("# "))


def indented(markdown: str) -> str:
    """Lists whose items go on at a depth of four, where GitHub wants as much as their mark is wide.

    Python-Markdown ends an item at anything that is indented by less than four, and takes an item that follows a
    paragraph of the one before for part of that, unless a line between them is empty.
    """
    made: list[str] = []
    width, fenced, parted = 0, False, False
    for line in markdown.split("\n"):
        if line[:1].strip() and not fenced:
            item = _ITEM.match(line)
            if item and width and parted and made[-1].strip():
                made.append("")
            width, parted = len(item[0]) if item else 0, False
        if line.lstrip().startswith("```"):
            fenced = not fenced
        goes_on = width and line.startswith(" " * width)
        parted = parted or not line.strip()
        made.append(" " * (4 - width) + line if goes_on else line)
    return "\n".join(made)
