"""The rudder API's manners: token, versions, envelope, paths. Spoken to as the edge speaks to it."""

import datetime
import json

import grpc
import grpc.aio
import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from server.core import credentials, errors
from server.core.caller import Role
from server.identity.authority import Authority
from server.rest import rudder_door
from server.rest.exchange import QueryBroken
from server.rest.rudder_calls import Address, address_of
from server.rest.rudder_door import Call
from server.rpc.paths import path_of
from server.rpc.refusals import MAX_BODY_BYTES, to_ascii_json
from server.wiring import build_server
from taskhouse.rest.v1 import rudder_pb2 as pb
from taskhouse.rest.v1 import rudder_pb2_grpc
from tests.core.scenes import HOUSE
from tests.rest.rudder_edge import Edge, settle, token_of

WRONG_VERSION = "Version used does not exists, please use one of the following: [ latest, 2, 3, 4 ] "
LATEST = ("x-api-version", "latest")


@pytest_asyncio.fixture
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


@pytest_asyncio.fixture
async def edge(store, channel):
    await settle(store)
    return Edge(channel, await token_of(store, "acme"))


async def test_an_answer_is_compact_and_its_keys_stand_in_order(edge):
    made = await edge("PUT", "/rudder/api/latest/rules", {"id": "r1", "displayName": "Żółw / a"})
    rule = (
        '{"id":"r1","displayName":"Żółw / a","shortDescription":"","longDescription":"","directives":[],"targets":[],'
        '"enabled":true,"system":false}'
    )
    data = f'"result":"success","data":{{"rules":[{rule}]}}}}'
    assert made.text == f'{{"action":"createRule","id":"r1",{data}'
    assert (await edge("GET", "/api/2/rules/r1")).text == f'{{"action":"ruleDetails","id":"r1",{data}'
    assert (await edge("GET", "/api/2/rules")).text == f'{{"action":"listRules",{data}'


async def test_a_refusal_says_why_and_nothing_more(edge):
    missing = await edge("GET", "/api/latest/rules/none")
    why = "Could not get Rule none details cause is: Could not find Rule none."
    assert missing.text == f'{{"action":"ruleDetails","id":"none","result":"error","errorDetails":"{why}"}}'
    assert missing.status == 500
    assert missing.headers["x-taskhouse-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("query", "is_pretty"),
    [
        ("prettify=true", True),
        ("prettify=false", False),
        ("prettify", False),
        ("prettify=True", False),
        ("prettify=1", False),
        ("prettify=true&prettify=true", False),
        ("x=1?prettify=true", False),
        ("prettify=tru%65", True),
    ],
)
async def test_prettify_is_exactly_true(edge, query, is_pretty):
    for path in ("/api/latest/rules", "/api/latest/rules/none"):
        answer = await edge("GET", f"{path}?{query}")
        pretty = orjson.dumps(answer.body, option=orjson.OPT_INDENT_2).decode()
        assert answer.text == (pretty if is_pretty else to_ascii_json(answer.body))


async def test_prettify_is_read_from_a_form_and_not_from_json(edge):
    form = await edge("PUT", "/api/latest/rules", "prettify=true&displayName=one")
    assert form.text.startswith('{\n  "action": "createRule",\n  "id"')
    plain = await edge("PUT", "/api/latest/rules", {"prettify": True, "displayName": "two"})
    assert "\n" not in plain.text
    assert plain.rule["displayName"] == "two"


async def test_a_tilde_in_a_prettified_refusal_stays_a_tilde(edge):
    answer = await edge("GET", "/api/latest/rules/~1~0?prettify=true")
    assert answer.body["id"] == "~1~0"


# Versions


@pytest.mark.parametrize("version", ["2", "3", "4", "latest"])
async def test_a_version_is_in_the_path_or_in_the_header(edge, version):
    for base in ("/api", "/rudder/api"):
        assert (await edge("GET", f"{base}/{version}/rules")).status == 200
        assert (await edge("GET", f"{base}/rules", None, ("x-api-version", version))).status == 200
        assert (await edge("GET", f"{base}/rules", None, ("x-api-version", f" {version} "))).status == 200


@pytest.mark.parametrize("version", [None, "", "3.14", "1", "5", "99", "Latest", "02", "-2", "two", "2 3", "٢"])
async def test_a_missing_or_wrong_version_in_the_header_is_told_the_versions(edge, version):
    headers = [("x-api-version", version)] if version and version.isascii() else []
    for method, path, resource in (
        ("GET", "/api/rules", "rules"),
        ("PUT", "/api/rules?prettify=true", "rules"),
        ("DELETE", "/rudder/api/rules/r1", "rules"),
        ("PATCH", "/api/rules", "rules"),
        ("GET", "/api/rules/a/b/c", "rules"),
    ):
        answer = await edge(method, path, None, *headers)
        assert (answer.status, answer.error) == (500, WRONG_VERSION)
        assert answer.text.startswith(f'{{"action":"{resource}","result"')


async def test_change_requests_are_there_from_version_3_on(edge):
    for number in ("2", "1"):
        answer = await edge("GET", "/api/changeRequests", None, ("x-api-version", number))
        assert (answer.status, answer.error) == (500, WRONG_VERSION.replace("2, ", ""))
        assert (await edge("GET", f"/api/{number}/changeRequests")).status == 404
    for version in ("3", "4", "latest"):
        assert "Workflows are disabled" in (await edge("GET", f"/api/{version}/changeRequests")).error


@pytest.mark.parametrize("version", ["3.14", "1", "5", "99", "Latest", "02", "index", "%32%32"])
async def test_a_wrong_version_in_the_path_is_not_found(edge, version):
    for resource, action in (("rules", "listRules"), ("changeRequests", "listChangeRequests")):
        answer = await edge("GET", f"/api/{version}/{resource}", None, LATEST)
        assert (answer.status, answer.body["action"], "id" in answer.body) == (404, action, False)


async def test_the_version_of_the_path_counts_whatever_the_header_says(edge):
    for header in ("3", "3.14", "99", "x"):
        assert (await edge("GET", "/api/2/rules", None, ("x-api-version", header))).status == 200


async def test_info_needs_no_version(edge):
    states = [{"version": number, "status": "maintained"} for number in (2, 3, 4)]
    for path in ("/api/info", "/rudder/api/info", "/api/latest/info", "/api/2/info", "/api/info/"):
        answer = await edge("GET", path)
        data = {"availableVersions": {"latest": 4, "all": states}}
        assert answer.body == {"action": "ApiGeneralInformations", "result": "success", "data": data}
        assert "deprecation" not in answer.headers
    assert "\n" in (await edge("GET", "/api/info?prettify=true")).text
    assert (await edge("GET", "/api/7/info")).status == 404


@pytest_asyncio.fixture
async def ageing(store, data, tmp_path_factory):
    """A house where version 2 is deprecated."""
    address = f"unix:{tmp_path_factory.mktemp('s')}/s"
    days = {2: datetime.date(2026, 1, 31)}
    server = build_server(store=store, authority=Authority.open(data), address=address, rudder_deprecated=days)
    await server.grpc.start()
    await settle(store)
    async with grpc.aio.insecure_channel(address) as opened:
        yield Edge(opened, await token_of(store, "acme"))
    await server.grpc.stop(0)


async def test_a_deprecated_version_says_so_in_info_and_with_every_answer(ageing):
    listed = (await ageing("GET", "/api/info")).body["data"]["availableVersions"]["all"]
    assert [each["status"] for each in listed] == ["deprecated", "maintained", "maintained"]
    for path in ("/api/2/rules", "/api/2/rules/none"):
        answer = await ageing("GET", path)
        assert answer.headers["deprecation"] == "@1769817600"
    assert (await ageing("GET", "/api/rules", None, ("x-api-version", "2"))).headers["deprecation"] == "@1769817600"
    for path in ("/api/3/rules", "/api/latest/rules", "/api/info"):
        assert "deprecation" not in (await ageing("GET", path)).headers


# Tokens


async def test_without_a_good_token_every_path_is_401(edge, channel, store):
    _, other = await settle(store, "other"), await token_of(store, "other")
    listed = await store.read(credentials.page, caller=HOUSE, organization="other", page_size=10, page_token="")
    await store.write(credentials.revoke, caller=HOUSE, credential_id=listed.items[0].id)
    for token in ("", "x" * 32, other):
        stranger = Edge(channel, token)
        for method, path, action in (
            ("GET", "/api/latest/rules", "listRules"),
            ("GET", "/api/rules", "listRules"),
            ("PUT", "/rudder/api/3.14/rules", "createRule"),
            ("GET", "/api/nothing", "unknown"),
            ("GET", "/rudder/api", "unknown"),
            ("OPTIONS", "/api/latest/rules", "unknown"),
            ("GET", f"/api/rules/%FF?api_token={token}", "unknown"),
        ):
            answer = await stranger(method, path)
            assert (answer.status, answer.body["action"], "id" in answer.body) == (401, action, False)
            assert "Unauthorized" in answer.error


async def test_a_token_of_another_api_is_none_here(edge, channel, store):
    token = credentials.make_token()
    wanted = credentials.NewToken(organization="acme", kind=Role.TOKEN_ADMIN)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(token))
    assert (await Edge(channel, token)("GET", "/api/latest/rules")).status == 401


async def test_a_read_token_reads_and_is_told_that_it_may_do_no_more(edge, channel, store):
    reader = Edge(channel, await token_of(store, "acme", Role.RUDDER_READ, "Grüße"))
    await edge("PUT", "/api/latest/rules", {"id": "r1", "displayName": "one"})
    assert (await reader("GET", "/api/latest/rules/r1")).rule["displayName"] == "one"
    for method, path, action in (
        ("PUT", "/api/latest/rules", "createRule"),
        ("POST", "/api/latest/rules/r1", "updateRule"),
        ("DELETE", "/api/latest/rules/r1", "deleteRule"),
        ("POST", "/api/latest/changeRequests/1/accept", "acceptChangeRequest"),
    ):
        answer = await reader(method, path, "displayName=changed")
        assert (answer.status, answer.body["action"]) == (500, action)
        assert answer.error == f"Authorization error: User 'Grüße' is not allowed to access {method} {path}"
    assert (await edge("GET", "/api/latest/rules/r1")).rule["displayName"] == "one"


async def test_another_organizations_rules_are_unknown(edge, channel, store):
    await edge("PUT", "/api/latest/rules", {"id": "r1", "displayName": "one"})
    await settle(store, "other")
    stranger = Edge(channel, await token_of(store, "other"))
    assert (await stranger("GET", "/api/latest/rules")).body["data"] == {"rules": []}
    for method in ("GET", "POST", "DELETE"):
        assert "Could not find Rule r1." in (await stranger(method, "/api/latest/rules/r1")).error
    assert (await stranger("PUT", "/api/latest/rules", {"id": "r1", "displayName": "one"})).rule["id"] == "r1"


# Paths


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/latest/rules", "GET, PUT, HEAD, OPTIONS"),
        ("PUT", "/api/latest/rules/r1", "GET, POST, DELETE, HEAD, OPTIONS"),
        ("PATCH", "/rudder/api/4/rules", "GET, PUT, HEAD, OPTIONS"),
        ("HEAD", "/api/latest/changeRequests/1/accept", "POST, OPTIONS"),
        ("GET", "/api/latest/rules/a/b", None),
        ("GET", "/api/latest", None),
        ("GET", "/api", None),
        ("GET", "/rudder/api/", None),
        ("GET", "/api/nothing", None),
        ("OPTIONS", "/api/nothing", None),
        ("GET", "/api/latest/info/x", None),
    ],
)
async def test_what_nobody_serves_is_not_found_and_says_what_is(edge, method, path, allow):
    answer = await edge(method, path, None, LATEST)
    assert (answer.status, answer.body["action"], answer.headers.get("allow")) == (404, "unknown", allow)
    assert answer.error == f"There is no {method} {path}."


async def test_options_tells_the_methods(edge):
    answer = await edge("OPTIONS", "/api/latest/rules/r1")
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["allow"] == "GET, POST, DELETE, HEAD, OPTIONS"


async def test_head_is_answered_as_get(edge):
    for path in ("/api/latest/rules", "/api/latest/rules/none", "/api/info", "/api/latest/changeRequests"):
        got, head = await edge("GET", path), await edge("HEAD", path)
        assert (head.status, head.text) == (got.status, got.text)


async def test_a_slash_at_the_end_says_nothing(edge):
    assert (await edge("GET", "/api/latest/rules/")).body["action"] == "listRules"
    assert (await edge("GET", "/rudder/api//latest//rules//")).body["action"] == "listRules"
    assert (await edge("GET", "/api/latest/rules/none/")).body["id"] == "none"


@pytest.mark.parametrize(
    ("segment", "rule_id"),
    [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%25", "a%"),
        ("%zz", "%zz"),
        ("a:cancel", "a:cancel"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("%C3%A9", "é"),
        ("%F0%9F%90%A2", "🐢"),
        ("rules", "rules"),
        ("index", "index"),
        ("a.json", "a.json"),
        ("a%0Ab", "a\nb"),
        ("x%3Frule_id=y", "x?rule_id=y"),
    ],
)
async def test_an_id_is_read_from_the_path_as_it_was_sent(edge, segment, rule_id):
    answer = await edge("GET", f"/api/latest/rules/{segment}?rule_id=zz&ruleId=zz")
    assert (answer.status, answer.body["id"]) == (500, rule_id)
    assert f"Could not find Rule {rule_id}." in answer.error


async def test_ids_with_colons_and_percent_signs_are_ids(edge):
    for rule_id, segment in (("a:cancel", "a:cancel"), ("50%", "50%25"), ("é 🐢", "%C3%A9%20%F0%9F%90%A2")):
        assert (await edge("PUT", "/api/latest/rules", {"id": rule_id, "displayName": f"n {rule_id}"})).rule
        assert (await edge("GET", f"/api/latest/rules/{segment}")).rule["id"] == rule_id
        assert (await edge("DELETE", f"/api/latest/rules/{segment}")).rule["id"] == rule_id


async def test_a_path_that_is_not_utf8_is_refused(edge):
    for method in ("GET", "POST", "DELETE", "PATCH"):
        answer = await edge(method, "/api/latest/rules/%FF%FE")
        assert (answer.status, answer.error) == (500, "The path or a parameter is not UTF-8.")


@pytest.mark.parametrize("path", ["/api/v9/stats", "/api/v0", "/api/v12/rules"])
async def test_the_other_apis_versions_are_the_other_apis(edge, channel, path):
    for caller in (edge, Edge(channel, "")):
        answer = await caller("GET", path)
        assert (answer.status, answer.text) == (404, '{"error": "Not found."}')


async def test_native_grpc_is_not_served(store, channel):
    await settle(store)
    token = await token_of(store, "acme")
    stub = rudder_pb2_grpc.RudderServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListRules(pb.ListRulesRequest(), metadata=[("x-api-token", token)])
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


# What fits


@given(st.text(), st.text(), st.booleans())
def test_a_refusal_of_whatever_was_sent_fits_into_a_header(rule_id, name, is_pretty):
    call = Call(
        {}, "POST", f"/api/4/rules/{rule_id}", Address("4", ("rules", rule_id)), "updateRule", rule_id, is_pretty
    )
    for refusal in (errors.RuleNotFound(rule_id), errors.RuleNameTaken(name, rule_id), RuntimeError(name)):
        details, has_id = rudder_door.details_of(call, refusal)
        body = rudder_door._body(call, details, has_id=has_id)
        assert len(to_ascii_json(body, indented=is_pretty)) <= MAX_BODY_BYTES
        assert list(body) == [key for key in ("action", "id", "result", "errorDetails") if key in body]


def test_an_id_that_a_rule_can_have_is_told_whole():
    rule_id = "🐢" * 255
    call = Call({}, "GET", "/", Address("4", ("rules", rule_id)), "ruleDetails", rule_id)
    details, has_id = rudder_door.details_of(call, errors.RuleNotFound(rule_id))
    body = rudder_door._body(call, details, has_id=has_id)
    assert body["id"] == rule_id
    assert len(json.dumps(body)) <= MAX_BODY_BYTES


@given(st.text(alphabet="/%aprules24é:.+?#", max_size=40))
def test_any_path_is_read_or_refused(path):
    try:
        address = address_of(path_of(f"/api/{path}"))
    except QueryBroken:
        return
    assert address.version is None or address.version not in ("rules", "changeRequests", "info")
    assert all(address.segments)
