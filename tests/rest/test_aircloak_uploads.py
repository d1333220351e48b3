"""`POST /bulk_insert` and `POST /insert`, as the edge hands them to the server."""

import asyncio
import gc
import gzip
import hashlib
import json
import threading
import time
from functools import partial
from types import SimpleNamespace

import grpc
import grpc.aio
import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from server.core import credentials, uploads
from server.core.caller import Role
from server.rest import aircloak_uploads
from server.rest.aircloak_uploads import INLINE_BODY, MAX_BODY, MAX_FAULTS_OF_A_SUCCESS
from server.rpc.refusals import MAX_BODY_BYTES
from taskhouse.rest.v1 import aircloak_pb2 as pb
from taskhouse.rest.v1 import aircloak_pb2_grpc
from tests.core.filled import dataset
from tests.core.scenes import HOUSE, organization

GOOD = {"alice": {"heights": [{"height": 170.5}, {"height": 171}]}, "bob": {"heights": [{"height": 180}]}}
BAD = {"alice": {"heights": [{"height": 1}]}, "bob": {"heights": [{"height": 1}, {"height": "x"}]}}
FAULT = 'heights: height: invalid value ["x"] for type float4'
UNKNOWN_TYPE = {"success": False, "errors": "unknown content type"}
MALFORMED = {"success": False, "errors": "malformed json"}


class Client:
    """Uploads with one key."""

    def __init__(self, channel, path: str, digest: bytes) -> None:
        stub = aircloak_pb2_grpc.AircloakServiceStub(channel)
        self.path = path
        self._call, self._request = {
            "/bulk_insert": (stub.BulkInsert, pb.BulkInsertRequest),
            "/insert": (stub.Insert, pb.InsertRequest),
        }[path]
        self._certificate = ("x-forwarded-client-cert", f"Hash={digest.hex()}")

    async def raw(self, body: bytes, content_type: str = "application/json", **headers: str) -> tuple[int, object]:
        """Return status and body, as the edge makes them of the answer."""
        metadata = [self._certificate, ("x-envoy-original-path", self.path)]
        metadata += [(name if name == "validation_mode" else name.replace("_", "-"), v) for name, v in headers.items()]
        call = self._call(
            self._request(http_body=httpbody_pb2.HttpBody(content_type=content_type, data=body)), metadata=metadata
        )
        told = dict(await call.initial_metadata())
        status = int(told.get("x-taskhouse-status", 200))
        if "x-taskhouse-body" in told:
            assert await call.code() is not grpc.StatusCode.OK
            assert len(told["x-taskhouse-body"]) <= MAX_BODY_BYTES
            return status, json.loads(told["x-taskhouse-body"])
        answer = await call
        assert answer.content_type == "application/json"
        return status, orjson.loads(answer.data)

    async def __call__(self, given: object, **headers: str) -> tuple[int, object]:
        return await self.raw(orjson.dumps(given), **headers)


async def key(store, kind: Role, user_id: str = "") -> bytes:
    digest = hashlib.sha256(kind.encode()).digest()
    wanted = credentials.NewKey(organization="acme", kind=kind, user_id=user_id)
    later = time.time_ns() // 1000 + 10**12
    await store.write(
        credentials.create_key, caller=HOUSE, wanted=wanted, credential_id=kind.value, digest=digest, expire_time=later
    )
    return digest


@pytest_asyncio.fixture
async def acme(store):
    caller = await organization(store)
    await dataset(store, caller)
    return caller


@pytest_asyncio.fixture
async def channel(server):
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.address, options=options) as channel:
        yield channel


@pytest_asyncio.fixture
async def bulk(store, channel, acme):
    return Client(channel, "/bulk_insert", await key(store, Role.UPLOAD_ANY))


@pytest_asyncio.fixture
async def single(store, channel, acme):
    return Client(channel, "/insert", await key(store, Role.UPLOAD_USER, "carol"))


@pytest.fixture
def stored(rows):
    return partial(rows, "SELECT user_id, data FROM dataset_rows ORDER BY id")


async def test_rows_of_many_users_are_stored(bulk, stored):
    assert await bulk(GOOD) == (200, {"success": True})
    assert await stored() == [("alice", "[170.5]"), ("alice", "[171]"), ("bob", "[180]")]


async def test_rows_of_the_key_s_own_user_are_stored(single, stored):
    assert await single({"heights": [{"height": 170.5}]}) == (200, {"success": True})
    assert await stored() == [("carol", "[170.5]")]


@pytest.mark.parametrize("given", [{}, {"alice": {}}, {"alice": {"heights": []}}])
async def test_an_upload_of_nothing_succeeds(bulk, stored, given):
    assert await bulk(given) == (200, {"success": True})
    assert await stored() == []


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_may_be_named_or_not(bulk, content_type):
    assert await bulk.raw(orjson.dumps(GOOD), content_type) == (200, {"success": True})


@pytest.mark.parametrize(
    "content_type",
    ["text/csv", "application/msgpack", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ";"],
)
async def test_other_types_are_refused(bulk, stored, content_type):
    expected = (200, {"success": True}) if content_type == ";" else (422, UNKNOWN_TYPE)
    assert await bulk.raw(orjson.dumps(GOOD), content_type) == expected
    assert bool(await stored()) is (content_type == ";")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"a":NaN}', b'{"a":1e400}', b"\xff{}", b'{"\xff":{}}', b'{"a":"\\ud800"}', b"{} {}", b"[" * 2000,
     b"\xef\xbb\xbf{}"],
)  # fmt: skip
async def test_what_is_not_json_is_refused(bulk, body):
    assert await bulk.raw(body) == (422, MALFORMED)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"'])
async def test_json_of_another_shape_is_refused(bulk, single, body):
    assert await bulk.raw(body) == (422, {"success": False, "errors": "not an object of users"})
    assert await single.raw(body) == (422, {"success": False, "errors": "not an object of tables"})


async def test_one_bad_row_refuses_all_when_strict(bulk, stored):
    for headers in ({}, {"validation_mode": "strict"}):
        assert await bulk(BAD, **headers) == (422, {"success": False, "errors": {"bob": [FAULT]}})
    assert await stored() == []


async def test_good_users_are_stored_when_permissive(bulk, stored):
    answer = await bulk(BAD, validation_mode="permissive")
    assert answer == (202, {"success": False, "errors": {"bob": [FAULT]}})
    assert await stored() == [("alice", "[1]")]


async def test_good_rows_of_a_single_user_are_stored_when_permissive(single, stored):
    assert await single(BAD["bob"]) == (422, {"success": False, "errors": {"carol": [FAULT]}})
    answer = await single(BAD["bob"], validation_mode="permissive")
    assert answer == (202, {"success": False, "errors": {"carol": [FAULT]}})
    assert await stored() == [("carol", "[1]")]


async def test_an_upload_of_which_nothing_is_good_is_refused_even_when_permissive(bulk, stored):
    bad = {"bob": BAD["bob"]}
    assert await bulk(bad, validation_mode="permissive") == (422, {"success": False, "errors": {"bob": [FAULT]}})


async def test_other_validation_modes_are_refused(bulk, stored):
    refusal = {"success": False, "errors": "unsupported validation_mode header value"}
    assert await bulk(GOOD, validation_mode="lax") == (422, refusal)
    assert await stored() == []


async def test_gzip_is_inflated(bulk, stored):
    assert await bulk.raw(gzip.compress(orjson.dumps(GOOD)), content_encoding="GZIP") == (200, {"success": True})
    assert len(await stored()) == 3


@pytest.mark.parametrize("encoding", ["deflate", "br", "gzip, gzip", "x"])
async def test_other_encodings_are_refused(bulk, encoding):
    refusal = {"success": False, "errors": "unsupported content encoding"}
    assert await bulk.raw(orjson.dumps(GOOD), content_encoding=encoding) == (415, refusal)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:-8], lambda b: b + b"x", lambda b: b + b, lambda b: b[1:], lambda b: b""]
)
async def test_broken_gzip_is_refused(bulk, stored, damage):
    body = damage(gzip.compress(orjson.dumps(GOOD)))
    assert await bulk.raw(body, content_encoding="gzip") == (422, {"success": False, "errors": "malformed gzip"})
    assert await stored() == []


async def test_more_than_ten_mebibytes_are_refused_as_sent_and_as_inflated(bulk, stored):
    refusal = (413, {"success": False, "errors": "payload too large: more than 10485760 bytes"})
    body = orjson.dumps(GOOD)
    assert await bulk.raw(body + b" " * (MAX_BODY + 1 - len(body))) == refusal
    assert await bulk.raw(gzip.compress(bytes(100 * 1024 * 1024)), content_encoding="gzip") == refusal
    assert await stored() == []
    assert await bulk.raw(body + b" " * (MAX_BODY - len(body))) == (200, {"success": True})


async def test_a_message_that_no_edge_lets_in_is_not_read(bulk):
    call = bulk._call(bulk._request(http_body=httpbody_pb2.HttpBody(data=bytes(MAX_BODY + 2 * 1024 * 1024))))
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in await call.details()


async def test_a_large_upload_is_stored_and_leaves_the_garbage_collector_on(bulk, stored):
    many = {f"user:{number}": {"heights": [{"height": number}]} for number in range(20_000)}
    answers = await asyncio.gather(bulk(many), bulk({**many, "bad": 1}), bulk(GOOD))
    assert [status for status, _ in answers] == [200, 422, 200]
    assert len(await stored()) == 20_003
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b" " * INLINE_BODY + b"{}", {}, 200),
        (b" " * INLINE_BODY + b"{", {}, 422),
        (b" " * INLINE_BODY + b"{}", {"content_type": "text/csv"}, 422),
        (b" " * INLINE_BODY + b"{}", {"validation_mode": "lax"}, 422),
        (b" " * INLINE_BODY + b"{}", {"content_encoding": "gzip"}, 422),
        (gzip.compress(b" " * INLINE_BODY + b"{", mtime=0), {"content_encoding": "gzip"}, 422),
        (gzip.compress(bytes(MAX_BODY + 1), mtime=0), {"content_encoding": "gzip"}, 413),
        (bytes(MAX_BODY + 1), {}, 413),
    ],
)
async def test_the_memory_of_a_large_upload_is_given_back_however_it_is_answered(
    bulk, monkeypatch, body, headers, status
):
    given_back = asyncio.Event()
    monkeypatch.setattr(aircloak_uploads, "IDLE_SECONDS", 0)
    monkeypatch.setattr(
        aircloak_uploads._large_uploads, "_libc", SimpleNamespace(malloc_trim=lambda _: given_back.set())
    )
    answered, _ = await bulk.raw(body, **headers)
    assert answered == status
    await asyncio.wait_for(given_back.wait(), 10)


@pytest.mark.parametrize("mode", ["strict", "permissive"])
async def test_large_uploads_are_worked_on_beside_the_event_loop(bulk, monkeypatch, mode):
    threads = {}

    def noted(name, work):
        def note(*args, **kwargs):
            threads[name] = threading.current_thread()
            return work(*args, **kwargs)

        return note

    for owner, name in (
        (aircloak_uploads, "body_of"), (aircloak_uploads, "_check"), (uploads, "names_in"), (uploads.Faults, "listing"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, noted(name, getattr(owner, name)))
    many = {f"user:{number}": {"heights": [{"height": number}]} for number in range(5000)}
    body = gzip.compress(orjson.dumps({**many, "bad": 1}))
    status, _ = await bulk.raw(body, content_encoding="gzip", validation_mode=mode)
    assert status == {"strict": 422, "permissive": 202}[mode]
    assert threads.keys() == {"body_of", "_check", "names_in", "listing"}
    assert threading.current_thread() not in threads.values()


@pytest.mark.parametrize("mode", ["strict", "permissive"])
async def test_endless_faults_are_cut_to_what_an_answer_holds(bulk, mode):
    bad = {f"bäd-{number}": {"heights": [{"hëight": "x" * 100}] * 3} for number in range(5000)}
    status, body = await bulk({"good": {"heights": [{"height": 1}]}, **bad}, validation_mode=mode)
    assert status == {"strict": 422, "permissive": 202}[mode]
    assert body["success"] is False
    assert body["more"].startswith("not listed: at least ")
    assert body["errors"].keys() <= bad.keys()
    assert len(orjson.dumps(body)) <= MAX_FAULTS_OF_A_SUCCESS


async def test_all_faults_are_told_of_users_whose_names_are_empty_or_begin_alike(bulk):
    bad = {"": {}} | {"x" * 200 + end: {"heights": [{"height": "x"}]} for end in "ab"}
    texts = {user: [FAULT] for user in bad} | {"": ["a user's name must be 1 to 255 characters"]}
    assert await bulk(bad) == (422, {"success": False, "errors": texts})


async def test_values_nested_too_deep_beside_good_users_are_refused(bulk, stored):
    body = b'{"good":{"heights":[{"height":1}]},"bad":{"heights":[{"height":%b}]}}' % (b"[" * 1000 + b"]" * 1000)
    assert await bulk.raw(body, validation_mode="permissive") == (422, MALFORMED)
    assert await stored() == []


@pytest.mark.parametrize("mode", ["strict", "permissive"])
async def test_a_user_who_stands_twice_is_refused_instead_of_half_lost(bulk, stored, mode):
    row = b'{"heights":[{"height":1}]}'
    body = b'{"a:b":%b,"carol":%b,"carol":%b}' % (row, row, row)
    refusal = {"success": False, "errors": 'the key "carol" stands twice in one object'}
    assert await bulk.raw(body, validation_mode=mode) == (422, refusal)
    assert await stored() == []


async def test_an_escaped_colon_hides_no_repetition(bulk, store, acme, stored):
    await dataset(store, acme, "wide", d="double", t="text")
    body = b'{"good":{"wide":[{"d":1,"t":"a\\u003ab","d":2}]}}'
    assert await bulk.raw(body) == (422, {"success": False, "errors": 'the key "d" stands twice in one object'})
    assert await stored() == []


async def test_colons_in_names_and_escapes_are_no_repetition(bulk, single, stored):
    assert await bulk.raw(b'{"a\\u003a:b":{"heights":[{"height":1}]}}') == (200, {"success": True})
    assert await single.raw(b'{"heights":[{"height":1}]}') == (200, {"success": True})
    assert len(await stored()) == 2


async def test_keys_of_other_kinds_are_not_authenticated(store, channel, acme, stored):
    single = await key(store, Role.UPLOAD_USER, "carol")
    status, body = await Client(channel, "/bulk_insert", single)(GOOD)
    assert (status, body["success"]) == (401, False)
    status, body = await Client(channel, "/insert", b"?" * 32)({})
    assert (status, body["success"]) == (401, False)
    assert await stored() == []


async def test_a_native_call_is_not_served(store, channel, acme):
    digest = await key(store, Role.UPLOAD_ANY)
    stub = aircloak_pb2_grpc.AircloakServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.BulkInsert(pb.BulkInsertRequest(), metadata=(("x-forwarded-client-cert", f"Hash={digest.hex()}"),))
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
