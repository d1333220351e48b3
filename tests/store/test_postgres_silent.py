"""A database server that is gone without a word, as by a broken line."""

import asyncio

import pytest
import pytest_asyncio

from server.store import postgres as engine_room
from server.store.address import PostgresAddress
from server.store.engine import StoreUnavailable
from server.store.opening import open_store
from tests.store.names import names


class Line:
    """A line to a database server. While it is not whole, neither end learns of it."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self.port = 0
        self._ways: list[asyncio.Task[None]] = []
        self.is_whole = asyncio.Event()
        self.is_whole.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        ways = (self._pass_on(reader, to_server), self._pass_on(from_server, writer))
        self._ways += map(asyncio.ensure_future, ways)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.is_whole.wait()
                writer.write(data)
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        for way in self._ways:
            way.cancel()
        await asyncio.wait(self._ways)


@pytest_asyncio.fixture
async def line(postgres):
    line = Line(str(postgres.folder / "data" / ".s.PGSQL.5432"))
    listening = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = listening.sockets[0].getsockname()[1]
    yield line
    listening.close()
    await line.close()


@pytest.fixture
def address(postgres, line) -> PostgresAddress:
    postgres.wiped()
    return PostgresAddress.parse(f"postgresql://postgres@127.0.0.1:{line.port}/empty?sslmode=disable")


async def test_what_must_keep_its_time_fails_soon_when_the_server_is_gone_without_a_word(address, line, monkeypatch):
    monkeypatch.setattr(engine_room, "KEEPER_SECONDS", 2)
    store = await open_store(address)
    await store.write_soon(names)
    line.is_whole.clear()
    async with asyncio.timeout(4):
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await store.write_soon(names)
    line.is_whole.set()
    await store.close()
