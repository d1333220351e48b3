"""Callers of the monarc API."""

import grpc.aio
import pytest
import pytest_asyncio

from server.core import organizations
from server.core.caller import Role
from tests.rest.monarc.edge import Edge, token_of


@pytest_asyncio.fixture
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


@pytest_asyncio.fixture
async def house(store):
    for name in ("CASES", "OTHER"):
        await store.write(organizations.create, name=name)
    return store


@pytest_asyncio.fixture
async def edge(channel, house) -> Edge:
    return Edge(channel, await token_of(house, "CASES", Role.MONARC_WRITE))


@pytest_asyncio.fixture
async def admin(channel, house) -> Edge:
    return Edge(channel, await token_of(house, "CASES", Role.MONARC_ADMIN))


@pytest.fixture
def engine() -> str:
    """SQLite: what differs between engines is tested in tests/core."""
    return "sqlite"
