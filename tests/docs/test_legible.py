"""What makes the site legible where it is narrow."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def legible(monkeypatch):
    """`import legible` as mkdocs does it."""
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    monkeypatch.syspath_prepend(ROOT / "docs" / "site")
    import legible

    return legible


def test_intervals_are_not_broken_and_tests_may_be(legible):
    text = "<p>[1, 2] <code>rlopt --lr 1</code></p><td>0.5 [-1, 2.5]</td><td>3 to 4</td>"
    assert legible.legible(text) == (
        "<p>[1, 2] <code>rlopt --lr 1</code></p>"
        '<td>0.5 <span class="whole">[-1, 2.5]</span></td><td><span class="whole">3 to 4</span></td>'
    )
    assert legible.legible("<code>tests/a.py::test_b</code>") == (
        '<code class="test">tests/a.py::<wbr>test_<wbr>b</code>'
    )


def test_a_picture_leads_to_its_full_size(legible):
    images = ROOT / "docs" / "images"
    wide = legible.picture("<img>", "search.png", images)
    assert wide == '<p class="picture wide"><a href="search.png"><img></a></p>'
    assert legible.picture("<img>", "presets_sac.png", images).startswith('<p class="picture"><a')
