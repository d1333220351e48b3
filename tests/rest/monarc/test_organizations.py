"""Organizations in the monarc API, and the house that needs no keys."""

import grpc.aio
import pytest_asyncio

from server.core import organizations
from server.core.caller import Role
from server.identity.authority import Authority
from server.rest.origins import AUTHORITY
from server.wiring import build_server
from tests.core.scenes import HOUSE
from tests.rest.monarc.edge import RISK, Edge, posted, token_of


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
