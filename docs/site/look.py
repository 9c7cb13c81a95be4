"""Opens pages of the built site in Chromium at the widths of a phone and a desktop, and keeps pictures of them.

python docs/site/look.py build/site build/pictures                  # every page: a minute or two
python docs/site/look.py build/site build/pictures celo2 returns    # those whose paths hold one of these words

Says which pages scroll sideways, which tables, code and pictures reach beyond the page without a scroller of their own,
which pictures do not load, and what the browser complains of; the exit status is 1 if there is any of these.
"""

import argparse
import functools
import http.server
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

WIDTHS = (390, 1280)
# What is wider than the page, unless something around it scrolls; and pictures that did not load.
_MEASURE = """() => {
  const width = document.documentElement.clientWidth, found = [];
  if (document.documentElement.scrollWidth > width) found.push("the page scrolls sideways");
  for (const part of document.querySelectorAll("table, pre, img, svg")) {
    let held = part.parentElement;
    while (held && !["auto", "scroll"].includes(getComputedStyle(held).overflowX)) held = held.parentElement;
    const text = (part.innerText || part.alt || "").slice(0, 40);
    if (part.getBoundingClientRect().right > width + 1 && !held) found.push(part.localName + " is too wide: " + text);
  }
  for (const image of document.images) if (!image.naturalWidth) found.push("does not load: " + image.src);
  return found;
}"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: the pages are what is looked at."""


def serve(folder: Path) -> str:
    """Address of a server of a folder, which lives as long as this process."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def look(browser: Any, address: str, name: str, width: int, out: Path) -> list[str]:
    """What is wrong with a page at a width; its picture is WIDTH_PAGE.png in `out`."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{address}/{name}", wait_until="networkidle")
    found = [*page.evaluate(_MEASURE), *said]
    page.screenshot(path=out / f"{width}_{name.replace('/', '_').removesuffix('.html')}.png", full_page=True)
    page.close()
    return found


def main() -> int:
    """Looks at the pages that the command line names; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("words", nargs="*", help="of the pages to look at; default: all pages")
    args = parser.parse_args()
    paths = [path.relative_to(args.site).as_posix() for path in sorted(args.site.rglob("*.html"))]
    names = [name for name in paths if not args.words or any(word in name for word in args.words)]
    if not names:
        parser.error(f"no page of {args.site} is meant by {args.words or 'all'}; `make docs` builds the site")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    args.out.mkdir(parents=True, exist_ok=True)
    address, wrong = serve(args.site), 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in names:
            for width in WIDTHS:
                for problem in look(browser, address, name, width, args.out):
                    print(f"{name} at {width}: {problem}")
                    wrong += 1
    print(f"{len(names)} pages at {' and '.join(map(str, WIDTHS))} pixels: {wrong} problems; pictures in {args.out}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
