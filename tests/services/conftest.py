"""Clients of ResultService before two server processes, and a worker whose results they get."""

import grpc
import grpc.aio
import pytest_asyncio

from server.core import credentials, organizations
from server.core.arrivals import Bytes, Chunk
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.core.reports import Ending, Publication, Report
from server.identity.authority import Authority
from server.wiring import build_server
from tests.core.scenes import HOUSE, Worker
from tests.services.result_clients import Client


@pytest_asyncio.fixture
async def clients(server, store, elsewhere, data, tmp_path_factory):
    """Makes clients of organizations that are made if need be, with channels to two server processes."""
    address = f"unix:{tmp_path_factory.mktemp('s')}/s"
    other = build_server(store=elsewhere, authority=Authority.open(data), address=address)
    await other.grpc.start()
    made: dict[str, int] = {}
    async with grpc.aio.insecure_channel(server.address) as first, grpc.aio.insecure_channel(address) as second:

        async def client(name: str = "acme") -> Client:
            if name not in made:
                made[name] = (await store.write(organizations.create, name=name)).id
            token = credentials.make_token()
            wanted = NewToken(organization=name, kind=Role.TOKEN_WRITE)
            digest = credentials.token_digest(token)
            created = await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
            return Client(store, token, Caller(created.id, Role.TOKEN_WRITE, made[name], name, ""), first, second)

        yield client
    await other.stop(grace=0)


@pytest_asyncio.fixture
async def client(clients) -> Client:
    return await clients()


@pytest_asyncio.fixture
async def publish(store):
    """Publishes the result of the one task that waits: chunks, then the rest; and completes it if that is wanted."""
    worker = await Worker.seated(store)

    async def published(rest: bytes = b"abc", *chunks: bytes, complete: bool = True) -> None:
        [lease] = await worker.lease(1)
        said = [Report(lease, Chunk(number, chunk)) for number, chunk in enumerate(chunks, start=1)]
        said.append(Report(lease, Publication(1, Bytes(rest, len(chunks), "text/plain", "a.txt"))))
        if complete:
            said.append(Report(lease, Ending.COMPLETED))
        assert set(await worker.report(*said)) == {""}

    return published
