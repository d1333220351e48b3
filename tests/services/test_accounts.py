"""AccountService, over gRPC."""

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from server.core import catalogue, organizations
from taskhouse.v1 import accounts_pb2 as pb
from taskhouse.v1 import accounts_pb2_grpc
from tests.services.test_organizations import OPERATOR, bearer


@pytest_asyncio.fixture
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield accounts_pb2_grpc.AccountServiceStub(channel)


@pytest_asyncio.fixture
async def token(store):
    services = (catalogue.Service("icloud", "iCloud", ()),)
    await store.write(catalogue.apply, caller=OPERATOR, services=services)
    await store.write(organizations.create, name="acme")
    return await bearer(store, "acme")


CREATING = pb.CreateAccountRequest(account=pb.Account(service="iCloud", username="john"))


async def test_an_account_is_created_read_listed_and_deleted(stub, token):
    created = await stub.CreateAccount(CREATING, metadata=token)
    assert (created.service, created.username) == ("icloud", "john")
    assert await stub.GetAccount(pb.GetAccountRequest(account_id=created.id), metadata=token) == created
    assert list((await stub.ListAccounts(pb.ListAccountsRequest(), metadata=token)).accounts) == [created]
    await stub.DeleteAccount(pb.DeleteAccountRequest(account_id=created.id), metadata=token)
    assert not (await stub.ListAccounts(pb.ListAccountsRequest(), metadata=token)).accounts


async def test_a_second_account_of_the_same_username_is_refused(stub, token):
    await stub.CreateAccount(CREATING, metadata=token)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.CreateAccount(CREATING, metadata=token)
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_an_unknown_account_is_not_found(stub, token):
    for call, request in ((stub.GetAccount, pb.GetAccountRequest), (stub.DeleteAccount, pb.DeleteAccountRequest)):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(request(account_id="0"), metadata=token)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
