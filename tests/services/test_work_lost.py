"""Workers' streams when something is lost on the way: an answer of the database, or all that a worker is told."""

import asyncio

import pytest
import pytest_asyncio

from server.store.address import PostgresAddress
from tests.core.scenes import task
from tests.services.test_work import caller, channel, completed, stream, token

__all__ = ["caller", "channel", "stream", "token"]  # Fixtures.


class Cutter:
    """Stands before a database server, and cuts one connection when the server has committed a grant."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self.port = 0
        self.has_cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        grants = asyncio.Event()

        async def ask() -> None:
            while data := await reader.read(65536):
                if b"start_time=coalesce" in data:
                    grants.set()
                to_server.write(data)

        async def answer() -> None:
            while data := await from_server.read(65536):
                if grants.is_set() and b"COMMIT\0" in data and not self.has_cut:
                    self.has_cut = True
                    break
                writer.write(data)

        ways = [asyncio.ensure_future(way()) for way in (ask, answer)]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.transport.abort()
        to_server.transport.abort()


@pytest_asyncio.fixture
async def cutter(postgres):
    cutter = Cutter(str(postgres.folder / "data" / ".s.PGSQL.5432"))
    listening = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    cutter.port = listening.sockets[0].getsockname()[1]
    yield cutter
    listening.close()


@pytest.fixture
def engine() -> str:
    return "postgresql"


@pytest.fixture
def address(postgres, cutter) -> PostgresAddress:
    postgres.wiped()
    return PostgresAddress.parse(f"postgresql://postgres@127.0.0.1:{cutter.port}/empty?sslmode=disable")


async def test_a_lease_whose_grant_was_committed_when_the_connection_broke_reaches_its_worker(
    stream, store, caller, cutter
):
    await stream.hello()
    created = await task(store, caller)
    [lease] = await stream.leases()
    assert (lease.task_id, lease.attempt) == (created.id, 1)
    assert await stream.report(completed(lease)) == [""]
    assert cutter.has_cut
