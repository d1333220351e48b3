"""Threads in which actions run. Daemons, so that an action that never ends cannot keep the program from ending."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """As many threads as were ever needed at once, and never more than `most`."""

    def __init__(self, most: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._room = most
        self._idle = 0
        self._waiting = 0  # jobs that no thread has taken yet

    def start(self, job: Callable[[], None]) -> None:
        """Run the job: now, or when a thread is free. It must not raise."""
        with self._lock:
            self._waiting += 1
            needed = self._waiting > self._idle and self._room > 0
            if needed:
                self._room -= 1
                self._idle += 1
        self._jobs.put(job)
        if needed:
            threading.Thread(target=self._work, daemon=True, name="action").start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            job()
            with self._lock:
                self._idle += 1
