"""RuleService and ChangeRequestService, over gRPC."""

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from server.core import organizations, pages
from server.core.caller import Role
from server.core.organizations import ReasonMode, Settings
from taskhouse.v1 import changes_pb2, changes_pb2_grpc, rules_pb2_grpc
from taskhouse.v1 import rules_pb2 as pb
from tests.services.test_organizations import OPERATOR, bearer

MEMBERS = [
    pb.TargetMember(simple="group:a"),
    pb.TargetMember(
        group=pb.TargetGroup(operator=pb.TARGET_OPERATOR_AND, members=[pb.TargetMember(simple="special:all")])
    ),
]
OR = pb.TARGET_OPERATOR_OR
COMPOSITE = pb.Target(
    composite=pb.CompositeTarget(
        include=pb.TargetGroup(operator=OR, members=MEMBERS), exclude=pb.TargetGroup(operator=OR)
    )
)
FULL = pb.Rule(
    id="r",
    display_name="Some rule",
    short_description="short",
    long_description="long",
    directives=["d2", "d1"],
    targets=[COMPOSITE],
    tags=[pb.Tag(key="env", value="prod")],
    enabled=True,
)
WISHED = (changes_pb2.CHANGE_REQUEST_STATE_PENDING_VALIDATION, changes_pb2.CHANGE_REQUEST_STATE_DEPLOYED)
PENDING, DEPLOYED = WISHED


@pytest_asyncio.fixture
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


@pytest.fixture
def rules(channel):
    return rules_pb2_grpc.RuleServiceStub(channel)


@pytest.fixture
def requests(channel):
    return changes_pb2_grpc.ChangeRequestServiceStub(channel)


@pytest_asyncio.fixture
async def token(store):
    await store.write(organizations.create, name="acme")
    return await bearer(store, "acme", Role.TOKEN_WRITE)


async def setting(store, **settings):
    await store.write(organizations.update, caller=OPERATOR, name="acme", settings=Settings(**settings))


def creating(**values) -> pb.CreateRuleRequest:
    return pb.CreateRuleRequest(rule=pb.Rule(**values))


def updating(*paths, rule_id="r", reason="", **values) -> pb.UpdateRuleRequest:
    return pb.UpdateRuleRequest(rule=pb.Rule(id=rule_id, **values), update_mask={"paths": paths}, reason=reason)


async def refused(call) -> tuple[str, str, list[str]]:
    """Return the code, the reason and the fields of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    details = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status.details[0].Unpack(info)
    if len(status.details) > 1:
        status.details[1].Unpack(bad)
    return raised.value.code().name, info.reason, [violation.field for violation in bad.field_violations]


async def test_a_rule_is_created_read_listed_changed_and_deleted(rules, token):
    created = await rules.CreateRule(pb.CreateRuleRequest(rule=FULL), metadata=token)
    assert created.etag
    assert created.create_time == created.update_time
    for name in ("etag", "create_time", "update_time"):
        created.ClearField(name)
    assert created == FULL
    read = await rules.GetRule(pb.GetRuleRequest(rule_id="r"), metadata=token)
    assert list((await rules.ListRules(pb.ListRulesRequest(), metadata=token)).rules) == [read]
    answer = await rules.UpdateRule(
        updating("enabled", "targets", enabled=False, short_description="not named"), metadata=token
    )
    assert (answer.rule.enabled, list(answer.rule.targets), answer.rule.short_description) == (False, [], "short")
    assert answer.change_request_id == 0
    assert answer.rule.etag != read.etag
    deleted = await rules.DeleteRule(pb.DeleteRuleRequest(rule_id="r", etag=answer.rule.etag), metadata=token)
    assert deleted.rule == answer.rule
    assert await refused(rules.GetRule(pb.GetRuleRequest(rule_id="r"), metadata=token)) == (
        "NOT_FOUND", "RULE_NOT_FOUND", [],
    )  # fmt: skip


async def test_a_new_rule_is_enabled_unless_it_says_otherwise(rules, token):
    for number, (said, enabled) in enumerate(((None, True), (True, True), (False, False))):
        created = await rules.CreateRule(creating(display_name=f"Rule {number}", enabled=said), metadata=token)
        assert created.enabled is enabled
        assert len(created.id) == 36


async def test_a_copy_has_what_is_empty_from_its_source(rules, token):
    await rules.CreateRule(pb.CreateRuleRequest(rule=FULL), metadata=token)
    asked = pb.CreateRuleRequest(rule=pb.Rule(id="s", display_name="A copy", directives=["d3"]), source_rule_id="r")
    copy = await rules.CreateRule(asked, metadata=token)
    assert (list(copy.targets), list(copy.directives)) == ([COMPOSITE], ["d3"])
    assert not copy.enabled


async def test_rules_are_listed_page_by_page(rules, token):
    for name in ("aaa", "bbb", "ccc"):
        await rules.CreateRule(creating(id=name, display_name=name), metadata=token)
    first = await rules.ListRules(pb.ListRulesRequest(page_size=2), metadata=token)
    second = await rules.ListRules(pb.ListRulesRequest(page_size=2, page_token=first.next_page_token), metadata=token)
    assert [rule.id for page in (first, second) for rule in page.rules] == ["aaa", "bbb", "ccc"]
    assert not second.next_page_token


async def test_what_is_wrong_is_told_by_the_paths_of_the_message(rules, token):
    target = pb.TargetGroup(members=[pb.TargetMember(group=pb.TargetGroup(members=[pb.TargetMember(simple="x")]))])
    bad = {
        "display_name": "ab",
        "targets": [pb.Target(), pb.Target(composite=pb.CompositeTarget(include=target)), pb.Target(simple="group:a")],
        "directives": [""],
    }
    told = "INVALID_ARGUMENT", "INVALID_FIELD", [
        "rule.display_name", "rule.directives[0]", "rule.targets[0]", "rule.targets[1]",
    ]  # fmt: skip
    assert await refused(rules.CreateRule(creating(**bad), metadata=token)) == told
    await rules.CreateRule(creating(id="r", display_name="Some rule"), metadata=token)
    assert await refused(rules.UpdateRule(updating(*bad, **bad), metadata=token)) == told
    for paths, fields in (((), "update_mask"), (("id",), "update_mask"), (("enabled",), "rule.enabled")):
        assert (await refused(rules.UpdateRule(updating(*paths), metadata=token)))[2] == [fields]


async def test_each_way_to_be_late_has_its_status(rules, token):
    await rules.CreateRule(creating(id="r", display_name="Some rule"), metadata=token)
    await rules.CreateRule(creating(id="s", display_name="Another"), metadata=token)
    unknown, taken = ("NOT_FOUND", "RULE_NOT_FOUND", []), ("ALREADY_EXISTS", "RULE_NAME_TAKEN", [])
    stale = ("ABORTED", "RULE_CHANGED_MEANWHILE", [])
    asked = {
        rules.CreateRule(creating(id="r", display_name="New name"), metadata=token): (
            "ALREADY_EXISTS", "RULE_EXISTS", [],
        ),
        rules.CreateRule(creating(display_name="Another"), metadata=token): taken,
        rules.UpdateRule(updating("display_name", display_name="Another"), metadata=token): taken,
        rules.UpdateRule(updating("enabled", enabled=False, etag="old"), metadata=token): stale,
        rules.DeleteRule(pb.DeleteRuleRequest(rule_id="r", etag="old"), metadata=token): stale,
        rules.UpdateRule(updating("enabled", rule_id="t", enabled=False), metadata=token): unknown,
        rules.DeleteRule(pb.DeleteRuleRequest(rule_id=""), metadata=token): unknown,
        rules.CreateRule(pb.CreateRuleRequest(rule=FULL, source_rule_id="t"), metadata=token): unknown,
    }  # fmt: skip
    for call, told in asked.items():
        assert await refused(call) == told


async def test_a_reviewed_change_is_seen_accepted_and_deployed(rules, requests, store, token):
    await setting(store, workflow=True, reason_mode=ReasonMode.MANDATORY)
    created = await rules.CreateRule(pb.CreateRuleRequest(rule=FULL, reason="from the start"), metadata=token)
    assert not created.enabled
    assert (await refused(rules.UpdateRule(updating("enabled", enabled=True), metadata=token)))[2] == ["reason"]
    wish = updating("enabled", enabled=True, reason="it is time")
    wish.change_request_name, wish.change_request_description = "Switch it on", "at last"
    answer = await rules.UpdateRule(wish, metadata=token)
    assert (answer.rule, answer.change_request_id) == (created, 1)
    asked = await requests.GetChangeRequest(changes_pb2.GetChangeRequestRequest(change_request_id=1), metadata=token)
    assert (asked.id, asked.name, asked.description, asked.reason) == (1, "Switch it on", "at last", "it is time")
    assert (asked.state, asked.rule_id, asked.is_acceptable, asked.author_id != "") == (PENDING, "r", True, True)
    assert (asked.before.enabled, asked.after.enabled, asked.after.targets[0]) == (False, True, COMPOSITE)
    assert asked.before.etag == created.etag
    assert not asked.before.HasField("create_time")
    renaming = changes_pb2.UpdateChangeRequestRequest(
        change_request={"id": 1, "name": "Switch", "etag": asked.etag}, update_mask={"paths": ["name"]}
    )
    renamed = await requests.UpdateChangeRequest(renaming, metadata=token)
    assert (renamed.name, renamed.description) == ("Switch", "at last")
    accepting = changes_pb2.AcceptChangeRequestRequest(change_request_id=1, state=DEPLOYED, reason="looks good")
    deployed = await requests.AcceptChangeRequest(accepting, metadata=token)
    assert deployed.state == DEPLOYED
    assert not deployed.is_acceptable
    assert (await rules.GetRule(pb.GetRuleRequest(rule_id="r"), metadata=token)).enabled


async def test_a_deletion_is_a_request_without_a_rule_to_come(rules, requests, store, token):
    await rules.CreateRule(creating(id="r", display_name="Some rule"), metadata=token)
    await setting(store, workflow=True)
    deleting = pb.DeleteRuleRequest(rule_id="r", change_request_name="Away", change_request_description="with it")
    assert (await rules.DeleteRule(deleting, metadata=token)).change_request_id == 1
    asked = await requests.GetChangeRequest(changes_pb2.GetChangeRequestRequest(change_request_id=1), metadata=token)
    assert (asked.name, asked.description, asked.HasField("after")) == ("Away", "with it", False)
    declining = changes_pb2.DeclineChangeRequestRequest(change_request_id=1)
    declined = await requests.DeclineChangeRequest(declining, metadata=token)
    assert declined.state == changes_pb2.CHANGE_REQUEST_STATE_CANCELLED
    assert await rules.GetRule(pb.GetRuleRequest(rule_id="r"), metadata=token) is not None


async def test_requests_are_listed_by_state_rule_and_page(rules, requests, store, token):
    await setting(store, workflow=True)
    for name in ("aaa", "bbb"):
        await rules.CreateRule(creating(id=name, display_name=name), metadata=token)
        await rules.UpdateRule(updating("enabled", rule_id=name, enabled=False), metadata=token)
    accepting = changes_pb2.AcceptChangeRequestRequest(change_request_id=1, state=DEPLOYED)
    await requests.AcceptChangeRequest(accepting, metadata=token)

    async def listed(**asked):
        request = changes_pb2.ListChangeRequestsRequest(**asked)
        answer = await requests.ListChangeRequests(request, metadata=token)
        return [one.id for one in answer.change_requests], answer.next_page_token

    assert await listed() == ([1, 2], "")
    assert await listed(states=[PENDING]) == ([2], "")
    assert await listed(rule_id="aaa") == ([1], "")
    first, more = await listed(page_size=1)
    assert (first, await listed(page_size=1, page_token=more)) == ([1], ([2], ""))
    asked = changes_pb2.ListChangeRequestsRequest(states=[PENDING, 99])
    assert (await refused(requests.ListChangeRequests(asked, metadata=token)))[2] == ["states[1]"]


async def test_a_list_is_the_same_beside_the_event_loop(rules, requests, store, token, monkeypatch):
    await setting(store, workflow=True)
    await rules.CreateRule(creating(id="r", display_name="Some rule"), metadata=token)
    for name in ("aaa", "bbb", "ccc"):
        await rules.UpdateRule(updating("display_name", display_name=name), metadata=token)
    asked = changes_pb2.ListChangeRequestsRequest(page_size=2)
    found = await requests.ListChangeRequests(asked, metadata=token)
    await rules.CreateRule(creating(id="s", display_name="Another"), metadata=token)
    both = await rules.ListRules(pb.ListRulesRequest(), metadata=token)
    monkeypatch.setattr(pages, "QUICK_ITEMS", 1)
    assert await rules.ListRules(pb.ListRulesRequest(), metadata=token) == both
    assert [one.id for one in both.rules] == ["r", "s"]
    assert await requests.ListChangeRequests(asked, metadata=token) == found
    assert [one.id for one in found.change_requests] == [1, 2]


async def test_what_a_change_request_does_not_allow_has_its_status(rules, requests, store, token):
    one = {"change_request_id": 1}

    named = {"id": 1, "name": "Later", "etag": "old"}
    getting = changes_pb2.GetChangeRequestRequest(**one)
    renaming = changes_pb2.UpdateChangeRequestRequest(change_request=named, update_mask={"paths": ["name"]})
    accepting = changes_pb2.AcceptChangeRequestRequest(**one, state=DEPLOYED)
    declining = changes_pb2.DeclineChangeRequestRequest(**one)
    calls = {
        requests.GetChangeRequest: getting,
        requests.UpdateChangeRequest: renaming,
        requests.AcceptChangeRequest: accepting,
        requests.DeclineChangeRequest: declining,
    }
    for call, request in calls.items():
        assert await refused(call(request, metadata=token)) == ("FAILED_PRECONDITION", "WORKFLOW_DISABLED", [])
    await setting(store, workflow=True)
    for call, request in calls.items():
        assert await refused(call(request, metadata=token)) == ("NOT_FOUND", "CHANGE_REQUEST_NOT_FOUND", [])
    await rules.CreateRule(creating(id="r", display_name="Some rule"), metadata=token)
    await rules.UpdateRule(updating("enabled", enabled=False), metadata=token)
    await setting(store, workflow=False)
    await rules.UpdateRule(updating("short_description", short_description="x"), metadata=token)
    await setting(store, workflow=True)
    assert not (await requests.GetChangeRequest(getting, metadata=token)).is_acceptable
    stale = "ABORTED", "CHANGE_REQUEST_CHANGED_MEANWHILE", []
    assert await refused(requests.UpdateChangeRequest(renaming, metadata=token)) == stale
    diverged = "ABORTED", "CHANGE_REQUEST_DIVERGED", []
    assert await refused(requests.AcceptChangeRequest(accepting, metadata=token)) == diverged
    await requests.DeclineChangeRequest(declining, metadata=token)
    renaming.change_request.etag = ""
    closed = "FAILED_PRECONDITION", "CHANGE_REQUEST_STATE_FORBIDS", []
    for call in (requests.UpdateChangeRequest, requests.AcceptChangeRequest, requests.DeclineChangeRequest):
        assert await refused(call(calls[call], metadata=token)) == closed
    pending = changes_pb2.AcceptChangeRequestRequest(**one, state=PENDING)
    assert (await refused(requests.AcceptChangeRequest(pending, metadata=token)))[2] == ["state"]
    masked = changes_pb2.UpdateChangeRequestRequest(change_request={"id": 1}, update_mask={"paths": ["state"]})
    assert (await refused(requests.UpdateChangeRequest(masked, metadata=token)))[2] == ["update_mask"]
