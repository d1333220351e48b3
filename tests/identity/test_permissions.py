"""Who may call what: every rpc of the contract, with every kind of credential, through a real server."""

import asyncio
import hashlib
import pkgutil
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from uuid_utils import uuid7

import taskhouse
from server.core import credentials, organizations
from server.core.caller import Caller, Role
from server.core.credentials import NewKey, NewToken
from server.identity.permissions import PERMISSIONS, PUBLIC

ANYBODY = "anybody"
UPLOAD_ANY, UPLOAD_USER, ADMIN, TASK_RUNNER, WEB_API, WORKER, OPERATOR = (
    "upload_any key", "upload_user key", "admin key", "task_runner key", "web_api key", "worker key", "operator key",
)  # fmt: skip
READ, WRITE, FULL = "read token", "write token", "admin token"
HOUSE_WRITE, HOUSE_FULL = "write token of the house", "admin token of the house"
MONARC_READ, MONARC_WRITE, MONARC_FULL = "monarc read token", "monarc write token", "monarc admin token"
MONARC_HOUSE = "monarc admin token of the house"
RUDDER_READ, RUDDER_WRITE = "rudder read token", "rudder write token"
READING, WRITING = {READ, WRITE, FULL}, {WRITE, FULL}
MANAGING = {ADMIN, FULL, OPERATOR, HOUSE_FULL}
OPERATING = {OPERATOR, HOUSE_FULL}
WORKING = {WORKER, HOUSE_WRITE}
MONARC_WRITING = {MONARC_WRITE, MONARC_FULL, MONARC_HOUSE}
MONARC_READING = MONARC_WRITING | {MONARC_READ}
RUDDER_READING, RUDDER_WRITING = {RUDDER_READ, RUDDER_WRITE}, {RUDDER_WRITE}
ASAPI = {"asapi asstore token", "asapi aschannel token"}

ALLOWED = {
    # "upload_any: /bulk_insert; upload_user: /insert for its own user; web_api: /api/task_results;
    # GET /keys (admin or web_api key)". "A token on an aircloak path: 401."
    "taskhouse.rest.v1.AircloakService": {
        "BulkInsert": {UPLOAD_ANY},
        "Insert": {UPLOAD_USER},
        "GetTaskResults": {WEB_API},
        "ListKeys": {ADMIN, WEB_API},
        "AnswerOther": {ANYBODY},
    },
    "taskhouse.rest.v1.HealthService": {"GetHealth": {ANYBODY}},
    # A token of asapi may do all that asapi has.
    "taskhouse.rest.v1.AsapiResultService": {
        **dict.fromkeys(("FetchResult", "StreamResults", "ConsumeResults"), ASAPI),
        "AnswerOther": {ANYBODY},
    },
    "taskhouse.rest.v1.AsapiService": {
        **dict.fromkeys(("DiscoverServices", "RegisterAccount", "DeregisterAccount"), ASAPI),
        **dict.fromkeys(("SubmitTask", "GetTaskStatuses"), ASAPI),
        "AnswerOther": {ANYBODY},
    },
    # "Tokens: `tokens create --api monarc --access read|write|admin`"; "POST organizations (admin)".
    "taskhouse.rest.v1.MonarcService": {
        **dict.fromkeys(("ListStats", "GetStat", "ListOrganizations", "GetOrganization"), MONARC_READING),
        **dict.fromkeys(("CreateStat", "UpdateStat", "DeleteStat"), MONARC_WRITING),
        "CreateOrganization": {MONARC_FULL, MONARC_HOUSE},
        "PurgeStats": {MONARC_FULL, MONARC_HOUSE},
        "AnswerOther": {ANYBODY},
    },
    # Rules are their organization's, and so is their review.
    "taskhouse.v1.RuleService": {
        "CreateRule": WRITING | {ADMIN},
        "DeleteRule": WRITING | {ADMIN},
        "GetRule": READING | {ADMIN},
        "ListRules": READING | {ADMIN},
        "UpdateRule": WRITING | {ADMIN},
    },
    "taskhouse.v1.ChangeRequestService": {
        "AcceptChangeRequest": WRITING | {ADMIN},
        "DeclineChangeRequest": WRITING | {ADMIN},
        "GetChangeRequest": READING | {ADMIN},
        "ListChangeRequests": READING | {ADMIN},
        "UpdateChangeRequest": WRITING | {ADMIN},
    },
    # "Tokens: … read-only token: only GET and HEAD allowed"; without a token every path is 401, unknown ones too.
    "taskhouse.rest.v1.RudderService": {
        **dict.fromkeys(("ListRules", "GetRule", "ListChangeRequests", "GetChangeRequest"), RUDDER_READING),
        **dict.fromkeys(("CreateRule", "UpdateRule", "DeleteRule", "UpdateChangeRequest"), RUDDER_WRITING),
        **dict.fromkeys(("AcceptChangeRequest", "DeclineChangeRequest"), RUDDER_WRITING),
        **dict.fromkeys(("GetInfo", "AnswerOther"), RUDDER_READING),
    },
    # Accounts are their organization's.
    "taskhouse.v1.AccountService": {
        "CreateAccount": WRITING | {ADMIN},
        "DeleteAccount": WRITING | {ADMIN},
        "GetAccount": READING | {ADMIN},
        "ListAccounts": READING | {ADMIN},
    },
    # "The catalogue is the house's": everybody who creates or does tasks reads it.
    "taskhouse.v1.CatalogueService": {
        "ApplyCatalogue": OPERATING,
        "GetCatalogue": READING | OPERATING | WORKING | {ADMIN, TASK_RUNNER},
    },
    # "admin: its organization's credentials (issue, list, revoke, single-user keys)"; an operator everybody's.
    "taskhouse.v1.CredentialService": dict.fromkeys(
        ("CreateKey", "CreateToken", "GetCredential", "ListCredentials", "RevokeCredential"), MANAGING
    ),
    # "admin: … and datasets"; reading tokens see them; counting is for workers, and for tokens that may write;
    # "raising a budget is an operator's act".
    "taskhouse.v1.DatasetService": {
        "CreateDataset": {ADMIN, FULL},
        "GetDataset": READING | {ADMIN},
        "ListDatasets": READING | {ADMIN},
        "Upload": WRITING | {UPLOAD_ANY},  # "upload_any: /bulk_insert, Upload"
        "GetUpload": WRITING | {UPLOAD_ANY},
        "EraseUser": {ADMIN, FULL},
        "CountUsers": WRITING | WORKING,
        "SetBudget": OPERATING,
    },
    # A log tells what people did, and names them: it is for those who manage them.
    "taskhouse.v1.EventService": {"ListEvents": MANAGING, "WatchEvents": MANAGING},
    "taskhouse.v1.OrganizationService": {
        "CreateOrganization": OPERATING,
        "GetOrganization": MANAGING,
        "ListOrganizations": MANAGING,
        "UpdateOrganization": MANAGING,
    },
    "taskhouse.v1.StatService": {
        "DeleteStat": WRITING,
        "GetStat": READING,
        "PurgeStats": {FULL},
        "Query": READING,
        "UpdateStat": WRITING,
        "Write": WRITING,
    },
    # "web_api: /api/task_results": the typed twin shows the same.
    "taskhouse.v1.ResultService": {
        "GetResult": READING | {WEB_API},
        "ListResults": READING | {WEB_API},
        "Stream": WRITING | {TASK_RUNNER},  # Who asks for tasks gets their results.
        "AcknowledgeResults": WRITING | {TASK_RUNNER},
        "Download": WRITING | {TASK_RUNNER},
    },
    # "task_runner: submit, get, cancel, watch pages tasks".
    "taskhouse.v1.TaskService": {
        "BatchCreateTasks": WRITING | {TASK_RUNNER},
        "BatchGetTasks": READING | {TASK_RUNNER},
        "CreateTask": WRITING | {TASK_RUNNER},
        "CancelTask": WRITING | {TASK_RUNNER},
        "GetTask": READING | {TASK_RUNNER},
        "ListTasks": READING | {TASK_RUNNER},
        "WatchTask": READING | {TASK_RUNNER},
    },
    "taskhouse.v1.WorkService": {"Work": WORKING},
}
CALLS = {f"/{service}/{name}": who for service, methods in ALLOWED.items() for name, who in methods.items()}
FOREIGN_AND_PUBLIC = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}
KEYS = {
    UPLOAD_ANY: Role.UPLOAD_ANY, UPLOAD_USER: Role.UPLOAD_USER, ADMIN: Role.ADMIN, TASK_RUNNER: Role.TASK_RUNNER,
    WEB_API: Role.WEB_API, WORKER: Role.WORKER, OPERATOR: Role.OPERATOR,
}  # fmt: skip
TOKENS = {
    READ: ("acme", Role.TOKEN_READ), WRITE: ("acme", Role.TOKEN_WRITE), FULL: ("acme", Role.TOKEN_ADMIN),
    HOUSE_WRITE: ("", Role.TOKEN_WRITE), HOUSE_FULL: ("", Role.TOKEN_ADMIN),
    MONARC_READ: ("acme", Role.MONARC_READ), MONARC_WRITE: ("acme", Role.MONARC_WRITE),
    MONARC_FULL: ("acme", Role.MONARC_ADMIN), MONARC_HOUSE: ("", Role.MONARC_ADMIN),
    RUDDER_READ: ("acme", Role.RUDDER_READ), RUDDER_WRITE: ("acme", Role.RUDDER_WRITE),
    "asapi asstore token": ("acme", Role.ASAPI_STORE), "asapi aschannel token": ("acme", Role.ASAPI_CHANNEL),
}  # fmt: skip
GOOD = [*KEYS, *TOKENS]
HOUSE = Caller("c", Role.OPERATOR, None, "", "")
REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def services():
    """Every service of the contract."""
    for module in pkgutil.walk_packages(taskhouse.__path__, "taskhouse."):
        if module.name.endswith("_pb2"):
            yield from import_module(module.name).DESCRIPTOR.services_by_name.values()


METHODS = {f"/{service.full_name}/{method.name}": method for service in services() for method in service.methods}


def is_aircloak(method) -> bool:
    return "Aircloak" in method


def is_monarc(method) -> bool:
    return "Monarc" in method


def is_rudder(method) -> bool:
    return "Rudder" in method


def is_typed(method) -> bool:
    return not is_aircloak(method) and not is_monarc(method) and not is_rudder(method) and "Asapi" not in method


def certificate(digest):
    return ("x-forwarded-client-cert", f"Hash={digest.hex()}")


def bearer(token):
    return ("authorization", f"Bearer {token}")


async def issue_key(store, kind, expire_time=4_000_000_000_000_000):
    """Register a certificate, as far as the server can see it: by its digest."""
    credential_id = str(uuid7())
    digest = hashlib.sha256(credential_id.encode()).digest()
    wanted = NewKey(
        organization="" if kind in (Role.WORKER, Role.OPERATOR) else "acme",
        kind=kind,
        user_id="u" if kind is Role.UPLOAD_USER else "",
    )
    await store.write(
        credentials.create_key,
        caller=HOUSE,
        wanted=wanted,
        credential_id=credential_id,
        digest=digest,
        expire_time=expire_time,
    )
    return credential_id, digest


async def issue_token(store, organization, kind, *, create=credentials.create_token, valid_seconds=None):
    token = credentials.make_token()
    made = await store.write(
        create,
        caller=HOUSE,
        wanted=NewToken(organization=organization, kind=kind, display_name="n", valid_seconds=valid_seconds),
        digest=credentials.token_digest(token),
    )
    return made.id, token


async def ended(call) -> grpc.StatusCode:
    """Take all that a call answers, and return how it ended."""
    if not isinstance(call, grpc.aio.UnaryUnaryCall):
        with suppress(grpc.aio.AioRpcError):
            async for _ in call:
                pass
    return await call.code()


class Outcome(NamedTuple):
    """How a call ended: for gRPC, and for the callers of a documented API."""

    code: grpc.StatusCode
    documented: str


@pytest_asyncio.fixture
async def house(store):
    """A store with an organization."""
    await store.write(organizations.create, name="acme")
    return store


@pytest_asyncio.fixture
async def outcome(server):
    """Calls a method with an empty request, and returns how that ended."""
    async with grpc.aio.insecure_channel(server.address) as channel:

        async def called(method, *metadata):
            descriptor = METHODS[method]
            if descriptor.client_streaming:
                call = channel.stream_stream(method)(iter(()), metadata=metadata, timeout=30)
            elif descriptor.server_streaming:
                call = channel.unary_stream(method)(b"", metadata=metadata, timeout=30)
            else:
                call = channel.unary_unary(method)(b"", metadata=metadata, timeout=30)
            status = dict(await call.initial_metadata()).get("x-taskhouse-status", "")
            try:  # Refusals come with their headers or right after; a stream that was let in may stay open.
                code = await asyncio.wait_for(ended(call), 1 if descriptor.server_streaming else 30)
            except TimeoutError:
                call.cancel()
                code = grpc.StatusCode.OK
            return Outcome(code, str(status))

        yield called


def test_every_rpc_of_the_contract_is_in_the_table_and_nothing_else():
    assert set(PERMISSIONS) | PUBLIC == set(METHODS) | FOREIGN_AND_PUBLIC
    assert not set(PERMISSIONS) & PUBLIC
    assert set(CALLS) == set(METHODS)


def test_the_public_methods_are_those_for_anybody():
    assert {method for method, who in CALLS.items() if who == {ANYBODY}} == PUBLIC - FOREIGN_AND_PUBLIC


@pytest.mark.parametrize("who", GOOD)
async def test_a_credential_may_do_what_is_its_kind_s_and_nothing_else(house, outcome, who):
    if who in KEYS:
        _, digest = await issue_key(house, KEYS[who])
        presented = certificate(digest)
    else:
        _, token = await issue_token(house, *TOKENS[who])
        presented = ("x-api-key", token) if who in MONARC_READING else bearer(token)
        if who in ASAPI:
            presented = ("authorization", f"Token {token}")
        if who in RUDDER_READING:
            presented = ("x-api-token", token)
    found = {method: await outcome(method, presented) for method in METHODS}
    allowed = {method for method, ended in found.items() if ended.code not in REFUSED}
    assert allowed == {method for method, whose in CALLS.items() if whose & {who, ANYBODY}}
    for method, ended in found.items():
        assert ended.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), method
        if method not in allowed:
            ours = who in MONARC_READING
            refused = "500" if is_rudder(method) else "403"
            known = is_typed(method) and not ours and who not in ASAPI | RUDDER_READING
            known = known or (is_monarc(method) and ours) or (is_rudder(method) and who in RUDDER_READING)
            assert ended.documented == ("" if is_typed(method) else refused if known else "401"), method
            assert is_aircloak(method) or ended.code is (
                grpc.StatusCode.PERMISSION_DENIED if known else grpc.StatusCode.UNAUTHENTICATED
            ), method


async def strangers(store):
    """What is no good credential, or is none to this door, by what it is."""
    revoked_key, key_digest = await issue_key(store, Role.ADMIN)
    revoked_token, old_token = await issue_token(store, "acme", Role.TOKEN_ADMIN)
    for credential_id in (revoked_key, revoked_token):
        await store.write(credentials.revoke, caller=HOUSE, credential_id=credential_id)
    _, expired_key = await issue_key(store, Role.ADMIN, expire_time=1)
    _, expired_token = await issue_token(
        store, "acme", Role.TOKEN_ADMIN, create=create_token_a_day_ago, valid_seconds=3600
    )
    _, good_key = await issue_key(store, Role.ADMIN)
    _, good_token = await issue_token(store, "acme", Role.TOKEN_ADMIN)
    return {
        "nothing": (),
        "revoked key": (certificate(key_digest),),
        "revoked token": (bearer(old_token),),
        "expired key": (certificate(expired_key),),
        "expired token": (bearer(expired_token),),
        "unknown key": (certificate(b"\0" * 32),),
        "unknown token": (bearer("th_unknownunknownunknownunknown0000"),),
        "a token's digest as a certificate's": (certificate(hashlib.sha256(good_token.encode()).digest()),),
        "a certificate's digest as a token": (bearer(good_key.hex()),),
        "a token of another API's form": (("authorization", f"Token {good_token}"),),
        "a token under another API's header": (("x-api-token", good_token), ("x-api-key", good_token)),
    }


async def create_token_a_day_ago(tx, **asked):
    tx.now -= 86_400_000_000
    return await credentials.create_token(tx, **asked)


async def test_a_stranger_may_do_what_anybody_may(house, outcome):
    for name, presented in (await strangers(house)).items():
        for method, who in CALLS.items():
            code, documented = await outcome(method, *presented)
            if who == {ANYBODY}:
                assert code not in REFUSED, (name, method)
            else:
                assert code is grpc.StatusCode.UNAUTHENTICATED, (name, method)
                assert documented == ("" if is_typed(method) else "401"), (name, method)


async def test_two_credentials_at_once_are_none_to_a_typed_door(house, outcome):
    _, digest = await issue_key(house, Role.ADMIN)
    _, token = await issue_token(house, "acme", Role.TOKEN_ADMIN)
    for method in CALLS:
        if CALLS[method] != {ANYBODY} and is_typed(method):
            code, _ = await outcome(method, certificate(digest), bearer(token))
            assert code is grpc.StatusCode.UNAUTHENTICATED, method


async def test_a_key_is_good_at_the_aircloak_door_whatever_token_stands_beside_it(house, outcome):
    _, digest = await issue_key(house, Role.ADMIN)
    method = "/taskhouse.rest.v1.AircloakService/ListKeys"
    code, _ = await outcome(method, certificate(digest), bearer("whatever-this-may-be"))
    assert code is grpc.StatusCode.OK
