"""Ids of stats: 24 hexadecimal digits that grow with time."""

import random
import threading


class Ids:
    """Makes ids: seconds, microseconds and a count, so that they grow, and 28 random bits against other processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Each store has a thread that writes.
        self._time = self._count = 0

    def next(self, now: int) -> str:
        """Return an id of this time, in microseconds since 1970, or later: greater than all of this process before."""
        with self._lock:
            self._count = self._count + 1 if now <= self._time else 0
            self._time = max(self._time + (self._count >> 16), now)
            self._count &= 0xFFFF
            seconds, micros = divmod(self._time, 1_000_000)
            return f"{seconds:08x}{micros:05x}{self._count:04x}{_random.getrandbits(28):07x}"


def moment_after(stat_id: str) -> int:
    """Return a time whose ids are greater than this one."""
    return int(stat_id[:8], 16) * 1_000_000 + int(stat_id[8:13], 16) + 1


ids = Ids()
_random = random.Random()  # noqa: S311 - against chance, not against guessing: who may read a stat is checked.
