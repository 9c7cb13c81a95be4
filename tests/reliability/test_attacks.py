"""What attacks come to is what the table in docs/reliability.md says; `python tests/reliability/attacks` prints it anew."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import attacks
from attacks import base

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "reliability.md").read_text()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("one", attacks.load(), ids=lambda one: f"{one.kind}-{one.run.__name__}")
def test_an_attack_is_held_off(one, tmp_path):
    assert base.row(one, base.carried_out(one, tmp_path)) in DOCUMENT
