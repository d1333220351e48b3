"""Answers that are streams. To a client of HTTP an answer that fails midway looks like one that has ended well.

So it is cut: bytes that are no message make the edge reset the stream, which every client sees.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc.aio
from google.api import httpbody_pb2

from server.rpc.door import Context

MESSAGE_BYTES = 64 * 1024  # The edge takes in all of a message, whoever reads it, and what it holds counts as sent.
LAST_WRITE_SECONDS = 100.0  # The edge ends earlier what does not move.
CUT = b"\xff\xff\xff\xff"


class AnswerCut(Exception):
    """The answer was broken off, so nothing can follow."""


class Answer:
    """A streamed answer of HTTP."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._content_type = ""
        self.begun = False
        self._is_cut = False
        self._writing: asyncio.Future[None] | None = None

    async def begin(self, content_type: str, *headers: tuple[str, str]) -> None:
        """Send headers."""
        self._content_type = content_type
        await self._context.send_initial_metadata(headers)
        self.begun = True

    async def write(self, data: bytes) -> None:
        """Send some of the body. Returns when the edge has taken it. Raises AnswerCut."""
        for start in range(0, len(data) or 1, MESSAGE_BYTES):
            if self._is_cut:
                raise AnswerCut
            piece = data[start : start + MESSAGE_BYTES]
            message = httpbody_pb2.HttpBody(content_type=self._content_type, data=piece)
            self._writing = asyncio.ensure_future(self._context.write(message))
            self._writing.add_done_callback(_taken_note_of)
            await asyncio.shield(self._writing)

    async def cut(self) -> None:
        """Break the answer off. What is being written must go out before, or the cut would be lost with it."""
        self._is_cut = True
        if self._writing:
            await asyncio.wait([self._writing], timeout=LAST_WRITE_SECONDS)
        if not self._context.done():
            with suppress(grpc.aio.BaseError, asyncio.InvalidStateError):  # The client is gone.
                await asyncio.wait_for(self._context.write(CUT), LAST_WRITE_SECONDS)


def _taken_note_of(writing: "asyncio.Future[None]") -> None:
    """Keep asyncio from reporting a failure for which nobody waits any more."""
    if not writing.cancelled():
        writing.exception()


@asynccontextmanager
async def whole_or_cut(context: Context) -> AsyncIterator[Answer]:
    """Send an answer in the block; if it is left by an exception after the answer has begun, the answer is cut."""
    answer = Answer(context)
    try:
        yield answer
    except BaseException:
        if answer.begun:
            await answer.cut()
        raise
