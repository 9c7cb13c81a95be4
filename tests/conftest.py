"""One host device, or as many as RLOPT_TESTS_DEVICES says, before jax is imported; golden numbers if at hand."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from rlopt.training import runtime

ROOT = Path(__file__).resolve().parents[1]
# A folder with numbers made by the published code: a check beside tests/celo2/reference.py, for who has it.
GOLDEN = os.environ.get("RLOPT_GOLDEN")

# Nearly all the time of a test is compilation, so tests and their child processes compile three times as fast as users do,
# into slower code, and share what has been compiled already. RLOPT_TESTS_OPTIMISED=1 compiles as users do.
if os.environ.get("RLOPT_TESTS_OPTIMISED") != "1":
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# For child processes that set up JAX by themselves.
os.environ["CHILD_XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "")
DEVICES = int(os.environ.get("RLOPT_TESTS_DEVICES", "1"))
runtime.configure(num_devices=DEVICES)
# Tracing makes millions of objects that last: as often as by default, a fifth of the time would go to looking for cycles.
gc.set_threshold(500_000, 20, 20)


def pytest_runtest_setup(item):
    """On one device, what is said of several would hold of itself."""
    if item.get_closest_marker("mesh") and DEVICES < 8:
        pytest.fail("a test of several devices: run it with RLOPT_TESTS_DEVICES=8")


class Golden:
    """One file of golden numbers; names are "group|path"."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = dict(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """{path: array} of one group."""
        return {k.split("|", 1)[1]: v for k, v in self.arrays.items() if k.startswith(prefix + "|")}

    def theta(self) -> dict:
        """Celo2's theta in the published tree."""
        return {"ff_mod_stack": {"~": {k.rsplit("/", 1)[1]: v for k, v in self.group("theta").items()}}}


@pytest.fixture(scope="session")
def golden(golden_folder):
    """A function from a golden file's name to its content."""
    return lambda name: Golden(golden_folder / f"{name}.npz")


@pytest.fixture(scope="session")
def golden_folder():
    if GOLDEN is None:
        pytest.skip("RLOPT_GOLDEN names no folder with numbers of the published code")
    if not Path(GOLDEN).is_dir():
        pytest.fail(f"RLOPT_GOLDEN must be a folder, got {GOLDEN}")
    return Path(GOLDEN)


@pytest.fixture
def compiled_as_users_do():
    """For tests that run longer than they compile, and for what may depend on how a program is compiled."""
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1")
