"""OrganizationService, over gRPC."""

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from server.core import credentials, organizations
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from taskhouse.v1 import organizations_pb2 as pb
from taskhouse.v1 import organizations_pb2_grpc

OPERATOR = Caller("c", Role.OPERATOR, None, "", "")


async def bearer(store, organization, kind=Role.TOKEN_ADMIN):
    token = credentials.make_token()
    wanted = NewToken(organization=organization, kind=kind)
    digest = credentials.token_digest(token)
    await store.write(credentials.create_token, caller=OPERATOR, wanted=wanted, digest=digest)
    return (("authorization", f"Bearer {token}"),)


@pytest_asyncio.fixture
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield organizations_pb2_grpc.OrganizationServiceStub(channel)


@pytest_asyncio.fixture
async def operator(store):
    return await bearer(store, "")


def creating(name) -> pb.CreateOrganizationRequest:
    return pb.CreateOrganizationRequest(organization=pb.Organization(name=name))


async def test_an_operator_creates_an_organization_and_finds_it(stub, operator):
    created = await stub.CreateOrganization(creating("acme"), metadata=operator)
    assert created.name == "acme"
    assert created.create_time.seconds > 1_700_000_000
    assert await stub.GetOrganization(pb.GetOrganizationRequest(organization="acme"), metadata=operator) == created


@pytest.mark.parametrize(
    ("name", "code"), [("acme", grpc.StatusCode.ALREADY_EXISTS), ("a/b", grpc.StatusCode.INVALID_ARGUMENT)]
)
async def test_a_name_that_is_taken_or_bad_is_refused(stub, operator, name, code):
    await stub.CreateOrganization(creating("acme"), metadata=operator)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.CreateOrganization(creating(name), metadata=operator)
    assert raised.value.code() is code


async def test_lists_are_paged_for_the_operator_and_its_own_for_an_admin(stub, operator, store):
    for name in ("c", "a", "b"):
        await store.write(organizations.create, name=name)
    first = await stub.ListOrganizations(pb.ListOrganizationsRequest(page_size=2), metadata=operator)
    assert [each.name for each in first.organizations] == ["a", "b"]
    asked = pb.ListOrganizationsRequest(page_size=2, page_token=first.next_page_token)
    second = await stub.ListOrganizations(asked, metadata=operator)
    assert [each.name for each in second.organizations] == ["c"]
    assert second.next_page_token == ""
    admin = await bearer(store, "b")
    own = await stub.ListOrganizations(pb.ListOrganizationsRequest(), metadata=admin)
    assert [each.name for each in own.organizations] == ["b"]


async def test_an_admin_shares_its_organization_s_stats_and_nobody_else_s(stub, operator, store):
    for name in ("a", "b"):
        await store.write(organizations.create, name=name)
    admin = await bearer(store, "a")

    def sharing(name, *paths, value=True):
        asked = pb.Organization(name=name, sharing=value)
        return pb.UpdateOrganizationRequest(organization=asked, update_mask=FieldMask(paths=paths))

    assert (await stub.UpdateOrganization(sharing("a", "sharing"), metadata=admin)).sharing
    assert (await stub.GetOrganization(pb.GetOrganizationRequest(organization="a"), metadata=operator)).sharing
    assert not (await stub.UpdateOrganization(sharing("a", "sharing", value=False), metadata=operator)).sharing
    for request, code in (
        (sharing("b", "sharing"), grpc.StatusCode.NOT_FOUND),
        (sharing("a"), grpc.StatusCode.INVALID_ARGUMENT),
        (sharing("a", "name"), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.UpdateOrganization(request, metadata=admin)
        assert raised.value.code() is code


async def test_an_admin_says_how_changes_of_rules_are_reviewed(stub, store):
    await store.write(organizations.create, name="a")
    admin = await bearer(store, "a")

    def reviewing(*paths, **settings):
        return pb.UpdateOrganizationRequest(
            organization=pb.Organization(name="a", **settings), update_mask=FieldMask(paths=paths)
        )

    asked = reviewing("workflow", "reason_mode", workflow=True, reason_mode=pb.REASON_MODE_MANDATORY, sharing=True)
    changed = await stub.UpdateOrganization(asked, metadata=admin)
    assert (changed.workflow, changed.reason_mode, changed.sharing) == (True, pb.REASON_MODE_MANDATORY, False)
    assert await stub.GetOrganization(pb.GetOrganizationRequest(organization="a"), metadata=admin) == changed
    for mode in (pb.REASON_MODE_UNSPECIFIED, 99):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.UpdateOrganization(reviewing("reason_mode", reason_mode=mode), metadata=admin)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_admin_does_not_see_other_organizations(stub, store):
    for name in ("a", "b"):
        await store.write(organizations.create, name=name)
    admin = await bearer(store, "a")
    for name in ("b", "nobody"):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetOrganization(pb.GetOrganizationRequest(organization=name), metadata=admin)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert raised.value.details() == f"There is no organization {name}."
