"""A small HTTP/1.1 client that keeps its connections alive and costs little itself."""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from itertools import cycle, islice


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, expect: bytes) -> bytes:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    at = lowered.index(b"content-length:") + 15
    body = await reader.readexactly(int(lowered[at : lowered.index(b"\r\n", at)]))
    if not head.startswith(b"HTTP/1.1 " + expect):
        raise RuntimeError(f"unexpected answer: {head!r} {body[:300]!r}")
    return body


def request_of(method: str, path: str, *, body: bytes = b"", headers: tuple[str, ...] = ()) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _connection(
    address: tuple[str, int], context: ssl.SSLContext | None, requests: Iterable[bytes], times: int
) -> None:
    name = "localhost" if context else None
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=name)
    try:
        for request in islice(requests, times):
            await _one(reader, writer, request, b"200")
    finally:
        writer.close()
        await writer.wait_closed()


def hammer(
    address: tuple[str, int], context: ssl.SSLContext | None, requests: Sequence[bytes], *, connections: int, each: int
) -> None:
    """Send `each` requests, one after another, on every one of `connections` connections.

    They take turns with the requests given, each connection beginning at another place.
    """

    def turns(connection: int) -> Iterable[bytes]:
        start = connection * len(requests) // connections
        return islice(cycle(requests), start, None)

    async def run() -> None:
        await asyncio.gather(*(_connection(address, context, turns(one), each) for one in range(connections)))

    asyncio.run(run())
