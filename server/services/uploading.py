"""The stream of an upload: reads ahead of the store by a bounded number of rows, and stores them in their order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple

from server.core import uploading
from server.core.caller import Caller
from server.core.errors import ProtocolBroken, Refusal, Stopping, StreamIdle, invalid
from server.core.uploading import Sent, Stream, Upload
from server.core.uploads import Row
from server.store.engine import Store, StoreUnavailable
from taskhouse.v1 import datasets_pb2 as pb

IDLE_SECONDS = 60
MAX_ROWS = 5000  # Of a message, and of a transaction: it keeps other writers waiting for some 10 ms.
MAX_WAITING = 2 * 1024 * 1024  # Bytes that are read and not stored; beyond them the client has to wait.
ROW_BYTES = 400  # What a row takes in memory beside its text.
INLINE_ROWS = 200  # More of them are checked in a thread.


class Uploading:
    """Serves the streams of one process, until `stopping` is set."""

    def __init__(self, store: Store, stopping: asyncio.Event, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._store = store
        self._stopping = stopping
        self._idle_seconds = idle_seconds
        self._ending: set[asyncio.Future[Upload]] = set()

    async def serve(self, requests: AsyncIterator[pb.UploadRequest], caller: Caller) -> Upload:
        """Store what the client sends, and return the upload when it has said all. See DatasetService.Upload."""
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
        try:
            first = await self._next(requests, stopping)
            if first is None or first.WhichOneof("message") != "start":
                raise ProtocolBroken("The first message of an upload is its start.")
            start = {"dataset": first.start.dataset, "upload_id": first.start.upload_id}
            rows = _Rows(self._store, await self._store.write_guarded(uploading.begin, caller=caller, **start))
            try:
                await self._take_all(requests, stopping, rows)
            except BaseException:
                # Whoever waits is told of this. If its end cannot be stored now, the sweeper makes up for it.
                with suppress(Refusal, StoreUnavailable):
                    await self._end(rows)
                raise
            return await self._end(rows)
        finally:
            stopping.cancel()

    async def _end(self, rows: "_Rows") -> Upload:
        """End the stream, also if who waits for that is cancelled meanwhile, and return the upload."""

        async def end() -> Upload:
            await rows.close()
            return await self._store.write_guarded(uploading.end, stream=rows.stream)

        ending = asyncio.ensure_future(end())
        self._ending.add(ending)
        ending.add_done_callback(self._ended)
        return await asyncio.shield(ending)

    def _ended(self, ending: "asyncio.Future[Upload]") -> None:
        self._ending.discard(ending)
        if not ending.cancelled():
            ending.exception()  # Told to who waits; nobody may.

    async def _take_all(
        self, requests: AsyncIterator[pb.UploadRequest], stopping: asyncio.Future[Any], rows: "_Rows"
    ) -> None:
        try:
            while message := await self._next(requests, stopping):
                if message.WhichOneof("message") != "rows":
                    raise ProtocolBroken("After its start an upload has only rows.")
                sent = await _checked(message.rows, rows)
                await rows.add(sent.rows, message.ByteSize())
                if sent.refusal:
                    raise sent.refusal
        except Refusal:
            await rows.flush()  # What came before is good.
            raise
        await rows.flush()

    async def _next(
        self, requests: AsyncIterator[pb.UploadRequest], stopping: asyncio.Future[Any]
    ) -> pb.UploadRequest | None:
        """Return the next message; None after the last. Raises StreamIdle, Stopping, and what reading it met."""
        reading: asyncio.Future[pb.UploadRequest | None] = asyncio.ensure_future(anext(requests, None))
        try:
            await asyncio.wait([reading, stopping], timeout=self._idle_seconds, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                raise Stopping
            if not reading.done():
                raise StreamIdle(round(self._idle_seconds))
            return reading.result()
        finally:
            reading.cancel()


class _Message(NamedTuple):
    """Rows that came together."""

    first_row: int  # the number of the first of them
    rows: list[Row]
    bytes: int  # that they take


class _Rows:
    """Rows on their way into the store: while a batch is written, those that come meanwhile make the next one."""

    def __init__(self, store: Store, stream: Stream) -> None:
        self.stream = stream
        self.next_row = stream.first_row  # the number of the row that comes next
        self._store = store
        self._waiting: deque[_Message] = deque()
        self._bytes = 0  # of all that wait
        self._writing: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    async def add(self, rows: list[Row], text_bytes: int) -> None:
        """Take a message's rows, and wait if too many wait. Raises what storing those before them met."""
        if not rows:
            return
        size = text_bytes + ROW_BYTES * len(rows)
        self._waiting.append(_Message(self.next_row, rows, size))
        self._bytes += size
        self.next_row += len(rows)
        while True:
            if self._writing is None or self._writing.done():
                if self._writing:
                    self._writing.result()
                self._writing = asyncio.ensure_future(self._write())
            if self._bytes <= MAX_WAITING:
                return
            self._room.clear()
            await self._room.wait()

    async def flush(self) -> None:
        """Wait until all are stored. Raises what storing them met."""
        if self._writing:
            await asyncio.wait({self._writing})
            self._writing.result()

    async def close(self) -> None:
        """Forget those that are not on their way, and wait for those that are."""
        self._waiting.clear()
        if self._writing:
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        try:
            while self._waiting:
                first_row, batch = self._waiting[0].first_row, self._take()
                await self._store.write_guarded(uploading.put, stream=self.stream, first_row=first_row, rows=batch)
                self._room.set()
        finally:
            self._room.set()

    def _take(self) -> list[Row]:
        """Return the rows of as many messages as a transaction may store."""
        batch: list[Row] = []
        while self._waiting and len(batch) + len(self._waiting[0].rows) <= MAX_ROWS:
            message = self._waiting.popleft()
            batch += message.rows
            self._bytes -= message.bytes
        return batch


async def _checked(message: pb.UploadRows, rows: _Rows) -> Sent:
    """Check the rows of a message that are not stored yet. Raises InvalidFields for its numbers."""
    first, count = message.first_row, len(message.rows)
    if not 1 <= count <= MAX_ROWS:
        raise invalid("rows.rows", f"must be 1 to {MAX_ROWS}")
    if not 0 <= first <= rows.next_row:
        raise invalid("rows.first_row", f"must be 0 to {rows.next_row}, the number of the row that comes next")
    if first + count > uploading.MAX_ROWS:
        raise invalid("rows.first_row", f"an upload has at most {uploading.MAX_ROWS} rows")
    skipped = rows.next_row - first

    def check() -> Sent:
        given = [(row.user, row.data) for row in message.rows[skipped:]]
        return uploading.check(rows.stream.table, given, first_row=rows.next_row)

    return check() if count - skipped <= INLINE_ROWS else await asyncio.to_thread(check)
