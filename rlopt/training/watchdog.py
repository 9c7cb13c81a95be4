"""Says so when a program stands still, as XLA's CPU runtime can: all its threads asleep, waiting for each other."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rlopt.storage.streams import Steady

PATIENCE = 60.0
# Share of one core below which a process counts as asleep.
ASLEEP = 0.01


def _complain(message: str) -> None:
    print(message, file=Steady(sys.stderr), flush=True)


@contextlib.contextmanager
def watch(
    what: str, *, enabled: bool = True, patience: float = PATIENCE, report: Callable[[str], None] = _complain
) -> Iterator[None]:
    """Reports, again after every `patience` seconds, that the process has used no processor time while inside.

    Only where the processor does the work: waiting for an accelerator looks the same. It does not stop anything, since
    a laptop that was asleep looks the same, too.

    Args:
      what: named in the message.
      enabled: False: do nothing.
      patience: seconds between looks.
      report: takes the message; default: prints it to stderr.
    """
    done = threading.Event()

    def look() -> None:
        asleep, used = 0.0, time.process_time()
        while not done.wait(patience):
            now = time.process_time()
            asleep = asleep + patience if now - used < ASLEEP * patience else 0.0
            used = now
            if asleep:
                report(
                    f"rlopt: {what} has made no progress for {asleep:.0f} s: the process uses no processor time. If it "
                    "stays so, XLA's CPU runtime has locked up: stop it and try another number of worker threads, "
                    f"NPROC={8 if os.environ.get('NPROC') == '1' else 1} in the environment (now: "
                    f"{os.environ.get('NPROC', 'not set')}), or fewer seeds"
                )

    if not enabled:
        yield
        return
    thread = threading.Thread(target=look, name="rlopt-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
