"""CatalogueService, over gRPC."""

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from server.core.caller import Role
from taskhouse.v1 import catalogue_pb2 as pb
from taskhouse.v1 import catalogue_pb2_grpc
from tests.services.test_organizations import bearer

ICLOUD = pb.Service(
    slug="icloud",
    name="iCloud",
    actions=[
        pb.Action(
            slug="fetch-data",
            name="Fetch Data",
            description="Fetches.",
            parameters=[
                pb.Parameter(slug="device", name="Device", type=pb.PARAMETER_TYPE_STRING),
                pb.Parameter(slug="since", name="Since", type=pb.PARAMETER_TYPE_DATE, optional=True),
            ],
            permissions=[pb.Permission(slug="data", values=["sms", "photos"])],
        )
    ],
)


@pytest_asyncio.fixture
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield catalogue_pb2_grpc.CatalogueServiceStub(channel)


@pytest_asyncio.fixture
async def operator(store):
    return await bearer(store, "")


def applying(*services) -> pb.ApplyCatalogueRequest:
    return pb.ApplyCatalogueRequest(catalogue=pb.Catalogue(services=services))


async def test_what_an_operator_applies_is_what_others_read(stub, store, operator):
    applied = await stub.ApplyCatalogue(applying(ICLOUD), metadata=operator)
    assert applied == pb.Catalogue(services=[ICLOUD])
    worker = await bearer(store, "", Role.TOKEN_WRITE)
    assert await stub.GetCatalogue(pb.GetCatalogueRequest(), metadata=worker) == applied


async def test_faults_name_the_fields_of_the_request(stub, operator):
    bad = pb.Service(slug="x", name="X", actions=[pb.Action(slug="Y", name="Y")])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ApplyCatalogue(applying(ICLOUD, bad), metadata=operator)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(raised.value) == ["catalogue.services[1].actions[0].slug"]


async def test_a_parameter_must_have_a_type(stub, operator):
    untyped = pb.Action(slug="y", name="Y", parameters=[pb.Parameter(slug="p", name="P")])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ApplyCatalogue(applying(pb.Service(slug="x", name="X", actions=[untyped])), metadata=operator)
    assert fields_of(raised.value) == ["catalogue.services[0].actions[0].parameters[0].type"]


def fields_of(error: grpc.aio.AioRpcError) -> list[str]:
    status = rpc_status.from_call(error)
    bad = error_details_pb2.BadRequest()
    [packed] = [detail for detail in status.details if detail.Is(bad.DESCRIPTOR)]
    packed.Unpack(bad)
    return [violation.field for violation in bad.field_violations]
