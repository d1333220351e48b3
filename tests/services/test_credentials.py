"""CredentialService, over gRPC."""

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs12
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status.rpc_status import from_call

from server.core import credentials, organizations
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from taskhouse.v1 import credentials_pb2 as pb
from taskhouse.v1 import credentials_pb2_grpc, organizations_pb2, organizations_pb2_grpc

OPERATOR = Caller("c", Role.OPERATOR, None, "", "")


async def bearer(store, organization):
    token = credentials.make_token()
    wanted = NewToken(organization=organization, kind=Role.TOKEN_ADMIN)
    digest = credentials.token_digest(token)
    await store.write(credentials.create_token, caller=OPERATOR, wanted=wanted, digest=digest)
    return (("authorization", f"Bearer {token}"),)


def presenting(bundle, password):
    """Return what the edge says of a caller with this key."""
    digest = pkcs12.load_pkcs12(bundle, password.encode()).cert.certificate.fingerprint(hashes.SHA256())
    return (("x-forwarded-client-cert", f"Hash={digest.hex()}"),)


def bad_fields(error) -> list[str]:
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = error_details_pb2.BadRequest()
    [packed] = [detail for detail in from_call(error).details if detail.Is(found.DESCRIPTOR)]
    packed.Unpack(found)
    return sorted(violation.field for violation in found.field_violations)


@pytest_asyncio.fixture
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


@pytest_asyncio.fixture
async def stub(channel):
    return credentials_pb2_grpc.CredentialServiceStub(channel)


@pytest_asyncio.fixture
async def admin(store):
    await store.write(organizations.create, name="acme")
    return await bearer(store, "acme")


@pytest_asyncio.fixture
async def operator(store):
    return await bearer(store, "")


@pytest.mark.parametrize("legacy", [False, True])
async def test_a_made_key_opens_and_calls_until_it_is_revoked(stub, channel, admin, legacy):
    asked = pb.CreateKeyRequest(kind=pb.KEY_KIND_ADMIN, password="pass", display_name="Ada", legacy=legacy)
    made = await stub.CreateKey(asked, metadata=admin)
    assert made.credential.key == pb.Key(kind=pb.KEY_KIND_ADMIN)
    assert (made.credential.organization, made.credential.display_name) == ("acme", "Ada")
    days = (made.credential.expire_time.seconds - made.credential.create_time.seconds) / 86_400
    assert days == pytest.approx(825, abs=0.01)
    ada = presenting(made.pkcs12, "pass")
    own = organizations_pb2_grpc.OrganizationServiceStub(channel)
    listed = await own.ListOrganizations(organizations_pb2.ListOrganizationsRequest(), metadata=ada)
    assert [each.name for each in listed.organizations] == ["acme"]

    revoking = pb.RevokeCredentialRequest(credential_id=made.credential.id)
    revoked = await stub.RevokeCredential(revoking, metadata=admin)
    assert revoked.HasField("revoke_time")
    assert await stub.RevokeCredential(revoking, metadata=admin) == revoked
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await own.ListOrganizations(organizations_pb2.ListOrganizationsRequest(), metadata=ada)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_made_token_calls(stub, admin):
    made = await stub.CreateToken(
        pb.CreateTokenRequest(api=pb.TOKEN_API_GRPC, access=pb.TOKEN_ACCESS_ADMIN), metadata=admin
    )
    bearing = (("authorization", f"Bearer {made.token}"),)
    found = await stub.GetCredential(pb.GetCredentialRequest(credential_id=made.credential.id), metadata=bearing)
    assert found == made.credential
    assert found.token == pb.Token(api=pb.TOKEN_API_GRPC, access=pb.TOKEN_ACCESS_ADMIN)
    assert not found.HasField("expire_time")


async def test_a_token_without_access_may_write(stub, admin):
    asked = pb.CreateTokenRequest(api=pb.TOKEN_API_ASAPI, retrieval=pb.TOKEN_RETRIEVAL_ASCHANNEL, allow=["a/b:c=d"])
    made = await stub.CreateToken(asked, metadata=admin)
    assert made.credential.token == pb.Token(
        api=pb.TOKEN_API_ASAPI, retrieval=pb.TOKEN_RETRIEVAL_ASCHANNEL, allow=["a/b:c=d"]
    )
    asked = pb.CreateTokenRequest(api=pb.TOKEN_API_GRPC, valid_period=Duration(seconds=60))
    made = await stub.CreateToken(asked, metadata=admin)
    assert made.credential.token.access == pb.TOKEN_ACCESS_WRITE
    assert made.credential.expire_time.seconds - made.credential.create_time.seconds == 60


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        (pb.CreateKeyRequest(), ["kind", "password"]),
        (pb.CreateKeyRequest(kind=99, password="pass"), ["kind"]),
        (pb.CreateKeyRequest(kind=pb.KEY_KIND_WORKER, password="pass"), ["kind"]),
        (pb.CreateKeyRequest(kind=pb.KEY_KIND_OPERATOR, password="pas"), ["kind", "password"]),
        (pb.CreateKeyRequest(kind=pb.KEY_KIND_UPLOAD_USER, password="pass"), ["user"]),
        (
            pb.CreateKeyRequest(kind=pb.KEY_KIND_WEB_API, password="pass", user="u", valid_period=Duration()),
            ["user", "valid_period"],
        ),
        (
            pb.CreateKeyRequest(
                kind=pb.KEY_KIND_WEB_API, password="pass", valid_period=Duration(seconds=315_576_000_000)
            ),
            ["valid_period"],
        ),
    ],
)
async def test_a_key_that_cannot_be_is_refused_with_all_its_faults(stub, admin, asked, fields):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.CreateKey(asked, metadata=admin)
    assert bad_fields(raised.value) == fields


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        (pb.CreateTokenRequest(), ["api"]),
        (pb.CreateTokenRequest(api=99, access=99, display_name="x" * 101), ["access", "api", "display_name"]),
        (pb.CreateTokenRequest(api=pb.TOKEN_API_GRPC, valid_period=Duration(seconds=-1)), ["valid_period"]),
        (pb.CreateTokenRequest(api=pb.TOKEN_API_ASAPI), ["retrieval"]),
        (
            pb.CreateTokenRequest(api=pb.TOKEN_API_ASAPI, retrieval=1, access=1, allow=["", "a/b"]),
            ["access", "allow[0]"],
        ),
        (pb.CreateTokenRequest(api=pb.TOKEN_API_GRPC, retrieval=1, allow=["a/b"]), ["allow", "retrieval"]),
    ],
)
async def test_a_token_that_cannot_be_is_refused_with_all_its_faults(stub, admin, asked, fields):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.CreateToken(asked, metadata=admin)
    assert bad_fields(raised.value) == fields


async def test_the_house_has_workers_and_operators_and_no_readers(stub, operator):
    made = await stub.CreateKey(pb.CreateKeyRequest(kind=pb.KEY_KIND_WORKER, password="pass"), metadata=operator)
    assert made.credential.organization == ""
    asked = pb.CreateTokenRequest(api=pb.TOKEN_API_GRPC, access=pb.TOKEN_ACCESS_READ)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.CreateToken(asked, metadata=operator)
    assert bad_fields(raised.value) == ["access"]


async def test_an_operator_makes_credentials_of_an_organization(stub, admin, operator):
    asked = pb.CreateKeyRequest(
        organization="acme",
        kind=pb.KEY_KIND_UPLOAD_USER,
        user="7",
        password="pass",
        valid_period=Duration(seconds=3600),
    )
    made = await stub.CreateKey(asked, metadata=operator)
    listed = await stub.ListCredentials(pb.ListCredentialsRequest(page_size=1), metadata=admin)
    assert list(listed.credentials) == [made.credential]
    rest = await stub.ListCredentials(
        pb.ListCredentialsRequest(organization="acme", page_token=listed.next_page_token), metadata=operator
    )
    assert [each.WhichOneof("type") for each in rest.credentials] == ["token"]
    assert rest.next_page_token == ""


async def test_another_organization_is_unknown(stub, store, admin):
    await store.write(organizations.create, name="other")
    other = await bearer(store, "other")
    foreign = (await stub.ListCredentials(pb.ListCredentialsRequest(), metadata=other)).credentials[0]
    refused = [
        (stub.CreateKey, pb.CreateKeyRequest(organization="other", kind=pb.KEY_KIND_ADMIN, password="pass")),
        (stub.CreateToken, pb.CreateTokenRequest(organization="other", api=pb.TOKEN_API_GRPC)),
        (stub.ListCredentials, pb.ListCredentialsRequest(organization="other")),
        (stub.GetCredential, pb.GetCredentialRequest(credential_id=foreign.id)),
        (stub.RevokeCredential, pb.RevokeCredentialRequest(credential_id=foreign.id)),
    ]
    for call, asked in refused:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(asked, metadata=admin)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    after = (await stub.ListCredentials(pb.ListCredentialsRequest(), metadata=other)).credentials
    assert list(after) == [foreign]


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        (pb.ListCredentialsRequest(page_size=-1), ["page_size"]),
        (pb.ListCredentialsRequest(page_token="%%%"), ["page_token"]),
    ],
)
async def test_a_page_that_cannot_be_is_refused(stub, admin, asked, fields):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ListCredentials(asked, metadata=admin)
    assert bad_fields(raised.value) == fields


async def test_no_answer_but_the_first_holds_a_secret(stub, admin):
    made = await stub.CreateToken(pb.CreateTokenRequest(api=pb.TOKEN_API_GRPC), metadata=admin)
    digest = credentials.token_digest(made.token)
    for answer in (
        await stub.ListCredentials(pb.ListCredentialsRequest(), metadata=admin),
        await stub.GetCredential(pb.GetCredentialRequest(credential_id=made.credential.id), metadata=admin),
    ):
        raw = answer.SerializeToString()
        assert made.token.encode() not in raw
        assert digest not in raw
