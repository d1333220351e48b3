"""Callers of the asapi API."""

import grpc.aio
import pytest_asyncio

from server.core import catalogue, credentials, organizations
from server.core.caller import Role
from server.core.credentials import NewToken
from tests.core.scenes import HOUSE
from tests.rest.asapi_calls import SERVICES, Edge


@pytest_asyncio.fixture
async def token(store):
    """Make a token of asapi, of an organization that is made if need be."""

    async def made(kind=Role.ASAPI_STORE, organization="acme", allowed=()) -> str:
        secret = credentials.make_token("asapi")
        wanted = NewToken(organization=organization, kind=kind, allowed=allowed)
        await store.write(
            credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(secret)
        )
        return secret

    await store.write(organizations.create, name="acme")
    await store.write(organizations.create, name="other")
    await store.write(catalogue.apply, caller=HOUSE, services=SERVICES)
    return made


@pytest_asyncio.fixture
async def edge(server, token):
    """Calls with any token."""
    async with grpc.aio.insecure_channel(server.address) as channel:

        async def called(*asked, **more) -> Edge:
            return Edge(channel, await token(*asked, **more))

        called.with_token = lambda secret: Edge(channel, secret)
        yield called


@pytest_asyncio.fixture
async def acme(edge) -> Edge:
    """Calls of an asstore token, with an account."""
    calls = await edge()
    assert await calls("RegisterAccount", {"service": "iCloud", "username": "john@example.com"}) == (
        200,
        {"success": True},
    )
    return calls
