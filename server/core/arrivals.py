"""Arrivals: how the results of tasks that are no pages come in, part by part."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from server.core.deliveries import CHUNK_BYTES, INLINE_BYTES, JSON, DeliveryState
from server.core.errors import Refusal, ResultTooLarge, invalid
from server.store import chunks
from server.store import deliveries as store
from server.store.deliveries import Kept, Settled
from server.store.engine import Tx

MAX_RESULT_BYTES = 2 * 1024 * 1024 * 1024  # unless a setting says otherwise


class Bytes(NamedTuple):
    """The end of a result, after its chunks, and what it is."""

    data: bytes
    chunks: int
    content_type: str
    filename: str | None


class Chunk(NamedTuple):
    """A part of a result that is published afterwards: CHUNK_BYTES of it."""

    number: int  # from 1
    data: bytes


class Arrivals:
    """The deliveries of the tasks that are reported on, as they are after each report."""

    def __init__(self, now: int, kept: Sequence[Kept], max_bytes: int) -> None:
        self._now = now
        self._max_bytes = max_bytes
        self._kept = {one.task_id: one for one in kept}
        self._settled: dict[str, Settled] = {}
        self._chunks: list[chunks.Chunk] = []
        self._left: list[tuple[str, int]] = []
        self._spoilt: list[str] = []

    def has_result(self, task_id: str) -> bool:
        """Say whether the task's result is published."""
        return self._kept[task_id].state not in (DeliveryState.AWAITED, DeliveryState.ARRIVING)

    def add(self, task_id: str, attempt: int, chunk: Chunk) -> Refusal | None:
        """Keep a part of the attempt's result, unless it is here; return why that cannot be."""
        if self.has_result(task_id):  # An earlier attempt has published it, and was lost before it could say so.
            return None
        kept = self._begun(task_id, attempt)
        if chunk.number <= kept.chunks:
            return None
        if chunk.number != kept.chunks + 1 or len(chunk.data) != CHUNK_BYTES:
            return invalid("chunk", f"must be the next one, and have {CHUNK_BYTES} bytes")
        if kept.size + len(chunk.data) > self._max_bytes:
            return self._too_large(task_id)
        self._put(kept, chunk.data)
        return None

    def publish(self, task_id: str, attempt: int, number: int, content: Bytes) -> Refusal | None:
        """Make the result available, unless it is; return why that cannot be."""
        if number > 1:
            return invalid("publication.number", "this task publishes one result")
        if self.has_result(task_id):
            return None
        kept = self._begun(task_id, attempt)
        if content.chunks != kept.chunks:
            return invalid("publication.bytes.chunk_count", f"must be {kept.chunks}, as so many chunks are here")
        if kept.size + len(content.data) > self._max_bytes:
            return self._too_large(task_id)
        rest = content.data
        if len(rest) > INLINE_BYTES:
            kept, rest = self._put(kept, rest), b""
        self._settle(
            kept._replace(state=DeliveryState.AVAILABLE, size=kept.size + len(rest)),
            content_type=content.content_type,
            filename=content.filename,
            rest=rest or None,
        )
        return None

    async def close(self, tx: Tx) -> None:
        """Write what has become of them."""
        if self._chunks:
            await chunks.add(tx, self._chunks)
        if self._settled:
            await store.settle(tx, list(self._settled.values()))
        await chunks.leave(tx, self._left)
        if self._spoilt:
            await store.spoil(tx, self._spoilt)

    def _begun(self, task_id: str, attempt: int) -> Kept:
        """Return what there is of this attempt's result; that of an earlier one is of no more use."""
        kept = self._kept[task_id]
        if kept.attempt == attempt:
            return kept
        if kept.chunks:
            self._left.append((task_id, kept.attempt))
        return Kept(task_id, DeliveryState.ARRIVING, attempt, 0, 0)

    def _put(self, kept: Kept, data: bytes) -> Kept:
        number = kept.chunks + 1
        self._chunks.append(chunks.Chunk(kept.task_id, kept.attempt, number, data))
        kept = kept._replace(state=DeliveryState.ARRIVING, chunks=number, size=kept.size + len(data))
        self._settle(kept)
        return kept

    def _settle(
        self, kept: Kept, *, content_type: str = "", filename: str | None = None, rest: bytes | None = None
    ) -> None:
        self._kept[kept.task_id] = kept
        self._settled[kept.task_id] = Settled(
            *kept, content_type=content_type, filename=filename, available_time=self._now, rest=rest
        )

    def _too_large(self, task_id: str) -> ResultTooLarge:
        self._spoilt.append(task_id)
        return ResultTooLarge(self._max_bytes)


def as_bytes(histogram: str) -> Bytes:
    """Return a histogram, as it is kept, as the JSON that clients of other retrievals than pages get."""
    content = orjson.loads(histogram)
    told = {
        "buckets": [{"label": label, "value": value, "count": count} for label, value, count in content["buckets"]],
        "exceptions": [{"error": error, "count": count} for error, count in content["exceptions"]],
    }
    return Bytes(orjson.dumps(told), 0, JSON, None)
