"""What this machine computes with: its processor, this package's version. Imports no jax."""

import platform
from importlib import metadata
from pathlib import Path


def own_version() -> str:
    """The version of this package; "unknown" in a checkout that is not installed."""
    try:
        return metadata.version("rlopt")
    except metadata.PackageNotFoundError:
        return "unknown"


def processor() -> str:
    """The processor's name as the system has it, as far as it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.processor() or platform.machine() or "an unknown processor"
