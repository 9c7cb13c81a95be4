"""Work on a thread of its own behind a bounded queue, so that nothing which is slow or hangs there holds up a run."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

# Rows that wait to be taken: several populations' worth.
CAPACITY = 1000


class Worker:
    """A thread that is handed items. None of its methods but `join` waits for it, and no exception leaves it."""

    def __init__(self, name: str, work: Callable[[Iterator[Any]], None], capacity: int = CAPACITY):
        """Args:
        name: of the thread.
        work: called once on the thread, when the first item is put, with an iterator over the items as they come.
        capacity: items that may wait.
        """
        self.error: BaseException | None = None
        """What ended the work before its end."""
        self._name, self._work, self._capacity = name, work, capacity
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()
        self._ending = self._abandoned = False
        self._thread: threading.Thread | None = None

    def put(self, item: Any) -> bool:
        """Whether the item was taken: not if the queue is full, or the work has failed or been ended."""
        with self._changed:
            if self.error is not None or self._ending or len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            self._changed.notify()
        if self._thread is None:
            # A daemon: a process that ends does not wait for it.
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads
                self.error = error
                return False
            self._thread = thread
        return True

    def end(self) -> None:
        """Says that nothing more will come."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Whether the work is done, waiting at most so many seconds; what is not begun by then is not done at all."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        with self._changed:
            self._abandoned = self._thread.is_alive()
        return not self._abandoned

    def _run(self) -> None:
        try:
            self._work(self._coming())
        except BaseException as error:  # also what is meant to end a program: here it would only end the thread
            with self._changed:
                self.error = error
                self._items.clear()

    def _coming(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ending)
                if not self._items or self._abandoned:
                    return
                item = self._items.popleft()
            yield item
