"""Refuses a built site whose pages load something from elsewhere: fonts, scripts, styles, pictures.

python docs/site/check.py build/site
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

# Of the elements that load what they name, the attributes that name it. Links that a reader may follow are none.
LOADING = {
    **dict.fromkeys(
        ("script", "img", "iframe", "source", "video", "audio", "embed", "track", "input"), ("src", "srcset")
    ),
    "link": ("href",),
    "object": ("data",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
_NOT_LOADED = {"canonical", "prev", "next", "alternate", "author", "license"}
_ELSEWHERE = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
_IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.found += _IN_CSS.findall(given.get("style", ""))
        if tag == "link" and set(given.get("rel", "").split()) <= _NOT_LOADED:
            return
        for name in LOADING.get(tag, ()):
            self.found += [part for part in given.get(name, "").split(",") if _ELSEWHERE.match(part)]


def foreign(text: str, suffix: str) -> list[str]:
    """What a page (".html") or a style sheet (".css") loads from elsewhere."""
    found = _IN_CSS.findall(text)
    if suffix == ".html":
        page = _Page()
        page.feed(text)
        found = page.found + [
            url for style in re.findall(r"<style.*?</style>", text, re.DOTALL) for url in _IN_CSS.findall(style)
        ]
    return found


def main(folder: Path) -> int:
    """Prints what is loaded from elsewhere; the exit status: 1 if there is any, or no page at all."""
    pages = [path for path in sorted(folder.rglob("*")) if path.suffix in (".html", ".css")]
    found = [(path, url) for path in pages for url in foreign(path.read_text(encoding="utf-8"), path.suffix)]
    for path, url in found:
        print(f"{path.relative_to(folder)} loads {url}", file=sys.stderr)
    if not pages:
        print(f"no page in {folder}", file=sys.stderr)
    return int(bool(found) or not pages)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
