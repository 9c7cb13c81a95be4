"""The examples in docstrings are right."""

import doctest
import importlib
from pathlib import Path

import pytest

from helpers import by_default

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agents", "celo2", "envs", "metatrain", "rlopt")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]


# The README has the same example as rlopt.api (tests/rlopt/test_readme.py).
@pytest.mark.parametrize("name", by_default(MODULES, *(name for name in MODULES if name != "rlopt.api")))
def test_examples_of_a_module_are_right(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_there_are_examples():
    assert len(MODULES) >= 8
