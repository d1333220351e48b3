"""The time of transactions: one for all processes of a house, whatever somebody does to a machine's clock meanwhile."""

import fcntl
import os
import time
from pathlib import Path

from server.store.engine import StoreUnavailable

MICROSECOND = 1000  # nanoseconds


def _since_boot() -> int:
    """Return microseconds since the machine was started, which nobody can set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // MICROSECOND


class HouseClock:
    """The clock of the processes on one machine that have the file at `path` open.

    The first of them notes how far the machine's clock is from the time since its start, and all others keep to that
    until the last is gone. So time goes on evenly, in all processes alike, when the machine's clock is set.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(self._file, fcntl.LOCK_SH)
            else:
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, b"%d" % (time.time_ns() // MICROSECOND - _since_boot()), 0)
                fcntl.flock(self._file, fcntl.LOCK_SH)
            self._offset = int(os.pread(self._file, 32, 0))
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"cannot keep the time in {path}: {error}") from error

    def now(self) -> int:
        """Return microseconds since 1970 in UTC."""
        return _since_boot() + self._offset

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


class DatabaseClock:
    """The clock of a database server, as it is known between looks at it: true to the duration of a quick one."""

    def __init__(self) -> None:
        self._offset: int | None = None

    def now(self) -> int:
        """Return microseconds since 1970 in UTC."""
        return _since_boot() + (self._offset or 0)

    def begin_look(self) -> int:
        """Return what `end_look` needs."""
        return _since_boot()

    def end_look(self, began: int, told: int) -> None:
        """Set the clock by what the server told in answer to a look that began then.

        Nobody knows when in between it looked. So the clock is moved only as far as it must have been wrong: an answer
        that was long under way moves nothing.
        """
        least, most = told - _since_boot(), told - began
        self._offset = (least + most) // 2 if self._offset is None else min(max(self._offset, least), most)
