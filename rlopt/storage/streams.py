"""Standard streams that nobody may be reading: a log on a full disk, a pipe whose reader is gone, none at all."""

import contextlib
import io
import os
import select
import sys
import warnings
from typing import Any, TextIO

from rlopt import escape


class Steady:
    """A text stream whose faults are nobody's: what cannot be written is lost, and nothing is raised.

    patient: False: what would have to wait for a reader is lost as well, as it may be of a progress bar.
    """

    def __init__(self, stream: TextIO | None, *, patient: bool = True):
        """stream: None: there is none, as where it was closed when Python started."""
        self._stream, self._patient = stream, patient

    def write(self, text: str) -> int:
        """Writes what can be written."""
        if self._stream is not None and (self._patient or self._is_ready()):
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._write_plain(text)
            except (OSError, ValueError):  # ValueError: it has been closed
                pass
        return len(text)

    def flush(self) -> None:
        """Flushes what can be flushed."""
        if self._stream is not None and (self._patient or self._is_ready()):
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether a person sees it."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """Its number; io.UnsupportedOperation if it has none."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """How letters are written."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write_plain(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))  # type: ignore[union-attr]

    def _is_ready(self) -> bool:
        try:
            return bool(select.select([], [self.fileno()], [], 0)[1])
        except (OSError, ValueError, TypeError):
            return True  # no file of the system's, as in tests


def steady_standard_streams() -> None:
    """Makes a process's own output steady, for a command that must not end because of it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file to be opened would take its number, and get what others print.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    shown = warnings.formatwarning
    # What is warned of may name files of a stranger's.
    warnings.formatwarning = lambda *words, **more: escape.terminal(shown(*words, **more))
    sys.stdout = Steady(sys.stdout)
    sys.stderr = Steady(sys.stderr)
