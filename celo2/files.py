"""Writing files so that a reader never sees half of one, and reading files that may be anybody's."""

import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

JSON_LIMIT = 16 << 20
# Ours are nested 4 deep.
DEPTH = 50
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")


def write_atomic(path: str | os.PathLike[str], data: bytes | list[Any], *, make_folder: bool = True) -> None:
    """Writes data beside its place, flushes it to the disk and renames it; on failure the old file stays.

    data: whole, or in pieces, bytes or memoryviews of them.
    make_folder: with all above it. False: OSError if there is none, as one that was just moved away.
    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def leftovers(folder: Path) -> list[Path]:
    """What `write_atomic` left in a folder when it was killed; nobody needs it."""
    return [path for path in folder.glob(".*.tmp") if _TEMPORARY.fullmatch(path.name)]


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Adds a line to a file in one write.

    Raises:
      OSError: if there is no room for it, and then nothing of it stays; or if the file is a symbolic link.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        before, data = os.fstat(handle).st_size, line.encode()
        try:
            while data:
                data = data[os.write(handle, data) :]
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of a regular file.

    Raises:
      ValueError: for a folder, a device or a pipe: reading one may never end.
      FileNotFoundError: if there is nothing.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{os.fspath(path)} is not a regular file")
    return found.st_size


def read_limited(path: str | os.PathLike[str], limit: int) -> bytes:
    """The contents of a regular file of at most `limit` bytes.

    Raises:
      ValueError: for a larger file, before it is read, or for what is no file.
      FileNotFoundError: if there is nothing.
    """
    if (size := size_of(path)) > limit:
        raise ValueError(f"{os.fspath(path)} has {size:,} bytes; at most {limit:,} are read")
    with open(path, "rb") as file:
        return file.read(limit)


def read_json(path: str | os.PathLike[str], limit: int = JSON_LIMIT) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
      ValueError: naming the file, if it is damaged, too large, or holds anything else.
      FileNotFoundError: if there is nothing.
    """
    data = read_limited(path, limit)
    try:
        found = parse_json(data)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{os.fspath(path)} must hold a JSON object, got {type(found).__name__}")
    return found


def parse_json(data: bytes | str) -> Any:
    """What a text of JSON says.

    Raises:
      ValueError: if it is none, or nested more than `DEPTH` deep, which whatever looks at it might not survive.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({error})") from error
    brackets = ("[", "{") if isinstance(data, str) else (b"[", b"{")
    if sum(map(data.count, brackets)) > DEPTH and _is_deep(found):  # type: ignore[arg-type]
        raise ValueError(f"not readable as JSON (nested more than {DEPTH} deep)")
    return found


def _is_deep(found: Any) -> bool:
    """Whether lists and objects lie more than `DEPTH` deep in each other."""
    level = [found]
    for _ in range(DEPTH + 1):
        level = [
            part
            for node in level
            if isinstance(node, dict | list)
            for part in (node.values() if isinstance(node, dict) else node)
        ]
    return bool(level)
