"""How JAX is set up for this machine. Must run before jax is imported, so nothing here imports it."""

import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path

from envs.cores import num_cores

# On a CPU, one single-threaded device per core runs our programs faster than one device with a thread pool:
# the work splits by seeds or by inner problems, so the devices never wait for each other within a step.
# `benchmarks/metatrain_speed.py` measures the effect.
_SINGLE_THREAD_FLAG = "--xla_cpu_multi_thread_eigen=false"
_SCHEDULER_FLAG = "--xla_cpu_enable_concurrency_optimized_scheduler"
_COUNT_FLAG = "--xla_force_host_platform_device_count"


def devices_for(seeds: int, available: int | None = None, cores: int | None = None) -> int:
    """As many of the available devices as divide the seeds evenly.

    available: None: as many as it takes to keep every core busy, though no more than twice the cores. Three seeds on
      two cores thus get three devices (1.9 times the rate of one: PPO on Pong).
    cores: default: those of this process.
    """
    if available is None:
        cores = cores or num_cores()
        enough = [n for n in range(cores, 2 * cores + 1) if seeds % n == 0]
        if enough:
            return enough[0]
        available = cores
    return max(n for n in range(1, available + 1) if seeds % n == 0)


def cache_folder() -> Path:
    """Where compiled programs are kept, one folder per kind of processor: they hold machine code for it.

    Raises:
      RuntimeError: for a user without a home folder, as in a container.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        features = "\n".join(sorted({line for line in text.splitlines() if line.startswith(("flags", "Features"))}))
    except OSError:
        features = platform.processor()
    kind = hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]
    return root / "rlopt" / f"xla-{kind}"


def configure(num_devices: int | None = None, *, concurrent: bool = False, exactly: bool = False) -> None:
    """Sets up XLA: one host device per core (or `num_devices`), CPU settings, a cache of compiled programs.

    What the user has set in XLA_FLAGS, NPROC or JAX_COMPILATION_CACHE_DIR stays as it is
    (JAX_ENABLE_COMPILATION_CACHE=false turns the cache off). Accelerators are not affected.

    Args:
      num_devices: no more than are used (`devices_for`): on two cores a second, idle device costs a quarter more
        processor time (PPO on CartPole, one seed).
      concurrent: let XLA reorder a program's operations to run some at the same time. With several devices that makes
        meta-training 1.2 times faster; training agents, and anything on one device, is slower with it.
      exactly: num_devices counts, whatever number XLA_FLAGS has.

    Warns:
      RuntimeWarning: if jax has been imported already: what it reads on import is as it was.
    """
    if "jax" in sys.modules:
        warnings.warn(
            "jax has been imported already, so that some settings of runtime.configure come too late; call it first, "
            "or start anew",
            RuntimeWarning,
            stacklevel=2,
        )
    present = os.environ.get("XLA_FLAGS", "")
    if exactly:
        present = " ".join(flag for flag in present.split() if flag.split("=")[0] != _COUNT_FLAG)
    count = num_devices or num_cores()
    scheduler = str(concurrent and count > 1).lower()
    wanted = [_SINGLE_THREAD_FLAG, f"{_SCHEDULER_FLAG}={scheduler}", f"{_COUNT_FLAG}={count}"]
    missing = [flag for flag in wanted if flag.split("=")[0] not in present]
    os.environ["XLA_FLAGS"] = " ".join([present, *missing]).strip()
    # One worker for what little is left to the pool: more only preempt the devices' own threads.
    os.environ.setdefault("NPROC", "1")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        _keep_programs()


def _keep_programs() -> None:
    """A cache for compiled programs, where there is a place for it."""
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to")
    except (OSError, RuntimeError) as error:
        where = "JAX_COMPILATION_CACHE_DIR=FOLDER names a place for them"
        print(f"rlopt: compiled programs are not kept ({error}); {where}", file=sys.stderr)
    else:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
