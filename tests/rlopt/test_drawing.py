"""Pictures are what their names say."""

import pytest
from matplotlib.figure import Figure

from rlopt import drawing
from rlopt.runs import experiment


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.SVG", b"<?xml")])
def test_the_name_decides_the_format(tmp_path, name, begins):
    drawing.save(Figure(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["a", "a.jpeg", "png"])
def test_other_names_are_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(ValueError, match=r"must be called .png, .pdf or .svg, got "):
        experiment.draw([tmp_path / "none"], tmp_path / name)
