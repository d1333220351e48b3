"""What the monarc API says no to, and how."""

import json

import grpc
import grpc.aio
import pytest

from server.core import errors
from server.core.caller import Role
from server.rest.monarc_door import STATUSES
from server.services.door import STATUSES as TYPED_STATUSES
from taskhouse.rest.v1 import monarc_pb2 as pb
from taskhouse.rest.v1 import monarc_pb2_grpc
from tests.rest.monarc.edge import RISK, Edge, token_of


async def test_all_bad_fields_are_told_together_and_nothing_is_stored(edge):
    body = {
        "type": 5,
        "anr": "x",
        "day": "x",
        "week": [],
        "month": 2**64,
        "data": None,
        "created_at": "garbage",
        "uuid": 3,
    }
    answer = await edge("POST", "/api/v2/stats/", body)
    assert answer.status == 400
    assert answer.text == json.dumps(answer.body)
    assert answer.body == {
        "field-errors": {
            "uuid": "Could not convert to UUID: badly formed hexadecimal UUID string",
            "anr": "Could not convert to UUID: badly formed hexadecimal UUID string",
            "type": "StringField only accepts string values",
            "day": "x could not be converted to int",
            "week": "[] could not be converted to int",
            "month": "Integer value does not fit into 64 bits",
            "data": "Field is required",
            "created_at": 'cannot parse date "garbage"',
        }
    }
    assert (await edge("POST", "/api/v2/stats/", {})).body["field-errors"] == dict.fromkeys(
        ("anr", "type", "day", "week", "month", "data"), "Field is required"
    )
    assert (await edge("POST", "/api/v2/stats/", RISK | {"type": "x" * 121})).body == {
        "field-errors": {"type": "String value is too long"}
    }
    assert (await edge("GET", "/api/v2/stats/")).body["data"] == []


INVALID = "The request contains invalid JSON."


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"{", None, INVALID),
        (b"", None, INVALID),
        (b'{"data": NaN}', None, INVALID),
        (b'{"type": "\xff"}', None, INVALID),
        (b'{"a": 1, "a": 2}', None, "The request contains invalid JSON: a member of an object stands twice."),
        (b"[" * 200, None, "The request contains invalid JSON: it is nested deeper than 100 levels."),
        (b'"x"', None, "JSON data must be a dict."),
        (b"a=1", "application/x-www-form-urlencoded",
         "Please send valid JSON with a 'Content-Type: application/json' header."),
        (b"{}", "text/plain", "Please send valid JSON with a 'Content-Type: application/json' header."),
    ],
)  # fmt: skip
async def test_bodies_that_are_no_stat_are_refused_in_the_documented_words(edge, body, kind, told):
    answer = await edge("POST", "/api/v2/stats/", body, kind=kind)
    assert (answer.status, answer.body) == (400, {"error": told})
    assert (await edge("GET", "/api/v2/stats/")).body["data"] == []


@pytest.mark.parametrize("kind", ["", "application/vnd.api+json", "application/json; charset=utf-8"])
async def test_content_types_that_say_json_or_nothing_are_read(edge, kind):
    assert (await edge("POST", "/api/v2/stats/", RISK, kind=kind)).status == 200


async def test_bodies_in_chunks_encoded_or_too_large_are_refused(edge):
    chunked = await edge("POST", "/api/v2/stats/", RISK, ("x-taskhouse-chunked", "chunked"))
    assert (chunked.status, chunked.body) == (400, {"error": "Chunked Transfer-Encoding is not supported."})
    assert (await edge("POST", "/api/v2/stats/", RISK, ("content-encoding", "br"))).status == 415
    assert (await edge("POST", "/api/v2/stats/", RISK, ("content-encoding", "gzip"))).body == {"error": INVALID}
    assert (await edge("POST", "/api/v2/stats/", b" " * (1024 * 1024 + 1))).status == 413
    whole = json.dumps(RISK | {"data": "x" * 500_000}).encode()
    assert (await edge("POST", "/api/v2/stats/", whole)).status == 200


@pytest.mark.parametrize("token", ["", "BAD-TOKEN"])
async def test_a_stranger_is_told_in_25_bytes_before_anything_is_read(channel, house, token):
    stranger = Edge(channel, token)
    for method, path in (("GET", "/api/v2/stats/"), ("POST", "/api/v2/stats/"), ("GET", "/api/v2/organizations/"),
                         ("GET", "/api/v2/stats/x/"), ("POST", "/api/v2/organizations/")):  # fmt: skip
        answer = await stranger(method, path, b"{")
        assert (answer.status, answer.text) == (401, '{"error": "Unauthorized"}')
        assert answer.headers["vary"] == "Accept"


async def test_a_reading_token_writes_nothing(channel, house):
    reader = Edge(channel, await token_of(house, "CASES", Role.MONARC_READ))
    assert (await reader("GET", "/api/v2/stats/")).status == 200
    for method, path in (("POST", "/api/v2/stats/"), ("DELETE", f"/api/v2/stats/{'0' * 24}/")):
        assert (await reader(method, path, RISK)).status == 403


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("GET", "/api/v2/stats", "/api/v2/stats/"),
        ("POST", "/api/v2/stats?_fields=id", "/api/v2/stats/?_fields=id"),
        ("GET", "//api/v2/organizations", "/api/v2/organizations/"),
        ("GET", "/api/v2/stats/5eb9ca210381f6f321022ae6", "/api/v2/stats/5eb9ca210381f6f321022ae6/"),
    ],
)
async def test_a_path_without_its_slash_is_sent_there_whoever_asks(edge, channel, method, path, location):
    for one in (edge, Edge(channel, "")):
        answer = await one(method, path, RISK)
        assert (answer.status, answer.headers["location"]) == (308, location)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("OPTIONS", "/api/v2/stats/", 200, "GET, HEAD, OPTIONS, POST, DELETE"),
        ("OPTIONS", "/api/v2/organizations/", 200, "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/api/v2/stats/", 405, "GET, HEAD, OPTIONS, POST, DELETE"),
        ("TRACE", "/api/v2/stats/x/", 405, "GET, HEAD, OPTIONS, PUT, PATCH, DELETE"),
        ("DELETE", "/api/v2/organizations/x/", 405, "GET, HEAD, OPTIONS"),
        ("POST", "/api/v2/stats/x/", 404, None),
        ("POST", "/api/v2/organizations/x/", 404, None),
        ("GET", "/api/v2/nothing/", 404, None),
        ("GET", "/api/v2/stats/x/y/", 404, None),
        ("GET", "/api/v1/stats/", 404, None),
    ],
)
async def test_other_methods_and_paths_are_told_as_documented(channel, house, method, path, status, allow):
    answer = await Edge(channel, "")(method, path)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
    assert answer.text == "" if status == 200 else set(answer.body) == {"error"}


def test_every_refusal_that_can_be_met_here_is_told():
    """What is in no table is told as a fault of the house; that must not happen to what a caller can cause."""
    met = {
        errors.StatNotFound,
        errors.StatExists,
        errors.OrganizationExists,
        errors.CredentialTaken,
        errors.InvalidFields,
    }
    assert met <= STATUSES.keys()
    assert STATUSES.keys() <= TYPED_STATUSES.keys() | {errors.CredentialTaken}


async def test_native_calls_are_not_served(server, house):
    token = await token_of(house, "CASES", Role.MONARC_WRITE)
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await monarc_pb2_grpc.MonarcServiceStub(channel).ListStats(
                pb.ListStatsRequest(), metadata=(("x-api-key", token),)
            )
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
