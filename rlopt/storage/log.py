"""Lines of a log that are not lost to a full disk."""

from collections.abc import Callable
from typing import Any


class Log:
    """Lines that could not be written are tried again, in order, before the next ones."""

    def __init__(self, append: Callable[..., None]):
        """append: writes one line, given what `put` was given; whole or not at all, else OSError."""
        self._append = append
        self._waiting: list[tuple[Any, ...]] = []

    def put(self, *line: Any) -> None:
        """Takes a line, to be written by the next `write`."""
        self._waiting.append(line)

    def write(self, append: Callable[..., None] | None = None) -> None:
        """Writes what waits; append: in place of the usual one.

        Raises:
          OSError: if the disk has no room; what has not been written waits on.
        """
        while self._waiting:
            (append or self._append)(*self._waiting[0])
            self._waiting.pop(0)
