"""The aircloak API's servicer, spoken to as the edge speaks to it."""

import asyncio
import hashlib
import json
import threading

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.api import httpbody_pb2
from sqlalchemy import bindparam, update

from server.core import credentials, errors, organizations, retention, tasks
from server.core.caller import Caller, Role
from server.core.credentials import NewKey, NewToken
from server.rest.aircloak import STATUSES
from server.services.door import STATUSES as TYPED_STATUSES
from server.store.engine import Command
from server.store.tasks import TASKS
from server.worker.houses import SocketHouse
from server.worker.kit import Result, Task, Worker
from server.worker.session import Session
from taskhouse.rest.v1 import aircloak_pb2 as pb
from taskhouse.rest.v1 import aircloak_pb2_grpc
from tests.core import scenes
from tests.core.scenes import HOUSE

PATIENCE_SECONDS = 20
MISSING = (401, {"success": False, "error": "Missing authentication key."})
STRANGER = (401, {"success": False, "error": "Not authenticated."})
NO_TASK = (422, {"success": False, "error": "Task not found."})
worker = Worker(service="icloud")
_SET_REMOVED = Command(
    update(TASKS).where(TASKS.c.id == bindparam("task_id")).values(removed_count=bindparam("removed"))
)


@worker.action("publish")
def publish(task: Task):
    for number in range(1, int(task.parameters["count"]) + 1):
        yield Result.histogram([("height", "140", number), ("all", None, 5), ("blank", " ", 10)], [("oops", 15)])


async def key(store, organization: str, kind: Role, digest: bytes) -> credentials.Credential:
    """Register the digest of a certificate."""
    wanted = NewKey(organization=organization, kind=kind, user_id="u" if kind is Role.UPLOAD_USER else "")
    made = {"credential_id": digest.hex()[:8], "digest": digest, "expire_time": 2**60}
    return await store.write(credentials.create_key, caller=HOUSE, wanted=wanted, **made)


class Edge:
    """Calls as they come through the edge, with a certificate or without."""

    def __init__(self, channel, digest: bytes | None, *more: tuple[str, str]) -> None:
        self._stub = aircloak_pb2_grpc.AircloakServiceStub(channel)
        certificate = (("x-forwarded-client-cert", f'Hash={digest.hex()};Subject="CN=x"'),) if digest else ()
        self._metadata = (*certificate, *more)

    async def get(self, task_id: str, *more: tuple[str, str], **query):
        """Return the status, the headers, and the page or the refusal's body."""
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        path = ("x-envoy-original-path", f"/api/task_results/{task_id}" + (f"?{asked}" if asked else ""))
        call = self._stub.GetTaskResults(
            pb.GetTaskResultsRequest(task_id=task_id, **query), metadata=(*self._metadata, path, *more)
        )
        return await self._answer(call)

    async def keys(self):
        return await self._answer(
            self._stub.ListKeys(pb.ListKeysRequest(), metadata=(*self._metadata, ("x-envoy-original-path", "/keys")))
        )

    async def other(self, method: str, path: str):
        metadata = (("x-envoy-original-path", path), ("x-envoy-original-method", method))
        _, _, rest = path.partition("/keys/") if path.startswith("/keys/") else path.partition("/task_results/")
        request = pb.AnswerOtherRequest(rest=rest)
        return await self._answer(self._stub.AnswerOther(request, metadata=(*self._metadata, *metadata)))

    async def _answer(self, call):
        headers = dict(await call.initial_metadata())
        try:
            body = await call
        except grpc.aio.AioRpcError:
            body = json.loads(headers["x-taskhouse-body"])
            return int(headers["x-taskhouse-status"]), headers, body
        return int(headers.get("x-taskhouse-status", 200)), headers, body


@pytest_asyncio.fixture
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


@pytest_asyncio.fixture
async def caller(store) -> Caller:
    return await scenes.organization(store)


@pytest_asyncio.fixture
async def edge(channel, store, caller) -> Edge:
    digest = hashlib.sha256(b"web").digest()
    await key(store, "acme", Role.WEB_API, digest)
    return Edge(channel, digest)


@pytest_asyncio.fixture
async def publish_results(server, store, caller):
    """Returns what has a real worker publish some results for a new task, and returns the task's id."""
    token = credentials.make_token()
    wanted = NewToken(organization="", kind=Role.TOKEN_WRITE)
    digest = credentials.token_digest(token)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
    session = Session([worker], SocketHouse(lambda: [server.address.removeprefix("unix:")], token), capacity=2)
    thread = threading.Thread(target=session.run, daemon=True)
    thread.start()

    async def published(count: int) -> str:
        asked = {"service": "icloud", "action": "publish", "parameters": {"count": str(count)}}
        created = await scenes.task(store, caller, **asked)
        async with asyncio.timeout(PATIENCE_SECONDS):
            generation = 0
            while not (await store.read(tasks.get, caller=caller, task_id=created.id)).state.is_over:
                generation = await store.changed(generation)
        return created.id

    yield published
    session.stop(PATIENCE_SECONDS)
    await asyncio.to_thread(thread.join, PATIENCE_SECONDS)


async def test_thirty_results_of_a_task_come_in_three_pages_newest_first(edge, publish_results):
    task_id = await publish_results(30)
    found = []
    for page in (1, 2, 3):
        status, _, body = await edge.get(task_id, page=page)
        assert (status, body.success, body.count, body.page, body.per_page) == (200, True, 30, page, 10)
        found += [item.buckets[0].value for item in body.items]
    assert found == list(range(30, 0, -1))
    _, _, first = await edge.get(task_id)
    assert (first.page, len(first.items)) == (1, 10)
    _, _, past = await edge.get(task_id, page=4)
    assert (past.count, list(past.items)) == (30, [])
    _, _, all_ = await edge.get(task_id, per_page=10_000)
    assert len(all_.items) == 30


async def test_a_result_is_written_as_documented(edge, publish_results):
    _, _, body = await edge.get(await publish_results(1))
    [item] = body.items
    assert item.published_at > 1_700_000_000_000
    assert item.published_at.is_integer()
    assert [(bucket.name, bucket.value) for bucket in item.buckets] == [("height: 140", 1), ("all", 5), ("blank", 10)]
    assert [(exception.error, exception.count) for exception in item.exceptions] == [("oops", 15)]


async def test_a_json_suffix_is_accepted(edge, publish_results):
    task_id = await publish_results(1)
    status, _, body = await edge.get(f"{task_id}.json")
    assert (status, body.count) == (200, 1)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"page": 0}, "page: "),
        ({"page": -1}, "page: "),
        ({"per_page": 0}, "per_page: "),
        ({"per_page": 10_001}, "per_page: "),
        ({"page": 0, "per_page": -1}, "page: "),
    ],
)
async def test_a_page_out_of_range_is_unprocessable_and_named(edge, query, named):
    status, _, body = await edge.get("1", **query)
    assert status == 422
    assert body["success"] is False
    assert body["error"].startswith(named)


async def test_unknown_and_foreign_tasks_are_not_found(edge, store):
    other = await scenes.organization(store, "other")
    foreign = await scenes.task(store, other)
    for task_id in ("1", foreign.id, "x.json", "x"):
        status, _, body = await edge.get(task_id)
        assert (status, body) == NO_TASK


async def test_a_page_that_the_client_has_is_not_sent_again(edge, publish_results):
    task_id = await publish_results(2)
    _, headers, _ = await edge.get(task_id, ("if-none-match", "*"))  # A 200 has its tag where gRPC clients do not look.
    tag = headers["etag"]
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        status, again, body = await edge.get(task_id, ("if-none-match", known))
        assert (status, again["etag"], body) == (304, tag, pb.GetTaskResultsResponse())
    status, _, body = await edge.get(task_id, ("if-none-match", tag), page=2)
    assert (status, body.page) == (200, 2)


async def test_a_new_result_changes_the_tag(edge, store, caller):
    created = await scenes.task(store, caller)
    _, before, _ = await edge.get(created.id, ("if-none-match", "*"))
    by_hand = await scenes.Worker.seated(store)
    [lease] = await by_hand.lease()
    await by_hand.publish(lease, 1, 5)
    status, _, body = await edge.get(created.id, ("if-none-match", before["etag"]))
    assert (status, body.count) == (200, 1)


async def test_a_page_follows_the_results_that_are_swept(edge, store, publish_results):
    task_id = await publish_results(12)
    asked = ("if-none-match", "*")
    _, first, _ = await edge.get(task_id, asked)
    for page in (1, 2):  # Which are kept from now on.
        await edge.get(task_id, page=page)
    sweep = retention.Sweep("me", 2**60, 0)
    await store.write_guarded(retention.claim, holder="me", policy=retention.Policy(), period=0)
    await store.write_guarded(retention.sweep, sweep=sweep, period=0, most=5)
    status, _, body = await edge.get(task_id, ("if-none-match", first["etag"]))
    assert (status, body.count, len(body.items)) == (200, 7, 7)
    assert [item.buckets[0].value for item in body.items] == [12, 11, 10, 9, 8, 7, 6]
    _, _, second = await edge.get(task_id, page=2)
    assert (second.count, list(second.items)) == (7, [])


async def test_a_tag_is_not_used_again_when_as_many_results_come_as_went(edge, store, caller):
    created = await scenes.task(store, caller)
    by_hand = await scenes.Worker.seated(store)
    [lease] = await by_hand.lease()
    asked = ("if-none-match", "*")
    tags = []
    for removed, number in ((0, 1), (1, 2)):
        await store.write(_set_removed, created.id, removed)
        await by_hand.publish(lease, number, 5)
        tags.append((await edge.get(created.id, asked))[1]["etag"])
        _, _, body = await edge.get(created.id)
        assert body.count == 1
    assert tags[0] != tags[1]


async def _set_removed(tx, task_id: str, removed: int) -> None:
    await tx.run(_SET_REMOVED, task_id=task_id, removed=removed)


async def test_only_a_certificate_counts(channel, store, caller):
    token = credentials.make_token()
    wanted = NewToken(organization="acme", kind=Role.TOKEN_ADMIN)
    digest = credentials.token_digest(token)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
    bearer = ("authorization", f"Bearer {token}")
    status, _, body = await Edge(channel, None, bearer).get("1")
    assert (status, body) == MISSING
    status, _, body = await Edge(channel, None).get("1")
    assert (status, body) == MISSING
    status, _, body = await Edge(channel, digest).get("1")  # A token's digest is no certificate's.
    assert (status, body) == STRANGER


async def test_a_token_beside_a_good_certificate_is_ignored(channel, edge, store, caller):
    created = await scenes.task(store, caller)
    status, _, _ = await edge.get(created.id, ("authorization", "Bearer nonsense"))
    assert status == 200


@pytest.mark.parametrize("kind", [Role.UPLOAD_ANY, Role.UPLOAD_USER, Role.ADMIN, Role.TASK_RUNNER])
async def test_a_key_of_the_wrong_kind_is_as_good_as_none(channel, store, caller, kind):
    digest = hashlib.sha256(b"wrong").digest()
    await key(store, "acme", kind, digest)
    status, _, body = await Edge(channel, digest).get("1")
    assert (status, body) == STRANGER


async def test_unknown_and_revoked_keys_are_told_alike(channel, store, caller):
    digest = hashlib.sha256(b"revoked").digest()
    made = await key(store, "acme", Role.WEB_API, digest)
    await store.write(credentials.revoke, caller=HOUSE, credential_id=made.id)
    for one in (digest, hashlib.sha256(b"unknown").digest()):
        status, _, body = await Edge(channel, one).get("1")
        assert (status, body) == STRANGER


async def test_keys_lists_the_organization_s_keys_live_ones_first(channel, edge, store):
    await store.write(organizations.create, name="other")
    await key(store, "other", Role.WEB_API, hashlib.sha256(b"foreign").digest())
    gone = await key(store, "acme", Role.UPLOAD_USER, hashlib.sha256(b"gone").digest())
    await store.write(credentials.revoke, caller=HOUSE, credential_id=gone.id)
    status, _, body = await edge.keys()
    assert (status, body.success) == (200, True)
    assert [one.kind for one in body.keys] == ["web_api", "upload_user"]
    live, revoked = body.keys
    assert not live.HasField("revoked_at")
    assert revoked.user == "u"
    assert revoked.revoked_at >= revoked.created_at > 1_700_000_000_000


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/api/task_results/1", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/keys", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/keys/", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/bulk_insert", 405, "POST, OPTIONS"),
        ("HEAD", "/insert/?x=1", 405, "POST, OPTIONS"),
        ("OPTIONS", "/api/task_results/1", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/insert", 204, "POST, OPTIONS"),
        ("GET", "/api/task_results", 404, None),
        ("GET", "/api/task_results/1/2", 404, None),
        ("OPTIONS", "/keys/1", 404, None),
        ("PUT", "/keys/1", 404, None),
    ],
)
async def test_what_no_path_answers_is_answered_in_the_api_s_shape(channel, method, path, status, allow):
    found, headers, body = await Edge(channel, None).other(method, path)
    assert (found, headers.get("allow")) == (status, allow)
    if status == 204:
        assert body == httpbody_pb2.HttpBody()
    else:
        text = {404: "Not found.", 405: "Method not allowed."}[status]
        assert body == {"success": False, "error": text}


async def test_stubs_may_call_what_is_typed_and_nothing_else(channel, edge, store, caller):
    created = await scenes.task(store, caller)
    stub = aircloak_pb2_grpc.AircloakServiceStub(channel)
    certificate = (("x-forwarded-client-cert", f"Hash={hashlib.sha256(b'web').hexdigest()}"),)
    call = stub.GetTaskResults(pb.GetTaskResultsRequest(task_id=created.id), metadata=certificate)
    assert (await call).success
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.GetTaskResults(pb.GetTaskResultsRequest(task_id="1"), metadata=certificate)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    digest = hashlib.sha256(b"upload").digest()
    await key(store, "acme", Role.UPLOAD_ANY, digest)
    upload = (("x-forwarded-client-cert", f"Hash={digest.hex()}"),)
    for call in (
        stub.AnswerOther(pb.AnswerOtherRequest()),
        stub.BulkInsert(pb.BulkInsertRequest(), metadata=upload),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_undecodable_requests_are_unprocessable(channel, edge):
    call = channel.unary_unary("/taskhouse.rest.v1.AircloakService/GetTaskResults")(
        b"\x0a\x01\xff", metadata=edge._metadata
    )
    headers = dict(await call.initial_metadata())
    assert headers["x-taskhouse-status"] == "422"


async def test_a_path_that_a_query_contradicts_is_unprocessable(channel, edge, store, caller):
    created = await scenes.task(store, caller)
    path = ("x-envoy-original-path", f"/api/task_results/1?task_id={created.id}")
    call = edge._stub.GetTaskResults(pb.GetTaskResultsRequest(task_id=created.id), metadata=(*edge._metadata, path))
    assert dict(await call.initial_metadata())["x-taskhouse-status"] == "422"


def test_the_table_agrees_with_the_typed_one_about_codes():
    for kind, told in STATUSES.items():
        assert told.code is TYPED_STATUSES[kind][0]
    assert {errors.TaskNotFound, errors.CredentialMissing, errors.InvalidFields} <= set(STATUSES)
