"""Standard error that makes nobody wait: a thread of its own writes, and what it cannot get rid of is dropped."""

import functools
import os
import queue
import select
import sys
import threading

STANDARD_ERROR = 2
MOST_LINES = 10_000  # that wait; some megabytes at most


class Writer:
    """Writes lines to a file descriptor in the order in which they were said. None writes nowhere."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[str | threading.Event] = queue.Queue(MOST_LINES)
        self._lock = threading.Lock()
        self._dropped = 0
        # A daemon: at exit nobody waits for it, and it holds no lock of Python's while it writes.
        threading.Thread(target=self._run, name="standard error", daemon=True).start()

    def say(self, line: str) -> None:
        """Have a line written, or dropped and counted if too many wait. Returns at once."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            with self._lock:
                self._dropped += 1

    def flush(self, *, within: float) -> None:
        """Return when all that was said so far is written, or after so many seconds."""
        written = threading.Event()
        try:
            self._waiting.put(written, timeout=within)
        except queue.Full:
            return
        written.wait(within)

    def _run(self) -> None:
        while True:
            line = self._waiting.get()
            if isinstance(line, threading.Event):
                line.set()
            else:
                self._write(line)
            if self._dropped and self._waiting.empty():
                with self._lock:
                    dropped, self._dropped = self._dropped, 0
                self._write(f"taskhouse: {dropped} lines were not written: nobody read these here in time\n")

    def _write(self, line: str) -> None:
        left = line.encode(errors="replace")
        while left and self._descriptor is not None:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # Whoever gave it to us uses it without waiting.
                select.select([], [self._descriptor], [])
            except OSError:  # Nobody reads it any more, and nobody will.
                self._descriptor = None


@functools.cache
def _writer() -> Writer:
    return Writer(
        STANDARD_ERROR if sys.stderr else None
    )  # If it was closed from the start, this number is another file.


def say(line: str) -> None:
    """Write a line to standard error, as soon as it takes it."""
    _writer().say(line)


def flush(*, within: float) -> None:
    """Wait until all that was said so far is written, for so many seconds at most."""
    _writer().flush(within=within)
