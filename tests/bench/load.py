"""A small HTTP/1.1 client that keeps its connections alive and costs little itself.

It runs beside what it measures, on the same cores: what it takes makes the faster of two servers look slower.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle, islice

import uvloop

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


def request_of(method: str, path: str, *, body: bytes = b"", headers: tuple[str, ...] = ()) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + _END + body


class _Connection(asyncio.Protocol):
    """Sends requests, each once the whole answer to the one before it is there."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._got = bytearray()
        self._whole = 0  # bytes of the answer; 0: not known yet
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._whole:
            end = self._got.find(_END) + len(_END)
            if end < len(_END):
                return
            head = bytes(self._got[:end]).lower()
            if not head.startswith(b"http/1.1 200 "):
                self._fail(f"unexpected answer: {bytes(self._got[:1000])!r}")
                return
            at = head.index(_LENGTH) + len(_LENGTH)
            self._whole = end + int(head[at : head.index(b"\r\n", at)])
        if len(self._got) >= self._whole:
            self._got.clear()
            self._whole = 0
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was closed: {error}")

    def _send(self) -> None:
        request = next(self._requests, None)
        if request:
            self._transport.write(request)
        else:
            self.done.set_result(None)
            self._transport.close()

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


def hammer(
    address: tuple[str, int], context: ssl.SSLContext | None, requests: Sequence[bytes], *, connections: int, each: int
) -> None:
    """Send `each` requests, one after another, on every one of `connections` connections.

    They take turns with the requests given, each connection beginning at another place.
    """

    def turns(connection: int) -> Iterator[bytes]:
        start = connection * len(requests) // connections
        return islice(cycle(requests), start, start + each)

    async def connection(number: int) -> None:
        name = "localhost" if context else None
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(turns(number)), *address, ssl=context, server_hostname=name
        )
        await protocol.done

    async def run() -> None:
        await asyncio.gather(*map(connection, range(connections)))

    uvloop.run(run())


@asynccontextmanager
async def asking(address: tuple[str, int]) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    """Open a connection, and give what sends a request over it and returns the body of its answer, a 200."""
    reader, writer = await asyncio.open_connection(*address)

    async def ask(request: bytes) -> bytes:
        writer.write(request)
        head = (await reader.readuntil(_END)).lower()
        at = head.index(_LENGTH) + len(_LENGTH)
        body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        if not head.startswith(b"http/1.1 200 "):
            raise RuntimeError(f"unexpected answer: {head!r} {body[:300]!r}")
        return body

    try:
        yield ask
    finally:
        writer.close()
