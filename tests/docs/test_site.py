"""What makes the site: links and lists rewritten, the command line described, nothing loaded from elsewhere."""

import contextlib
import functools
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs" / "site"


@pytest.fixture
def site_modules(monkeypatch):
    """`import check`, `import command_line` and `import hooks` as mkdocs does it."""
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    monkeypatch.syspath_prepend(SITE)


@pytest.fixture
def hooks(site_modules):
    import hooks

    return hooks


KNOWN = {"index.md", "ppo.md", "contributing.md", "results/README.md", "images/a.png"}


@pytest.mark.parametrize(
    ("page", "text", "wanted"),
    [
        ("index.md", "[a](docs/ppo.md)", "[a](ppo.md)"),
        ("index.md", "![a](docs/images/a.png)", "![a](images/a.png)"),
        ("index.md", "[docs/ppo.md](docs/ppo.md#loss)", "[PPO](ppo.md#loss)"),
        ("results/README.md", "[a](../ppo.md#loss)", "[a](../ppo.md#loss)"),
        ("ppo.md", "[a](../README.md)", "[a](index.md)"),
        ("ppo.md", "[a](../CONTRIBUTING.md#words)", "[a](contributing.md#words)"),
        ("ppo.md", "[a](https://x.org/docs) [b](#here)", "[a](https://x.org/docs) [b](#here)"),
        ("results/README.md", "[runs](odd/runs)", "runs (`docs/results/odd/runs`)"),
        ("index.md", "[metatrain/data/NOTICE.md](metatrain/data/NOTICE.md)", "`metatrain/data/NOTICE.md`"),
        ("ppo.md", "[a](nowhere.md)", "[a](nowhere.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(hooks, page, text, wanted):
    assert hooks.relinked(text, page, KNOWN) == wanted


def test_what_goes_on_within_a_list_is_indented_by_four_and_nothing_else(hooks):
    text = "- a\n  b\n\n  | c |\n\nd\n\n    code\n- g\n```\n- x\n  y\n```\n1. e\n   f\n\n       code"
    assert (
        hooks.indented(text)
        == "- a\n    b\n\n    | c |\n\nd\n\n    code\n- g\n```\n- x\n  y\n```\n1. e\n    f\n\n        code"
    )


def test_an_item_after_a_paragraph_of_the_one_before_begins_after_an_empty_line(hooks):
    assert hooks.indented("1. a\n\n   b\n2. c\n3. d\n") == "1. a\n\n    b\n\n2. c\n3. d\n"
    assert hooks.indented("- a\n  b\n- c\n") == "- a\n    b\n- c\n"


def test_cells_say_how_long_they_are_and_where_their_code_may_be_broken(hooks):
    assert hooks.cell("td", "", "1.5 &plusmn; 2") == '<td class="short">1.5 &plusmn; 2</td>'
    assert hooks.cell("td", ' style="a"', "<b>" + "a " * 31 + "</b>").startswith('<td style="a" class="long"><b>a')
    wanted = '<td><code>a_b=<wbr>some_<wbr>name</code> x_name <a href="p_page.html"><code>c</code></a></td>'
    assert hooks.cell("td", "", wanted.replace("<wbr>", "")[4:-5]) == wanted


def test_no_line_ends_within_a_flag_of_a_sentence_or_a_cell(hooks):
    wanted = 'a <code>x-y <span class="flag">--out</span> 1</code> <pre><code>--a</code></pre><th><code>-b</code></th>'
    wanted += (
        '<p><code>rlopt <span class="flag">--lr</span> 1</code></p><td><code><span class="flag">--c</span></code></td>'
    )
    told = wanted.replace('<span class="flag">', "").replace("</span>", "")
    assert hooks.flagged(told) == wanted


def test_names_of_pages_in_texts_are_links_outside_of_code_and_links(hooks):
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

    files = Files([File(name, "docs", "site", use_directory_urls=False) for name in ("api/a.md", "ppo.md")])
    here = Page("a", files.src_uris["api/a.md"], MkDocsConfig())
    told = "see docs/ppo.md and <code>docs/no.md</code> <a>docs/ppo.md</a> <pre>docs/ppo.md</pre>"
    wanted = told.replace("see docs/ppo.md", 'see <a href="../ppo.html">docs/ppo.md</a>')
    assert hooks.on_page_content(told, here, MkDocsConfig(), files) == wanted


def test_pages_are_found_in_a_navigation_at_any_depth(hooks):
    assert list(hooks.placed(["a.md", {"B": "b.md"}, {"C": ["c.md", {"D": ["d.md"]}]}])) == [
        "a.md",
        "b.md",
        "c.md",
        "d.md",
    ]


def test_the_glossary_is_the_section_of_contributing(hooks):
    text = hooks.glossary((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert text.startswith("# Words\n")
    assert "| theta |" in text
    assert "## " not in text
    with pytest.raises(ValueError, match="Words"):
        hooks.glossary("# Contributing\n")


def test_the_command_line_has_every_command_and_flag(site_modules):
    import command_line

    from rlopt import cli
    from rlopt.commands import flags
    from rlopt.training import presets

    page = command_line.page()
    for name, command in cli._COMMANDS.items():
        for agent in presets.CONFIGS.values():
            for flag in flags.of(command, agent) or ():
                assert f"<code>{flag}" in page, (name, flag)
    assert "**<code>--gae-lambda FLOAT</code>** (default <code>0.95</code>): Decay" in page
    assert "(default <code>digits mnist fashion " in page  # its text has a "(default: " of its own
    assert page.count("## rlopt ") >= len(cli._COMMANDS)
    assert "\n    rlopt optimizers\n" in page  # takes no flags, and says so


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script src="https://cdn.org/a.js"></script>', ["https://cdn.org/a.js"]),
        ('<link rel="stylesheet" href="//cdn.org/a.css">', ["//cdn.org/a.css"]),
        ('<link rel="preconnect" href="https://fonts.org">', ["https://fonts.org"]),
        ('<p style="background: url(https://cdn.org/a.png)">', ["https://cdn.org/a.png"]),
        ("<style>@import 'https://cdn.org/a.css'</style>", ["https://cdn.org/a.css"]),
        ('<img src="a.png" srcset="https://cdn.org/b.png 2x">', ["https://cdn.org/b.png 2x"]),
        ('<a href="https://x.org"><img src="data:,"></a><link rel="canonical" href="https://x.org">', []),
        ("<code>url(https://x.org)</code><script src=a.js></script>", []),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(site_modules, text, found):
    import check

    assert check.foreign(text, ".html") == found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The whole site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    subprocess.run([sys.executable, str(SITE / "check.py"), str(folder)], check=True)
    return folder


@pytest.mark.slow
def test_a_broken_link_a_missing_reference_and_a_docstring_of_two_arguments_in_a_line_are_errors(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not name.startswith(("docs/results/", "tests/", "benchmarks/", "metatrain/data/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "docs" / "celo.md").open("a", encoding="utf-8") as page:
        page.write("\n[broken](nowhere.md)\n\n[missing][celo2.nothing]\n")
    module = tmp_path / "celo2" / "size.py"
    module.write_text(
        module.read_text(encoding="utf-8").replace("      b1: decay of the", "      b1, b2: decay of the")
    )
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "'nowhere.md'" in done.stderr
    assert "celo2.nothing" in done.stderr
    assert "'b1, b2'" in done.stderr


@contextlib.contextmanager
def served(folder):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


# `make docs` builds and checks the site; here it is built anew for a browser.
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
def test_every_page_fits_its_screen_and_asks_for_nothing_else(built, width):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with served(built) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        asked, wide = [], []
        page.on("request", lambda request: asked.append(request.url))
        pages = [path.relative_to(built).as_posix() for path in sorted(built.rglob("*.html"))]
        for name in pages:
            page.goto(f"{address}/{name}")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(name)
        browser.close()
    assert len(pages) > 40
    assert wide == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
