"""One process per run folder: a lock that vanishes with its process, however that ends."""

import contextlib
import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from celo2.files import leftovers

NAME = ".rlopt.lock"
# What a file system without such locks answers (some network ones).
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# Folders within a run folder that runs write into.
_WRITTEN = ("checkpoints", "thetas", "plots", "films", "cells")


@contextlib.contextmanager
def held(folder: Path, *, enabled: bool = True) -> Iterator[None]:
    """Holds the folder, made if need be, for this process, and clears it of what killed ones left half-written.

    Nothing stays of the lock but, after a kill, a file that locks nothing.

    Args:
      folder: of the run.
      enabled: False: do nothing.

    Warns:
      RuntimeWarning: where the file system has no locks; the run goes on without.

    Raises:
      ValueError: if another process holds it, or if it holds symbolic links.
      OSError: if the folder cannot be written to.
    """
    if not enabled:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    check_links(folder)
    handle = _locked(folder)
    try:
        for place in (folder, *(folder / name for name in _WRITTEN)):
            for path in leftovers(place):
                path.unlink(missing_ok=True)
        yield
    finally:
        # While it is still held, so that nobody's new lock is taken away.
        with contextlib.suppress(OSError):
            (folder / NAME).unlink(missing_ok=True)
        os.close(handle)


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but, perhaps, what a run leaves that was killed before its first file."""
    return not {*folder.iterdir()} - {folder / NAME, *leftovers(folder)}


def check_links(folder: Path) -> None:
    """Refuses a run folder with symbolic links where a run writes: what is written through one lands elsewhere.

    The folder itself may be one, and so may what trackers keep in folders of their own.

    Raises:
      ValueError: naming the link.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            raise ValueError(f"{path} is a symbolic link, which would lead out of the run folder; remove it")
        if path.name in _WRITTEN and path.is_dir():
            check_links(path)


def _locked(folder: Path) -> int:
    path = folder / NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise ValueError(f"{folder} is in use by another process ({holder or 'unknown'})") from error
            if error.errno in _NO_LOCKS:
                return _unlocked(folder, error)
            raise
        # The one before may have removed the file between our opening and our locking it.
        if _still_there(handle, path):
            with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            return handle
        os.close(handle)


def _still_there(handle: int, path: Path) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino)


def _unlocked(folder: Path, error: OSError) -> int:
    warnings.warn(
        f"{folder} lies on a file system without locks ({error}); see to it that only one process uses it",
        RuntimeWarning,
        stacklevel=4,
    )
    return os.open(folder, os.O_RDONLY)
