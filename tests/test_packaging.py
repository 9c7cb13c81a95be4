"""What is installed, and what works where only a part of it is."""

import ast
import functools
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from envs.suite_ids import SUITES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agents", "celo2", "envs", "metatrain", "rlopt")
NEEDED_BY_CELO2 = {"jax", "flax", "msgpack", "optax", "numpy"}  # msgpack: flax needs it

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
USE = """
import celo2, jax, jax.numpy as jnp, optax
params = {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}
for tx in (celo2.celo2(1e-3), celo2.celo2_base(1e-3, **celo2.RL), celo2.celo(10), celo2.celo_adam(10)):
    update = optax.with_extra_args_support(tx).update
    traced = jax.make_jaxpr(update)(params, tx.init(params), params, value=1.0)
jax.jit(update)(params, tx.init(params), params, value=1.0)  # the last one; compiling needs no package of its own
print(sorted(celo2.packaged_weights()))
"""


@functools.cache
def installed():
    return metadata.packages_distributions()


def modules_of(distribution):
    """The names under which a distribution is imported."""
    found = {name for name, owners in installed().items() if distribution in owners}
    return found or {distribution}


def dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [requirement.partition(">")[0].strip() for requirement in project["dependencies"]]


def run_without(distributions, code):
    blocked = {module for distribution in distributions for module in modules_of(distribution)} - {"google"}
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=sorted(blocked)) + code], capture_output=True, text=True, cwd=ROOT
    )


def test_the_rules_need_nothing_but_jax_flax_and_optax():
    # SciPy and rich come with JAX and flax.
    others = set(dependencies()) - NEEDED_BY_CELO2 - {"scipy", "rich"}
    assert {"gymnax", "envpool", "tyro", "wandb", "chex"} <= others
    done = run_without(others, USE)
    assert done.returncode == 0, done.stderr
    assert "celo2_base" in done.stdout


def test_a_command_names_the_package_that_it_lacks():
    code = "sys.argv = ['rlopt', 'optimizers']\nfrom rlopt.__main__ import entry\nentry()"
    done = run_without(["tyro"], code)
    assert done.returncode == 1
    assert done.stderr.startswith("rlopt: the Python package 'tyro' is not installed, which this command needs; ")


def imported(package):
    for path in (ROOT / package).rglob("*.py"):
        if path == ROOT / "metatrain" / "data" / "build.py":  # has an extra of its own
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            yield from (name.split(".")[0] for name in names)


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    used = {name for package in PACKAGES for name in imported(package)}
    used -= {*sys.stdlib_module_names, *PACKAGES}
    declared = {module: name for name in dependencies() for module in modules_of(name)}
    # The extras "slurm", "optuna" and "parquet"; rlopt.to_dataframe, where it is installed; suites of environments.
    extras = {"submitit", "optuna", "pyarrow", "pandas", *(suite.package for suite in SUITES.values())}
    assert used - declared.keys() <= extras
    assert set(dependencies()) - {declared.get(name) for name in used} == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """This checkout as a wheel, built in a copy."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if name.split("/")[0] in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE") and (ROOT / name).is_file():
            place = source / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(source)]
    subprocess.run(command, check=True)
    return next(target.glob("rlopt-*.whl"))


@pytest.mark.slow
def test_a_wheel_has_weights_data_and_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    for weights in ("celo2", "celo2_base", "celo", "celo_adam", "celo_v1", "celo2_v1", "celo2_base_v1"):
        assert {f"celo2/weights/{weights}.theta", f"celo2/weights/{weights}.json"} <= names
    assert {"metatrain/data/NOTICE.md", "rlopt/report/page.css", "rlopt/report/page.js"} <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


@pytest.mark.slow
def test_the_wheel_alone_with_jax_flax_and_optax(wheel, tmp_path):
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    for what in (["jax", "flax", "optax"], ["--no-deps", str(wheel)]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *what], check=True)
    done = subprocess.run([python, "-c", USE], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command = [python.with_name("rlopt"), "optimizers"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "the Python package 'tyro' is not installed" in done.stderr
