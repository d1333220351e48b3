"""How times of the store, microseconds since 1970 in UTC, stand in messages."""

from typing import overload

from google.protobuf.timestamp_pb2 import Timestamp

from server.core.errors import invalid

NANOS = 1_000_000_000
_EARLIEST, _LATEST = -62_135_596_800, 253_402_300_799  # seconds: the years 1 to 9999


@overload
def timestamp(micros: int) -> Timestamp: ...
@overload
def timestamp(micros: int | None) -> Timestamp | None: ...
def timestamp(micros: int | None) -> Timestamp | None:
    """Return the time as a message; None, which leaves a field unset, for None."""
    return None if micros is None else Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def micros_of(time: Timestamp, field: str) -> int:
    """Return microseconds since 1970. Raises InvalidFields naming the field."""
    if not _EARLIEST <= time.seconds <= _LATEST or not 0 <= time.nanos < NANOS:
        raise invalid(field, "must be in the years 1 to 9999")
    return time.seconds * 1_000_000 + time.nanos // 1000
