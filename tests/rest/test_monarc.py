"""The monarc API's servicer, spoken to as the edge speaks to it."""

import json
import re
from collections.abc import Callable
from threading import current_thread, main_thread
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from server.core import credentials, errors, organizations
from server.core.caller import Role
from server.identity.authority import Authority
from server.rest import monarc
from server.rest.monarc_door import STATUSES
from server.rest.origins import AUTHORITY
from server.services.door import STATUSES as TYPED_STATUSES
from server.wiring import build_server
from taskhouse.rest.v1 import aircloak_pb2, monarc_pb2_grpc
from taskhouse.rest.v1 import monarc_pb2 as pb
from tests.core.scenes import HOUSE

RISK = {"type": "risk", "anr": 2, "data": {"what": "you want", "super": "cool"}, "day": 1, "week": 1, "month": 1}
UUID = "76a3999f-ab22-4008-a540-f68082f44cb2"
KEYS = ["uuid", "organization", "anr", "type", "day", "week", "month", "data", "created_at", "updated_at", "id"]


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Edge:
    """Calls as they come through the edge."""

    def __init__(self, channel, token: str) -> None:
        self._stub = monarc_pb2_grpc.MonarcServiceStub(channel)
        self._token = token

    async def __call__(self, method: str, path: str, body: Any = None, *more: tuple[str, str], kind: str | None = None):
        plain = re.sub("/+", "/", path.partition("?")[0]).rstrip("/").split("/")
        item = plain[-1]
        rest = plain[4:] if plain[:3] == ["", "api", "v2"] else None
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        http_body = httpbody_pb2.HttpBody(content_type="application/json" if kind is None else kind, data=sent)
        metadata = [("x-envoy-original-path", path), ("x-envoy-original-method", method)]
        metadata += [*([] if AUTHORITY in dict(more) else [(AUTHORITY, "localhost:8443")]), *more]
        if self._token:
            metadata.append(("x-api-key", self._token))
        calls: dict[tuple[str, str, int], tuple[Callable[..., Any], Any]] = {
            ("stats", "GET", 0): (self._stub.ListStats, pb.ListStatsRequest()),
            ("stats", "POST", 0): (self._stub.CreateStat, pb.CreateStatRequest(http_body=http_body)),
            ("stats", "DELETE", 0): (self._stub.PurgeStats, pb.PurgeStatsRequest()),
            ("stats", "GET", 1): (self._stub.GetStat, pb.GetStatRequest(stat_id=item)),
            ("stats", "PUT", 1): (self._stub.UpdateStat, pb.UpdateStatRequest(stat_id=item, http_body=http_body)),
            ("stats", "PATCH", 1): (self._stub.UpdateStat, pb.UpdateStatRequest(stat_id=item, http_body=http_body)),
            ("stats", "DELETE", 1): (self._stub.DeleteStat, pb.DeleteStatRequest(stat_id=item)),
            ("organizations", "GET", 0): (self._stub.ListOrganizations, pb.ListOrganizationsRequest()),
            ("organizations", "POST", 0): (
                self._stub.CreateOrganization, pb.CreateOrganizationRequest(http_body=http_body),
            ),
            ("organizations", "GET", 1): (self._stub.GetOrganization, pb.GetOrganizationRequest(name=item)),
        }  # fmt: skip
        other = (self._stub.AnswerOther, aircloak_pb2.AnswerOtherRequest(rest="/".join(plain[3:])))
        name = (plain[3] if rest is not None and len(plain) > 3 else "", method, len(rest or ()))
        call, request = calls.get(name, other)
        answering = call(request, metadata=metadata)
        headers = {key: str(value) for key, value in await answering.initial_metadata()}
        try:
            text = (await answering).data.decode()
        except grpc.aio.AioRpcError:
            text = headers["x-taskhouse-body"]
        return Answer(int(headers.get("x-taskhouse-status", 200)), text, headers)


async def token_of(store, organization: str, kind: Role) -> str:
    token = credentials.make_token("monarc")
    wanted = credentials.NewToken(organization=organization, kind=kind)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(token))
    return token


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


async def posted(edge, **changes):
    answer = await edge("POST", "/api/v2/stats/", RISK | changes)
    assert answer.status == 200, answer.text
    return answer.body


async def test_a_stat_is_written_as_documented(edge):
    answer = await edge("POST", "/api/v2/stats/", RISK)
    assert answer.status == 200
    assert list(answer.body) == KEYS
    assert answer.text == json.dumps(answer.body)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?", answer.body["created_at"])
    assert answer.body == RISK | {
        "organization": "CASES",
        **{name: answer.body[name] for name in ("uuid", "created_at", "updated_at", "id")},
    }
    listed = await edge("GET", "/api/v2/stats/")
    assert listed.text == f'{{"data": [{answer.text}], "has_more": false}}'
    assert (await edge("GET", f"/api/v2/stats/{answer.body['id'].upper()}/")).text == answer.text


async def test_year_and_quarter_stand_where_they_are_given(edge):
    made = await posted(edge, year=2020, quarter=2)
    assert [*made][6:10] == ["month", "quarter", "year", "data"]


@pytest.mark.parametrize("anr", [2, UUID])
async def test_anr_comes_back_in_its_type(edge, anr):
    assert (await posted(edge, anr=anr))["anr"] == anr


async def test_data_keeps_digits_order_and_any_name(edge):
    data = '{"z": 12345678901234567890123, "a.b": 1.10, "$where": [], "_cls": {}, "\\u00e9": "2.82", "n": null}'
    body = json.dumps(RISK | {"data": 0}).replace('"data": 0', f'"data": {data}').encode()
    made = await edge("POST", "/api/v2/stats/", body)
    assert f'"data": {data}, ' in made.text
    assert f'"data": {data}, ' in (await edge("GET", "/api/v2/stats/")).text


async def test_numbers_and_times_are_coerced(edge):
    made = await posted(edge, day="1", week=1.7, month=True, created_at="2019-01-01", id="5" * 24, organization="OTHER")
    assert (made["day"], made["week"], made["month"]) == (1, 1, 1)
    assert made["created_at"] == "2019-01-01T00:00:00"
    assert made["organization"] == "CASES"
    assert made["id"] != "5" * 24


async def test_whole_numbers_have_64_bits(edge):
    least, most = -(2**63), 2**63 - 1
    made = await posted(edge, day=least, week=most)
    assert (made["day"], made["week"]) == (least, most)
    for query, found in ((f"day={least}", 1), (f"day__lte={least - 1}", 0), (f"day__gt={least - 1}", 1),
                         (f"week__in={most + 1},3", 0), (f"week__lt={most + 1}", 1), (f"week={most + 1}", 0),
                         (f"week__not__gte={most + 1}", 1), (f"year__lt={most + 1}", 0)):  # fmt: skip
        assert len((await edge("GET", f"/api/v2/stats/?{query}")).body["data"]) == found, query
    refused = await edge("POST", "/api/v2/stats/", RISK | {"day": least - 1, "week": most + 1})
    assert set(refused.body["field-errors"]) == {"day", "week"}


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


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_large_bodies_are_understood_beside_the_event_loop(edge, monkeypatch, method):
    path = "/api/v2/stats/" if method == "POST" else f"/api/v2/stats/{(await posted(edge))['id']}/"
    threads = []
    for name in ("read_new", "read_changes"):
        read = getattr(monarc, name)
        monkeypatch.setattr(monarc, name, lambda given, read=read: threads.append(current_thread()) or read(given))
    for size in (10, 100_000):
        body = RISK | {"data": "x" * size}
        sent = [body, body] if method == "POST" else body
        assert (await edge(method, path, sent)).status == 200
    assert threads[0] is main_thread()
    assert threads[-1] is not main_thread()


async def test_a_uuid_is_told_again_or_refused_with_the_id_that_has_it(edge):
    made = await edge("POST", "/api/v2/stats/", RISK | {"uuid": UUID})
    assert (await edge("POST", "/api/v2/stats/", RISK | {"uuid": UUID})).text == made.text
    other = await edge("POST", "/api/v2/stats/", RISK | {"uuid": UUID, "day": 2})
    assert (other.status, other.body["id"]) == (409, made.body["id"])
    assert set(other.body) == {"error", "id"}


async def test_a_list_is_stored_whole_or_each_for_itself(edge):
    good, bad = RISK | {"uuid": UUID}, RISK | {"day": "x"}
    whole = await edge("POST", "/api/v2/stats/", [good, RISK])
    assert (whole.status, [stat["uuid"] == UUID for stat in whole.body]) == (200, [True, False])
    refused = await edge("POST", "/api/v2/stats/", [RISK, bad, 5])
    assert refused.body == {
        "field-errors": {"1.day": "x could not be converted to int", "2": "JSON data must be a dict."}
    }
    clash = await edge("POST", "/api/v2/stats/", [RISK, good | {"day": 9}])
    assert (clash.status, clash.body["id"]) == (409, whole.body[0]["id"])
    assert len((await edge("GET", "/api/v2/stats/")).body["data"]) == 2
    each = await edge("POST", "/api/v2/stats/?_atomic=false", [RISK, bad, good | {"day": 9}, good])
    assert (each.status, [item["status"] for item in each.body]) == (207, [200, 400, 409, 200])
    assert each.body[1]["field-errors"] == {"day": "x could not be converted to int"}
    [told] = (await edge("POST", "/api/v2/stats/?_atomic=false", [5])).body
    assert told == {"status": 400, "error": "JSON data must be a dict."}
    assert each.body[2]["id"] == each.body[3]["data"]["id"] == whole.body[0]["id"]
    assert each.text == json.dumps(each.body)
    assert (await edge("POST", "/api/v2/stats/", [])).text == "[]"
    assert (await edge("POST", "/api/v2/stats/", [RISK] * 1001)).status == 400
    many = await edge("POST", "/api/v2/stats/", [{}] * 500)
    assert many.status == 400
    assert len(many.headers["x-taskhouse-body"]) <= 4096


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_one_s_own_stats_are_changed_and_deleted(edge, channel, house, method):
    made = await posted(edge)
    changed = await edge(method, f"/api/v2/stats/{made['id']}/", {"day": 9, "unknown": 1})
    assert changed.body == made | {"day": 9, "updated_at": changed.body["updated_at"]}
    assert (await edge(method, f"/api/v2/stats/{made['id']}/", {"day": "x"})).body == {
        "field-errors": {"day": "x could not be converted to int"}
    }
    assert (await edge(method, f"/api/v2/stats/{made['id']}/", [])).status == 400
    stranger = Edge(channel, await token_of(house, "OTHER", Role.MONARC_ADMIN))
    for answer in (
        await stranger(method, f"/api/v2/stats/{made['id']}/", {"day": 1}),
        await stranger("DELETE", f"/api/v2/stats/{made['id']}/"),
        await stranger("GET", f"/api/v2/stats/{made['id']}/"),
        await edge("GET", "/api/v2/stats/xyz/"),
        await edge("DELETE", f"/api/v2/stats/{'0' * 24}/"),
    ):
        assert (answer.status, answer.body) == (404, {"error": "Empty query: Stats matching query does not exist."})
    assert (await edge("DELETE", f"/api/v2/stats/{made['id']}/")).text == "{}"
    assert (await edge("GET", "/api/v2/stats/")).body == {"data": [], "has_more": False}


async def test_old_stats_are_purged_by_an_admin_who_says_what_is_old(edge, admin):
    for year in (2019, 2020, 2021):
        await posted(edge, created_at=f"{year}-06-01", type="risk" if year != 2020 else "threat")
    assert (await edge("DELETE", "/api/v2/stats/?created_at__lt=2020-01-01")).status == 403
    for query in ("", "?type=risk", "?created_at__gt=2020-01-01", "?created_at__lt=", "?created_at__not__lt=2020-01-01",
                  "?created_at__lt=2022-01-01&typo=1"):  # fmt: skip
        assert (await admin("DELETE", f"/api/v2/stats/{query}")).status == 400, query
    purged = await admin("DELETE", "/api/v2/stats/?created_at__lt=2022-01-01&type=risk")
    assert purged.text == '{"count": 2}'
    assert [stat["type"] for stat in (await edge("GET", "/api/v2/stats/")).body["data"]] == ["threat"]


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("day=2&month=2", [2]),
        ("day__exact=2", [2]),
        ("organization=CASES&type=risk&month=3", [3]),
        ("organization=OTHER", []),
        ("created_at__gt=2020-03-01T00:00:00.000", [4, 5]),
        ("created_at__gte=2020-03-01%2002:00%2B02:00", [3, 4, 5]),
        ("type=risk&month__gt=2", [3, 5]),
        ("type=risk&month__gt=2&month__lt=5", [3]),
        ("month__in=1,3,9", [1, 3]),
        ("month__nin=1,3", [2, 4, 5]),
        ("month__ne=1", [2, 3, 4, 5]),
        ("month__not__gt=3", [1, 2, 3]),
        ("month__not=3", [1, 2, 4, 5]),
        ("type__icontains=RIS", [1, 3, 5]),
        ("type__contains=RIS", []),
        ("type__startswith=thr", [2, 4]),
        ("type__iendswith=EAT", [2, 4]),
        ("type__in=risk,none", [1, 3, 5]),
        ("year__exists=true", [5]),
        ("year__exists=false", [1, 2, 3, 4]),
        ("year=", [1, 2, 3, 4]),
        ("type=", []),
        ("anr=2&day__lte=2", [1, 2]),
        ("data__n__gt=3", [4, 5]),
        ("data__n=3", [3]),
        ('data__n="3"', []),
        ("data__deep__er=x", [1, 2, 3, 4, 5]),
        ("data__gt__exact=1", [1, 2, 3, 4, 5]),
        ("data__a.b=1", [1, 2, 3, 4, 5]),
        ("data__nothing__exists=true", []),
        ("unknown=1&MONTH=2", [1, 2, 3, 4, 5]),
        ("type='%20OR%201=1--", []),
        ("month=1&month=2", [1]),
        ("_skip=1&_limit=2", [2, 3]),
        ("_skip=99", []),
        ("_order_by=-created_at&_limit=2", [5, 4]),
        ("_order_by=nonsense", [1, 2, 3, 4, 5]),
    ],
)
async def test_filters_find_what_they_say(edge, query, days):
    for day in range(1, 6):
        await posted(
            edge, day=day, month=day, type="risk" if day % 2 else "threat", created_at=f"2020-0{day}-01",
            data={"n": day, "deep": {"er": "x"}, "gt": 1, "a.b": 1}, **({"year": 2020} if day == 5 else {}),
        )  # fmt: skip
    answer = await edge("GET", f"/api/v2/stats/?{query}")
    assert answer.status == 200, answer.text
    assert [stat["day"] for stat in answer.body["data"]] == days


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("_limit=abc", '_limit must be an integer (got "abc" instead).'),
        ("_limit=", '_limit must be an integer (got "" instead).'),
        ("_limit=1.5", '_limit must be an integer (got "1.5" instead).'),
        ("_skip=-1", '_skip must be a non-negative integer (got "-1" instead).'),
        ("_limit=-1", '_limit must be a non-negative integer (got "-1" instead).'),
        ("_limit=1001", "The limit you set is larger than the maximum limit for this resource (max_limit = 1000)."),
        ("month=x", 'month must be a whole number (got "x" instead).'),
        ("month__gt=1.0", 'month__gt must be a whole number (got "1.0" instead).'),
        ("month__in=1,x", 'month__in must be a whole number (got "x" instead).'),
        ("created_at__lt=yesterday", 'created_at__lt cannot parse date "yesterday".'),
        ("uuid=1", "uuid must be a UUID."),
        ("id=1", "id must be 24 hexadecimal digits."),
        ("anr=x", "anr must be a whole number or a UUID."),
        ("month__exists=perhaps", "month__exists must be true or false."),
        ("month__mod=2", 'month__mod has no operator "mod".'),
        ("month__gt__lt=2", 'month__gt__lt has no operator "gt".'),
        ("organization__name=x", 'organization__name has no operator "name".'),
        ("_after=1", "_after must be the id of the last stat of the page before."),
        ("type=%FF", "The query is not UTF-8."),
    ],
)
async def test_what_cannot_be_asked_is_400(edge, query, told):
    answer = await edge("GET", f"/api/v2/stats/?{query}")
    assert (answer.status, answer.body) == (400, {"error": told})


async def test_pages_go_on_after_a_stat_and_say_whether_there_is_more(edge):
    ids = [(await posted(edge, day=day))["id"] for day in range(5)]
    after, found = "", []
    for more in (True, True, False):
        page = (await edge("GET", f"/api/v2/stats/?_limit=2&_after={after}")).body
        assert page["has_more"] is more
        found += [stat["id"] for stat in page["data"]]
        after = found[-1]
    assert found == ids
    assert (await edge("GET", "/api/v2/stats/?_limit=0")).text == '{"data": [], "has_more": true}'
    assert (await edge("GET", "/api/v2/stats/?_limit=5")).body["has_more"] is False


async def test_fields_are_those_that_are_asked_for(edge):
    made = await posted(edge, year=2020)
    one = f"/api/v2/stats/{made['id']}/?_fields="
    assert (await edge("GET", one + "day,uuid,nonsense")).body == {"uuid": made["uuid"], "day": 1}
    assert (await edge("GET", one + "_all")).body == (await edge("GET", one)).body == made
    assert (await edge("GET", "/api/v2/stats/?_fields=nonsense")).text == '{"data": [{}], "has_more": false}'
    assert (await edge("POST", "/api/v2/stats/?_fields=id", RISK)).body.keys() == {"id"}
    every = ",".join(made)
    assert (await edge("GET", one + every)).text == json.dumps(made)


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


async def test_organizations_are_created_by_admins_and_never_overwritten(admin, edge, channel):
    assert (await edge("POST", "/api/v2/organizations/", {"name": "NEW"})).status == 403
    token = "oypvIaGU7uvuJbR4wgYrB7ef1HeXc9sh5g-zrH9WjmHbWHDk3L36lycYEgJevQ9wo-Wv_5PvxNlbIgZTBXVaMw"
    made = await admin("POST", "/api/v2/organizations/", {"name": "NEW", "token": token})
    assert (made.status, made.text) == (200, '{"name": "NEW"}')
    assert made.headers["deprecation"].startswith("@")
    assert (await posted(Edge(channel, token)))["organization"] == "NEW"
    for body in ({"name": "NEW", "token": "x" * 40}, {"name": "NEWER", "token": token}):
        answer = await admin("POST", "/api/v2/organizations/", body)
        assert (answer.status, set(answer.body)) == (409, {"error"})
    assert (await Edge(channel, token)("GET", "/api/v2/stats/")).status == 200
    given = (await admin("POST", "/api/v2/organizations/", {"name": "GIVEN"})).body
    assert len(given["token"]) == 86
    assert (await posted(Edge(channel, given["token"])))["organization"] == "GIVEN"
    for body, field in (
        ({}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "A", "token": 5}, "token"),
        ({"name": "A", "token": "short"}, "token"),
    ):
        answer = await admin("POST", "/api/v2/organizations/", body)
        assert (answer.status, list(answer.body["field-errors"])) == (400, [field])


async def test_organizations_are_seen_by_those_who_may_read_their_stats(edge, admin, house, channel):
    async def names(one, query=""):
        return [each["name"] for each in (await one("GET", f"/api/v2/organizations/{query}")).body["data"]]

    assert await names(edge) == ["CASES"]
    assert await names(admin) == ["CASES", "OTHER"]
    page = await admin("GET", "/api/v2/organizations/?_limit=1")
    assert page.text == '{"data": [{"name": "CASES"}], "has_more": true}'
    assert await names(admin, "?_skip=1") == ["OTHER"]
    assert (await admin("GET", "/api/v2/organizations/?_limit=101")).status == 400
    unknown = {"error": "Empty query: Organization matching query does not exist."}
    assert (await edge("GET", "/api/v2/organizations/OTHER/")).body == unknown
    assert (await admin("GET", "/api/v2/organizations/OTHER/")).body == {"name": "OTHER"}
    assert (await admin("GET", "/api/v2/organizations/NOBODY/")).body == unknown
    await house.write(organizations.update, caller=HOUSE, name="OTHER", settings=organizations.Settings(sharing=True))
    assert await names(edge) == ["CASES", "OTHER"]
    assert (await edge("GET", "/api/v2/organizations/OTHER/")).body == {"name": "OTHER"}


@pytest_asyncio.fixture
async def open_edge(house, data, tmp_path_factory):
    """Returns callers of a server that needs no keys, and refuses filters that it does not know."""
    address = f"unix:{tmp_path_factory.mktemp('o')}/s"
    authority = Authority.open(data)
    built = build_server(
        store=house,
        authority=authority,
        address=address,
        api_key_authentication=False,
        web_origins=("https://good.example",),
        strict_filters=True,
    )
    await built.grpc.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield lambda token="": Edge(channel, token)
    await built.grpc.stop(0)


async def test_without_authentication_everybody_reads_all_and_writes_for_an_organization(open_edge, house):
    token = await token_of(house, "OTHER", Role.MONARC_WRITE)
    anybody, keyed, stale = open_edge(), open_edge(token), open_edge("BAD-TOKEN")
    assert (await anybody("POST", "/api/v2/stats/", RISK)).body == {
        "field-errors": {"organization": "must be the name of an organization"}
    }
    assert (await posted(anybody, organization="CASES"))["organization"] == "CASES"
    made = await posted(keyed)
    assert made["organization"] == "OTHER"
    for one in (anybody, keyed, stale):
        assert len((await one("GET", "/api/v2/stats/")).body["data"]) == 2
    assert (await anybody("GET", f"/api/v2/stats/{made['id']}/")).body == made
    assert (await anybody("POST", "/api/v2/organizations/", {"name": "NEW"})).status == 200
    assert len((await anybody("GET", "/api/v2/organizations/")).body["data"]) == 3
    assert (
        await anybody("POST", "/api/v2/stats/", [RISK | {"organization": n} for n in ("CASES", "OTHER")])
    ).status == 400
    for name in (5, ["CASES"], {}):
        refused = await anybody("POST", "/api/v2/stats/", [RISK | {"organization": name}])
        assert refused.body == {"field-errors": {"organization": "StringField only accepts string values"}}
    assert (await anybody("DELETE", "/api/v2/stats/?created_at__lt=2030-01-01")).status == 403


async def test_without_authentication_strangers_only_read_and_add(open_edge, house):
    anybody, keyed = open_edge(), open_edge(await token_of(house, "CASES", Role.MONARC_WRITE))
    reader = open_edge(await token_of(house, "OTHER", Role.MONARC_READ))
    made = await posted(anybody, organization="CASES")
    path = f"/api/v2/stats/{made['id']}/"
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await anybody(method, path, {"day": 2})).status == 403
        assert (await reader(method, path, {"day": 2})).status == 403
    assert (await reader("POST", "/api/v2/stats/", RISK)).status == 403
    assert (await reader("GET", path)).status == 200
    assert (await keyed("PATCH", path, {"day": 2})).status == 200
    assert (await keyed("DELETE", path)).status == 200


async def test_without_authentication_web_pages_do_not_reach_the_house(open_edge):
    for headers, status in (
        ([(AUTHORITY, "localhost:8443")], 200),
        ([(AUTHORITY, "127.0.0.1")], 200),
        ([(AUTHORITY, "[::1]:8443")], 200),
        ([(AUTHORITY, "[::1]")], 200),
        ([(AUTHORITY, "rebound.example:8443")], 403),
        ([(AUTHORITY, "localhost.example")], 403),
        ([("origin", "https://evil.example")], 403),
        ([("origin", "null")], 403),
        ([("origin", "https://good.example")], 200),
    ):
        assert (await open_edge()("GET", "/api/v2/stats/", None, *headers)).status == status, headers


async def test_strict_filters_refuse_what_they_do_not_know(open_edge):
    for query in ("unknown=1", "_order_by=nonsense", "_nothing=1"):
        assert (await open_edge()("GET", f"/api/v2/stats/?{query}")).status == 400
    assert (await open_edge()("GET", "/api/v2/stats/?month=1&_limit=1&_skip=0&_fields=id")).status == 200


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
