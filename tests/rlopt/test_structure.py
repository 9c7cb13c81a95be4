"""The shape of the house: which package may import which, and what is not to be found anywhere."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "celo2": set(),
    "envs": set(),
    "agents": {"envs"},
    "metatrain": {"celo2", "agents"},
    "rlopt": {"celo2", "envs", "agents", "metatrain"},
}


@functools.cache
def nodes(path):
    """Of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports(path):
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    others = set(MAY_IMPORT) - {package} - MAY_IMPORT[package]
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            assert name.split(".")[0] not in others, f"{path} imports {name}"


def test_rules_use_nothing_of_the_baselines():
    """What both need lies in celo2 itself; only what reads, checks or makes theta of any kind knows the baselines'."""
    know = {"__init__.py", "checkpoint.py", "checks.py", "initial.py"}
    for path in (ROOT / "celo2").glob("*.py"):
        assert path.name in know or not any(name.startswith("celo2.baselines") for name in imports(path)), path


def test_what_computes_knows_no_command_line():
    for package in set(MAY_IMPORT) - {"rlopt"}:
        for path in (ROOT / package).rglob("*.py"):
            assert "tyro" not in {name.split(".")[0] for name in imports(path)}, path


ROOMS = {
    "storage": set(),
    "optimizers": set(),
    "training": {"optimizers", "storage"},
    "tracking": {"training"},
    "runs": {"optimizers", "storage", "tracking", "training"},
    "play": {"runs", "storage", "tracking", "training"},
    "benchmark": {"optimizers", "play", "runs", "storage", "tracking", "training"},
    "report": {"benchmark", "optimizers", "runs", "storage", "training"},
    "metatraining": {"storage"},
    "metareturns": {"optimizers", "storage", "training"},
    "metatest": {"benchmark", "optimizers", "runs", "storage", "training"},
    "commands": {
        *(
            "benchmark",
            "metareturns",
            "metatest",
            "metatraining",
            "optimizers",
            "play",
            "report",
            "runs",
            "tracking",
            "training",
        ),
    },
}
# What every room may use, and what none may: they are above them.
SHARED = {"drawing", "escape", "significance", "statistics", "typed"}


def rooms_used(path):
    """Second part of every name of rlopt that a file imports, at its head or within a function."""
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module == "rlopt":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rlopt."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_rlopt_use_those_below_them(room):
    files = list((ROOT / "rlopt" / room).rglob("*.py"))
    assert files
    for path in files:
        assert set(rooms_used(path)) <= {room} | ROOMS[room] | SHARED, path


def test_rooms_have_an_order():
    """No circles: every room uses only those that are listed before it."""
    for i, (room, below) in enumerate(ROOMS.items()):
        assert below <= set(list(ROOMS)[:i]), room


def test_rlopt_has_rooms_and_few_modules_beside_them():
    here = [path.name for path in (ROOT / "rlopt").iterdir() if path.name != "__pycache__"]
    assert {name for name in here if (ROOT / "rlopt" / name).is_dir()} == set(ROOMS)
    assert len([name for name in here if name.endswith(".py")]) <= 12


def test_nothing_unpickles_or_evaluates():
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            assert not any(name.split(".")[0] in ("pickle", "cloudpickle", "dill") for name in imports(path)), path
            calls = [n for n in nodes(path) if isinstance(n, ast.Call)]
            for call in calls:
                assert not (isinstance(call.func, ast.Name) and call.func.id in ("eval", "exec")), path
                for keyword in call.keywords:
                    allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                    assert keyword.arg != "allow_pickle" or allowed, path


def test_json_in_files_is_read_in_one_place():
    """`celo2.files.read_json` waits for no pipe and reads no device; what a process of ours says is another matter."""
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            for call in (n for n in nodes(path) if isinstance(n, ast.Call)):
                name = ast.unparse(call.func)
                assert name != "json.load", path
                read = any("read_text" in ast.unparse(word) or "read_bytes" in ast.unparse(word) for word in call.args)
                assert name != "json.loads" or not read, path


# What they read is of the system, of this package, or weights that the command line named or that were just written.
READ_ALL = ("training/runtime.py", "training/machine.py", "report/page.py", "runs/launcher.py")
READ_ALL += ("metatraining/card.py", "metatraining/checkpoint.py")


def test_files_in_run_folders_are_read_up_to_a_limit():
    """`celo2.files.read_limited` waits for no pipe, and reads no device; `Path.read_bytes` does both."""
    for path in (ROOT / "rlopt").rglob("*.py"):
        calls = [n.func for n in nodes(path) if isinstance(n, ast.Call)]
        names = {call.attr for call in calls if isinstance(call, ast.Attribute)}
        allowed = path.relative_to(ROOT / "rlopt").as_posix() in READ_ALL
        assert allowed or not names & {"read_text", "read_bytes"}, path


def test_distrax_is_imported_in_one_place():
    users = {p.name for k in MAY_IMPORT for p in (ROOT / k).rglob("*.py") if "distrax" in set(imports(p))}
    assert users == {"actions.py"}


FILE_LINES, FUNCTION_LINES = 350, 60


def test_files_and_functions_are_short():
    """Docstrings of functions are not counted: what a public one takes may need many lines."""
    for package in (*MAY_IMPORT, "benchmarks", "examples"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= FILE_LINES, path
            for node in nodes(path):
                if isinstance(node, ast.FunctionDef):
                    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                    head = node.body[0].lineno - node.lineno
                    assert head + node.end_lineno - first.lineno + 1 <= FUNCTION_LINES, f"{path}: {node.name}"
