"""Rules in the rudder API: parameters by their three ways, values, and what is said of bad ones."""

import gzip
import json

import grpc.aio
import pytest
import pytest_asyncio

from server.core import events
from server.core.organizations import ReasonMode
from tests.rest.rudder_edge import COMPOSITE, FORM, FULL, JSON, RULE, RULES, Edge, in_parts, settle, token_of


@pytest_asyncio.fixture
async def organization(store):
    return await settle(store)


@pytest_asyncio.fixture
async def edge(store, server, organization):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Edge(channel, await token_of(store, "acme"))


@pytest_asyncio.fixture
async def rule(edge):
    """The rule r1, with a value in every field."""
    return (await edge("PUT", RULES, FULL)).rule


# Three ways


@pytest.mark.parametrize(
    "given",
    [
        ("?displayName=my+new%20name&enabled=false&directives=aDirectiveId", None, None),
        ("", "displayName=my+new%20name&enabled=false&directives=aDirectiveId", None),
        ("?enabled=false", "displayName=my new name&directives=aDirectiveId", f"{FORM}; charset=UTF-8"),
        ("", {"displayName": "my new name", "enabled": False, "directives": ["aDirectiveId"]}, None),
        ("", {"displayName": "my new name", "enabled": False, "directives": "aDirectiveId"}, f"{JSON};charset=utf-8"),
        ("", {"displayName": "my new name", "enabled": False, "directives": "aDirectiveId"}, "Text/JSON"),
    ],
)
async def test_a_rule_is_changed_by_query_form_or_json(edge, rule, given):
    query, body, kind = given
    changed = (await edge("POST", RULE + query, body, kind=kind)).rule
    wanted = {"displayName": "my new name", "enabled": False, "directives": ["aDirectiveId"]}
    assert changed == rule | wanted == (await edge("GET", RULE)).rule


async def test_a_rule_is_changed_by_a_form_in_parts(edge, store, organization, rule):
    given = {"displayName": "my new name", "enabled": "false", "directives": ["a&b", "+%41"], "reason": "Grüße"}
    kind, body = in_parts(given)
    changed = (await edge("POST", f"{RULE}?shortDescription=query", body, kind=kind)).rule
    wanted = {"displayName": "my new name", "enabled": False, "directives": ["a&b", "+%41"]}
    assert changed == rule | wanted | {"shortDescription": "query"}
    kind, body = in_parts({"reason": "gone"})
    assert (await edge("DELETE", RULE, body, kind=kind)).rule == changed
    found = await store.read(events.page, organization_id=organization.tenant, after=0, most=100)
    assert [(each.action, each.reason) for each in found[-2:]] == [("rule.updated", "Grüße"), ("rule.deleted", "gone")]


async def test_ten_thousand_directives_may_come_in_parts(edge, rule):
    directives = [f"d{number:05}" for number in range(10_000)]
    kind, body = in_parts({"directives": directives})
    assert (await edge("POST", RULE, body, kind=kind)).rule["directives"] == directives


@pytest.mark.parametrize("kind", ["", "text/plain", FORM, "application/jsonx", "multipart/mixed; boundary=x"])
async def test_json_without_its_content_type_is_not_read(edge, rule, kind):
    answer = await edge("POST", f"{RULE}?shortDescription=read", b'{"displayName": "not read"}', kind=kind)
    assert answer.rule == rule | {"shortDescription": "read"}


async def test_json_and_request_parameters_do_not_mix(edge, rule):
    answer = await edge("POST", f"{RULE}?displayName=query&enabled=false", {"shortDescription": "json"})
    assert answer.rule == rule | {"shortDescription": "json"}


async def test_what_follows_json_after_an_ampersand_is_not_read(edge, store, organization, rule):
    body = b'{"displayName": "new name"}\n&reason=Reason ignored&displayName=ignored'
    assert (await edge("POST", f"{RULE}?reason=Reason+used", body, kind=JSON)).rule["displayName"] == "new name"
    found = await store.read(events.page, organization_id=organization.tenant, after=0, most=100)
    assert (found[-1].action, found[-1].reason) == ("rule.updated", "Reason used")


async def test_general_parameters_in_json_are_not_read(edge, store, organization):
    await settle(store, reason_mode=ReasonMode.MANDATORY)
    values = {"displayName": "one", "reason": "long enough", "changeRequestName": "", "prettify": True}
    assert "mandatory" in (await edge("PUT", RULES, values)).error
    assert (await edge("PUT", f"{RULES}?reason=long+enough", values)).rule


async def test_a_delete_reads_query_and_form(edge, store, organization):
    await settle(store, reason_mode=ReasonMode.MANDATORY)
    for number, (query, body, kind) in enumerate(
        [("?reason=because", None, None), ("", "reason=because", None), ("?reason=because", b"{", JSON)]
    ):
        await edge("PUT", f"{RULES}?id=r{number}&displayName=name+{number}&reason=because")
        assert (await edge("DELETE", f"{RULES}/r{number}{query}", body, kind=kind)).rule["id"] == f"r{number}"


async def test_a_get_changes_nothing(edge, rule):
    assert (await edge("GET", f"{RULE}?displayName=changed&enabled=false")).rule == rule


async def test_a_body_may_be_gzip(edge, rule):
    packed = gzip.compress(b'{"displayName": "packed"}')
    answer = await edge("POST", RULE, packed, ("content-encoding", "gzip"), kind=JSON)
    assert answer.rule["displayName"] == "packed"
    for sent, encoding in ((packed[:-3], "gzip"), (b"x", "gzip"), (packed, "br")):
        refused = await edge("POST", RULE, sent, ("content-encoding", encoding), kind=JSON)
        assert (refused.status, "encoding" in refused.error) == (500, True)


async def test_a_bomb_is_too_large(edge, rule):
    bomb = gzip.compress(b" " * 2_000_000)
    assert "1048576 bytes" in (await edge("POST", RULE, bomb, ("content-encoding", "gzip"), kind=JSON)).error


# Creating, changing, deleting


async def test_a_rule_has_defaults_and_gets_a_uuid(edge):
    made = (await edge("PUT", RULES, "displayName=one")).rule
    assert len(made.pop("id")) == 36
    assert list(made.items()) == [
        ("displayName", "one"), ("shortDescription", ""), ("longDescription", ""), ("directives", []), ("targets", []),
        ("enabled", True), ("system", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "body"),
    [("", "id=mine&displayName=one"), ("", {"id": "mine", "displayName": "one"}), ("?id=mine", {"displayName": "one"})],
)
async def test_an_id_may_be_given_by_any_way(edge, query, body):
    answer = await edge("PUT", RULES + query, body)
    assert (answer.body["id"], answer.rule["id"]) == ("mine", "mine")


async def test_a_fetched_rule_can_be_sent_back(edge, rule):
    assert rule == FULL
    fetched = (await edge("GET", RULE)).rule
    assert (await edge("POST", RULE, fetched | {"unknown": [None], "category": "x"})).rule == rule
    assert (await edge("DELETE", RULE)).rule == rule
    assert (await edge("PUT", RULES, fetched)).rule == rule


async def test_an_update_changes_what_is_given_and_never_the_id(edge, rule):
    answer = await edge("POST", RULE, {"id": "other", "system": True, "longDescription": ""})
    assert answer.rule == rule | {"longDescription": ""}
    assert (await edge("POST", RULE)).rule == answer.rule


@pytest.mark.parametrize(
    "body",
    [
        "source=r1&displayName=copy&directives=d9",
        {"source": "r1", "displayName": "copy", "directives": ["d9"], "enabled": True},
    ],
)
async def test_a_clone_is_disabled_and_has_what_is_given(edge, rule, body):
    answer = await edge("PUT", RULES, body)
    changes = {"id": answer.body["id"], "displayName": "copy", "directives": ["d9"], "enabled": False}
    assert (answer.body["action"], answer.rule) == ("createRule", rule | changes)


async def test_deleting_tells_the_rule_once(edge, rule):
    assert (await edge("DELETE", RULE)).rule == rule
    gone = await edge("DELETE", RULE)
    assert gone.text == (
        '{"action":"deleteRule","id":"r1","result":"error",'
        '"errorDetails":"Could not delete Rule r1 cause is: Could not find Rule r1."}'
    )


# Lists


@pytest.mark.parametrize(
    ("body", "directives"),
    [
        ("directives=a&directives=b&directives=a", ["a", "b"]),
        ("directives=a,b", ["a,b"]),
        ("directives=", []),
        ("directives", []),
        ("directives=&directives=a", ["a"]),
        ('directives=["a","b"]', ["a", "b"]),
        ("directives=[]", []),
        ('directives=["[a"]', ["[a"]),
        ({"directives": ["a", "b", "a"]}, ["a", "b"]),
        ({"directives": []}, []),
        ({"directives": "a"}, ["a"]),
    ],
)
async def test_directives_come_by_repetition_or_as_json(edge, rule, body, directives):
    assert (await edge("POST", RULE, body)).rule == rule | {"directives": directives}


@pytest.mark.parametrize(
    ("body", "targets"),
    [
        ("targets=group:a&targets=special:all", ["group:a", "special:all"]),
        ("targets=", []),
        (f"targets={json.dumps(COMPOSITE)}", [COMPOSITE]),
        (f"targets={json.dumps([COMPOSITE])}", [COMPOSITE]),
        ({"targets": "policyServer:root"}, ["policyServer:root"]),
        ({"targets": COMPOSITE}, [COMPOSITE]),
        ({"targets": [COMPOSITE]}, [COMPOSITE]),
        ({"targets": {"include": {"or": []}}}, [{"include": {"or": []}, "exclude": {"or": []}}]),
    ],
)
async def test_targets_are_echoed(edge, rule, body, targets):
    assert (await edge("POST", RULE, body)).rule == rule | {"targets": targets}


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        ("tags=env:prod&tags=a:b:c&tags=bare", [{"env": "prod"}, {"a": "b:c"}, {"bare": ""}]),
        ({"tags": {"env": "prod", "a": "b"}}, [{"env": "prod"}, {"a": "b"}]),
        ({"tags": [{"env": "prod"}, {"env": "test"}]}, [{"env": "prod"}, {"env": "test"}]),
    ],
)
async def test_tags_are_pairs(edge, rule, body, tags):
    assert (await edge("POST", RULE, body)).rule == rule | {"tags": tags}


@pytest.mark.parametrize("body", ["tags=", {"tags": []}])
async def test_no_tags_are_not_written(edge, rule, body):
    assert "tags" not in (await edge("POST", RULE, body)).rule


# Reasons


async def test_a_reason_that_must_be_given_is_asked_for(edge, store, rule):
    await settle(store, reason_mode=ReasonMode.MANDATORY)
    said = "reason is mandatory, and must have at least 5 characters."
    short = "why must be at least have a 5 character size."
    assert (await edge("POST", RULE, "displayName=new")).error == f"Update failed, cause is: {said}"
    assert (await edge("POST", RULE, "displayName=new&reason=why")).error == f"Update failed, cause is: {short}"
    assert (await edge("DELETE", RULE)).error == f"Delete failed, cause is: {said}"
    created = await edge("PUT", RULES, "id=r2&displayName=two&reason=why")
    assert created.error == f"Could not create Rule two (id:r2) cause is: {short}"
    assert (await edge("POST", RULE, "displayName=new&reason=because")).rule["displayName"] == "new"


async def test_values_are_told_before_reasons_and_an_unknown_rule_before_both(edge, store, rule):
    await settle(store, reason_mode=ReasonMode.MANDATORY)
    assert "character size" in (await edge("POST", RULE, "displayName=x")).error
    assert "boolean" in (await edge("POST", RULE, "enabled=x")).error
    for body in ("displayName=x", "enabled=x", "reason=a&reason=b", "displayName=x&reason=a&reason=b", {"enabled": 1}):
        answer = await edge("POST", f"{RULES}/none", body)
        assert answer.error == "Could not modify Rule none cause is: Could not find Rule none."


@pytest.mark.parametrize("mode", list(ReasonMode))
async def test_two_reasons_are_refused_where_reasons_are_read(edge, store, rule, mode):
    await settle(store, reason_mode=mode)
    answer = await edge("POST", f"{RULE}?reason=because", "displayName=new&reason=whatever")
    if mode is ReasonMode.DISABLED:
        assert answer.rule["displayName"] == "new"
    else:
        assert answer.error == "Update failed, cause is: updateRule should contain only one value for reason."
        for body in ("displayName=x", "enabled=x"):  # A bad value is told before.
            answer = await edge("POST", f"{RULE}?reason=because&reason=whatever", body)
            assert answer.error.startswith("Could not modify Rule r1 cause is: ")
        answer = await edge("DELETE", f"{RULE}?reason=because&reason=whatever")
        assert answer.error == "Delete failed, cause is: updateRule should contain only one value for reason."
        answer = await edge("PUT", f"{RULES}?reason=because&reason=whatever&id=r2&displayName=two")
        assert answer.error == (
            "Could not create Rule two (id:r2) cause is: updateRule should contain only one value for reason."
        )
        assert (await edge("GET", RULES)).body["data"]["rules"] == [rule]


async def test_change_request_names_are_not_looked_at_without_workflow(edge, rule):
    query = "?changeRequestName=x&changeRequestName=y&changeRequestDescription=%01"
    assert (await edge("POST", RULE + query, "displayName=new")).rule["displayName"] == "new"
