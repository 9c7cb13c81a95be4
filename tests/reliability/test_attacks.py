"""What attacks come to is what the table in docs/reliability.md says; `python tests/reliability/attacks` prints it anew."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import attacks
from attacks import base

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "reliability.md").read_text()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
# Each trains in a process of its own, and holds off what others here do too, in another way or for another command.
SLOW = (
    "closed",
    "hung_up_but_told_not_to_care",
    "terminated",
    "interrupted",
    "full_log",
    "dead_pipe",
    "atari_without_a_folder",
    "plot_as_a_module_beside_modules",
    "moved",
    "moved_sweep",
    "moved_metatraining",
    "last_checkpoint_alone",
    "training_without_home",
    "training_without_a_folder",
)


assert set(SLOW) <= {one.run.__name__ for one in attacks.load()}


def parameter(one):
    marks = [pytest.mark.slow] if one.run.__name__ in SLOW else []
    return pytest.param(one, marks=marks, id=f"{one.kind}-{one.run.__name__}")


@pytest.mark.parametrize("one", [parameter(one) for one in attacks.load()])
def test_an_attack_is_held_off(one, tmp_path):
    assert base.row(one, base.carried_out(one, tmp_path)) in DOCUMENT
