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
from rlopt.storage.stopping import BrokeOff

NAME = ".rlopt.lock"
# What a file system without such locks answers (some network ones).
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# Folders within a run folder, or a report's, that are written into without a lock of their own.
_WRITTEN = ("checkpoints", "thetas", "plots", "cells", "figures", "tables", "kept")
# What trackers and launchers keep is theirs, links of their own among it.
_THEIRS = ("wandb", "tensorboard", "jobs")


class Gone(BrokeOff):
    """The folder of a run was moved or removed while it ran; place: where it is now, None if nowhere."""

    def __init__(self, message: str, place: Path | None = None):
        super().__init__(message)
        self.place = place


class Held:
    """A folder that this process holds, wherever it is moved to."""

    def __init__(self, folder: Path, handle: int | None):
        """handle: of the folder; None: nothing is held."""
        self.folder, self._handle = folder, handle

    @property
    def place(self) -> Path | None:
        """Where the folder lies now; None: it was removed, or nobody can say."""
        if self._handle is None or _same(self._handle, self.folder):
            return self.folder
        try:
            found = Path(os.readlink(f"/proc/self/fd/{self._handle}"))
        except OSError:
            return None
        return found if _same(self._handle, found) else None

    def check(self) -> None:
        """Refuses to write any more after the folder has been moved or removed: that would make half a run anew.

        Raises:
          Gone: saying where it is now.
        """
        place = self.place
        if place == self.folder:
            return
        if place is None:
            raise Gone(f"{self.folder} was removed while the run wrote into it; what it held is gone")
        raise Gone(f"{self.folder} was moved to {place} while the run wrote into it", place)


@contextlib.contextmanager
def held(folder: Path, *, enabled: bool = True) -> Iterator[Held]:
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
        yield Held(folder, None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    check_links(folder)
    with contextlib.ExitStack() as handles:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        handles.callback(os.close, inside)
        handles.callback(os.close, _locked(folder))
        # While it is still held, so that nobody's new lock is taken away; wherever the folder has been moved to.
        handles.callback(_unlink, inside)
        for place in (folder, *(folder / name for name in _WRITTEN)):
            for path in leftovers(place):
                path.unlink(missing_ok=True)
        yield Held(folder, inside)


def _unlink(inside: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(NAME, dir_fd=inside)


def _same(handle: int, path: Path) -> bool:
    """Whether a path leads to what is open."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    mine = os.fstat(handle)
    return (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino)


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but, perhaps, what a run leaves that was killed before its first file."""
    return not {*folder.iterdir()} - {folder / NAME, *leftovers(folder)}


def check_links(folder: Path, place: Path | None = None) -> None:
    """Refuses symbolic links where a command writes: what is written through one lands elsewhere.

    The folder itself, which the user named, may be one, and so may what trackers and launchers keep in folders of their
    own; these folders may not.

    Args:
      folder: as it was named; there may be none.
      place: below the folder; then only what leads there is looked at, and what is below it.

    Raises:
      ValueError: naming the link.
    """
    if place is not None:
        between = [path for path in (place, *place.parents) if folder in path.parents]
        for path in reversed(between):
            _check_link(path)
        folder = place
    for path in _below(folder, files=True):
        _check_link(path)


def _check_link(path: Path) -> None:
    if path.is_symlink():
        raise ValueError(f"{path} is a symbolic link, which would lead out of the run folder; remove it")


def _below(folder: Path, *, files: bool = False) -> Iterator[Path]:
    """Folders below a folder, in order, and on demand everything else; not through links, nor what is others'."""
    for place, names, others in os.walk(folder):
        names[:] = sorted(names)
        for name in (*names, *sorted(others)) if files else names:
            yield Path(place, name)
        names[:] = [name for name in names if name not in _THEIRS]


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
        if _same(handle, path):
            with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            return handle
        os.close(handle)


def _unlocked(folder: Path, error: OSError) -> int:
    warnings.warn(
        f"{folder} lies on a file system without locks ({error}); see to it that only one process uses it",
        RuntimeWarning,
        stacklevel=4,
    )
    return os.open(folder, os.O_RDONLY)
