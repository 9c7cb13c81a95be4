"""The pages of the API name everything that is public, and public docstrings say one argument per line."""

import inspect
import re
from pathlib import Path

import pytest

import agents
import celo2
import envs
import rlopt

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"agents": agents, "celo2": celo2, "envs": envs, "rlopt": rlopt}
PUBLIC = [(package, name) for package, module in PACKAGES.items() for name in module.__all__]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_page_names_everything_that_a_package_exports(package):
    page = (ROOT / "docs" / "api" / f"{package}.md").read_text(encoding="utf-8")
    named = re.findall(rf"^::: {package}\.(\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(PACKAGES[package].__all__)


def described(text, section):
    """The names that a section of a docstring describes, a line each."""
    found = re.search(rf"^{section}:\n((?:  .*\n|\n)+)", f"{text}\n", re.MULTILINE)
    return None if found is None else re.findall(r"^  \*{0,2}([^:\s][^:]*):", found[1], re.MULTILINE)


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_every_argument_has_a_line_of_its_own(package, name):
    thing = getattr(PACKAGES[package], name)
    if not inspect.isfunction(thing):
        return
    names = described(inspect.getdoc(thing), "Args")
    if names is not None:
        assert names == list(inspect.signature(thing).parameters)


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_attributes_are_fields_a_line_each(package, name):
    thing = getattr(PACKAGES[package], name)
    if not inspect.isclass(thing):
        return
    names = described(inspect.getdoc(thing), "Attributes")
    if names is not None:
        assert names == list(thing.__annotations__)


def test_a_line_for_two_arguments_would_be_seen():
    assert described("A.\n\nArgs:\n  a, b: both.\n  c: one.\n    More: of it.\n\nReturns:\n  d: x.\n", "Args") == [
        "a, b",
        "c",
    ]
