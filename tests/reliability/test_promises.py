"""The promises of docs/reliability.md name tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def names_in(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_promise_is_held_by_tests_that_exist():
    text = (ROOT / "docs" / "reliability.md").read_text()
    promises = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    assert len(promises) > 15
    for promise in promises:
        named = re.findall(r"`(tests/\S+\.py)::(\w+)`", promise)
        assert named, promise
        for path, name in named:
            assert name in names_in(path), f"{path}::{name}"


def test_every_test_of_reliability_holds_a_promise():
    text = (ROOT / "docs" / "reliability.md").read_text()
    for path in (ROOT / "tests" / "reliability").glob("test_*.py"):
        if path.name == Path(__file__).name:
            continue
        relative = path.relative_to(ROOT).as_posix()
        missing = {name for name in names_in(relative) if f"{relative}::{name}`" not in text}
        assert missing <= ALSO, missing


# They hold what the promises' own tests build on.
ALSO = {
    "test_weights_that_float32_cannot_hold_are_refused",
    "test_the_settings_of_every_kind_have_the_types_that_they_declare",
    "test_every_environment_of_gymnax_keeps_to_its_shapes",
    "test_a_stream_that_is_none_takes_everything",
    "test_letters_that_a_stream_has_none_for_are_written_in_others",
}
