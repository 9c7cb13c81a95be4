"""Stopping a long run on request: the run ends at a place from which it can be resumed."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Unfinished(Exception):
    """A run that was asked to stop before its end; the message says how to resume it."""


class BrokeOff(Unfinished):
    """A run that a fault has ended."""


@contextmanager
def stop_requested(*, enabled: bool = True) -> Iterator[list[int]]:
    """A list that is empty until SIGTERM, SIGINT, SIGHUP or SIGUSR2 arrives. A second SIGINT interrupts at once.

    SIGUSR2 is what SLURM is asked to announce the end of a job's time with. SIGHUP comes when a terminal is closed;
    under `nohup` it stays ignored.

    enabled: False: signals do what they always do.
    """
    received: list[int] = []
    if not enabled:
        yield received
        return

    def handle(number: int, frame: Any) -> None:
        del frame
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        if sys.__stderr__ is not None:  # else the number may be another file's
            with contextlib.suppress(OSError):  # nobody may be reading it any more
                os.write(2, b"\nstopping after this interval; the run can be resumed\n")

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    try:
        previous = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # not the main thread: signals stay with whoever owns them
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
