"""The page in a real browser, in light and dark, on a phone and on desktops."""

import shutil

import pytest


def test_in_a_browser_it_loads_sorts_and_shows_its_figures(bench, kit):
    """In light and dark, on a desktop and a phone."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    kit.report(bench)
    quiet = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*quiet, "--disable-component-update", "--disable-quic"]
        )
        for width, scheme in ((1280, "light"), (390, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
            page = context.new_page()
            said, asked = [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto((bench / "report" / "report.html").as_uri())
            assert said == []
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            widths = page.eval_on_selector_all("img", "all => all.map(x => x.complete ? x.naturalWidth : 0)")
            assert len(widths) == 6
            assert min(widths) > 300
            used = page.eval_on_selector_all("picture", "all => all.map(x => x.querySelector('img').currentSrc)")
            dark = page.eval_on_selector_all("source", "all => all.map(x => x.srcset)")
            assert (used == dark) == (scheme == "dark")
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == {"light": "rgb(252, 252, 251)", "dark": "rgb(21, 24, 28)"}[scheme]

            def first_column(page=page):
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
        browser.close()
