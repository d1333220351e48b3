"""How times of the store, microseconds since 1970 in UTC, stand in messages."""

from typing import overload

from google.protobuf.timestamp_pb2 import Timestamp


@overload
def timestamp(micros: int) -> Timestamp: ...
@overload
def timestamp(micros: int | None) -> Timestamp | None: ...
def timestamp(micros: int | None) -> Timestamp | None:
    """Return the time as a message; None, which leaves a field unset, for None."""
    return None if micros is None else Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
