"""Threads in which actions run. Daemons, so that an action that never ends cannot keep the program from ending."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """As many threads as were ever needed at once."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def start(self, job: Callable[[], None]) -> None:
        """Run the job now. It must not raise."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._jobs.put(job)
                return
        threading.Thread(target=self._work, args=(job,), daemon=True, name="action").start()

    def _work(self, job: Callable[[], None]) -> None:
        while True:
            job()
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
