"""The page in a real browser, in light and dark, on a phone and on desktops."""

import contextlib
import shutil

import pytest

QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-quic"),
)


@pytest.fixture
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=[*QUIET])
        yield started
        started.close()


@contextlib.contextmanager
def opened(browser, path, width, scheme="light"):
    """The page, without a network; nothing may be said on its console, and nothing asked for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [pytest.param(1280, "light", marks=pytest.mark.slow), (390, "dark")])
def test_it_loads_sorts_and_shows_its_figures(drawn_bench, browser, width, scheme):
    with opened(browser, drawn_bench / "report" / "report.html", width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        widths = page.eval_on_selector_all("img", "all => all.map(x => x.complete ? x.naturalWidth : 0)")
        assert len(widths) == 7
        assert min(widths) > 300
        assert all(len(text) > 60 for text in page.eval_on_selector_all("img", "all => all.map(x => x.alt)"))
        used = page.eval_on_selector_all("picture", "all => all.map(x => x.querySelector('img').currentSrc)")
        dark = page.eval_on_selector_all("source", "all => all.map(x => x.srcset)")
        assert (used == dark) == (scheme == "dark")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(252, 252, 251)", "dark": "rgb(21, 24, 28)"}[scheme]
        names = page.eval_on_selector_all("[id]", "all => all.map(x => x.id)")
        assert len(set(names)) == len(names)
        links = page.eval_on_selector_all("nav a", "all => all.map(x => x.getAttribute('href').slice(1))")
        assert set(links) <= set(names)

        def first_column():
            return page.locator("#leaderboard_tuned tbody td:first-child").all_inner_texts()

        press = page.locator("#leaderboard_tuned th button")
        assert first_column() == ["celo_adam", "adam", "sgd"]
        press.nth(1).click()  # the interquartile mean, highest first
        assert first_column() == ["celo_adam", "adam", "sgd"]
        press.nth(1).click()
        assert first_column() == ["sgd", "adam", "celo_adam"]
        press.nth(0).click()
        assert first_column() == ["sgd", "celo_adam", "adam"]
        # Adam cannot be better than itself: an empty cell is last in either order.
        press.nth(5).click()
        assert first_column() == ["celo_adam", "sgd", "adam"]
        press.nth(5).click()
        assert first_column() == ["sgd", "celo_adam", "adam"]


BOXES = "all => all.map(x => [x.scrollWidth > x.clientWidth, x.classList.contains('wide'), x.tabIndex])"


@pytest.mark.slow
def test_ten_optimizers_on_four_games_fit_into_1200_pixels_and_scroll_on_a_phone(tmp_path, write_run, kit, browser):
    path = kit.write_large_benchmark(tmp_path, write_run) / "report" / "report.html"
    kit.report(tmp_path)
    for width in (1200, 1920):
        with opened(browser, path, width) as page:
            boxes = page.eval_on_selector_all(".scroll", BOXES)
            assert len(boxes) >= 6
            assert [wide for wide, _, _ in boxes] == [False] * len(boxes)
            assert not any(marked for _, marked, _ in boxes)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate("[...document.querySelectorAll('pre')].every(x => x.scrollWidth <= x.clientWidth)")
            assert page.evaluate("document.body.clientWidth") >= min(width, 1500)
    with opened(browser, path, 390) as page:
        boxes = page.eval_on_selector_all(".scroll", BOXES)
        assert any(wide for wide, _, _ in boxes)
        # What scrolls says so, and can be reached and moved by keyboard.
        assert all(wide == marked and tab == 0 for wide, marked, tab in boxes)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        box = page.locator("#leaderboard_tuned .scroll")
        box.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('#leaderboard_tuned .scroll').scrollLeft > 0")
