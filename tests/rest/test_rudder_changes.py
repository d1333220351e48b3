"""Change requests in the rudder API: what they look like, and what can be done with them."""

import grpc.aio
import pytest
import pytest_asyncio

from server.core import events, rules
from server.core.caller import Role
from server.core.organizations import ReasonMode
from server.core.rule_content import Given
from tests.rest.rudder_edge import RULE, RULES, Edge, settle, token_of

REQUESTS = "/api/latest/changeRequests"
OFF = "Workflows are disabled, and without them the change requests API is not available."


@pytest_asyncio.fixture
async def organization(store):
    return await settle(store)


@pytest_asyncio.fixture
async def edge(store, server, organization):
    """Calls of an organization whose workflow is off."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Edge(channel, await token_of(store, "acme"))


@pytest_asyncio.fixture
async def rule(edge, store):
    """The rule r1, made before the workflow was switched on."""
    body = {"id": "r1", "displayName": "one", "directives": ["d1"], "tags": [{"a": "b"}]}
    made = (await edge("PUT", RULES, body)).rule
    await settle(store, workflow=True)
    return made


async def open_one(edge, *, name="new name") -> str:
    """Ask for another name and return the number of the change request."""
    return (await edge("POST", RULE, {"displayName": name})).rule["changeRequestId"]


async def status_of(edge, number) -> str:
    return (await edge("GET", f"{REQUESTS}/{number}")).request["status"]


async def test_without_workflow_there_are_no_change_requests(edge):
    for method, path, body, action in (
        ("GET", REQUESTS, None, "listChangeRequests"),
        ("GET", f"{REQUESTS}?status=nonsense", None, "listChangeRequests"),
        ("GET", f"{REQUESTS}/1", None, "changeRequestDetails"),
        ("GET", f"{REQUESTS}/x", None, "changeRequestDetails"),
        ("POST", f"{REQUESTS}/1", "name=whatever", "updateChangeRequest"),
        ("POST", f"{REQUESTS}/1/accept", {"status": 7}, "acceptChangeRequest"),
        ("DELETE", f"{REQUESTS}/1", None, "declineChangeRequest"),
    ):
        answer = await edge(method, path, body)
        assert answer.text == f'{{"action":"{action}","result":"error","errorDetails":"{OFF}"}}'
        assert answer.status == 500


async def test_an_update_opens_a_request_and_changes_nothing(edge, rule):
    answer = await edge("POST", RULE, {"displayName": "new name", "directives": ["d1", "d2"]})
    assert answer.text.startswith(
        '{"action":"updateRule","id":"r1","result":"success","data":{"rules":[{"changeRequestId":"1","id":"r1",'
    )
    assert answer.rule == rule | {"changeRequestId": "1", "displayName": "new name", "directives": ["d1", "d2"]}
    assert (await edge("GET", RULE)).rule == rule
    listed = await edge("GET", REQUESTS)
    assert listed.body == {
        "action": "listChangeRequests",
        "result": "success",
        "data": {
            "changeRequests": [
                {
                    "id": 1,
                    "displayName": "Update Rule new name from API",
                    "name": "Update Rule new name from API",
                    "status": "Pending validation",
                    "created by": "Robot",
                    "isAcceptable": True,
                    "acceptable": True,
                    "description": "",
                    "changes": {
                        "directives": [],
                        "rules": [
                            {
                                "action": "modify",
                                "change": {
                                    "id": "r1",
                                    "displayName": {"from": "one", "to": "new name"},
                                    "shortDescription": "",
                                    "longDescription": "",
                                    "directives": {"from": ["d1"], "to": ["d1", "d2"]},
                                    "targets": [],
                                    "enabled": True,
                                    "tags": [{"a": "b"}],
                                },
                            }
                        ],
                        "groups": [],
                        "parameters": [],
                    },
                }
            ]
        },
    }
    details = await edge("GET", f"{REQUESTS}/1")
    assert (details.body["action"], details.body["id"]) == ("changeRequestDetails", "1")
    assert details.body["data"] == listed.body["data"]


async def test_an_author_without_a_name_is_told_by_the_credential_s_id(edge, store, organization, rule):
    wanted = {"given": Given(display_name="new name"), "rule_id": rule["id"]}
    await store.write_guarded(rules.update, caller=organization, **wanted)
    assert (await edge("GET", f"{REQUESTS}/1")).request["created by"] == organization.credential_id


async def test_a_delete_opens_a_request_with_the_whole_rule(edge, rule):
    asked = (await edge("DELETE", f"{RULE}?changeRequestName=Away+with+it&changeRequestDescription=old")).rule
    assert asked == rule | {"changeRequestId": "1"}
    request = (await edge("GET", f"{REQUESTS}/1")).request
    assert (request["name"], request["displayName"], request["description"]) == ("Away with it", "Away with it", "old")
    assert request["changes"]["rules"] == [{"action": "delete", "change": rule}]
    assert (await edge("POST", f"{REQUESTS}/1/accept", "status=deployed")).request["status"] == "Deployed"
    assert "Could not find Rule r1." in (await edge("GET", RULE)).error


async def test_tags_that_come_or_go_are_part_of_a_change(edge, rule):
    await edge("POST", RULE, {"tags": []})
    [item] = (await edge("GET", f"{REQUESTS}/1")).request["changes"]["rules"]
    assert item["change"]["tags"] == {"from": [{"a": "b"}], "to": []}
    assert item["change"]["displayName"] == "one"


async def test_what_changes_nothing_opens_nothing(edge, rule):
    assert (await edge("POST", RULE, {"displayName": "one"})).rule == rule
    assert (await edge("GET", REQUESTS)).body["data"] == {"changeRequests": []}


@pytest.mark.parametrize(
    ("body", "enabled"),
    [
        ({"displayName": "two"}, True),
        ({"displayName": "two", "id": "r2"}, True),
        ({"displayName": "two", "enabled": True}, False),
        ({"displayName": "two", "directives": ["d"]}, False),
        ({"displayName": "two", "source": "r1"}, False),
    ],
)
async def test_a_creation_is_done_at_once_but_disabled(edge, rule, body, enabled):
    made = (await edge("PUT", RULES, body)).rule
    assert ("changeRequestId" in made, made["enabled"]) == (False, enabled)
    assert (await edge("GET", f"{RULES}/{made['id']}")).rule == made


async def test_a_request_goes_through_both_steps(edge, rule):
    number = await open_one(edge)
    validated = await edge("POST", f"{REQUESTS}/{number}/accept", {"status": "Pending Deployment"})
    assert (validated.body["action"], validated.body["id"]) == ("acceptChangeRequest", number)
    assert validated.request["status"] == "Pending deployment"
    assert (await edge("GET", RULE)).rule == rule
    assert (await edge("POST", f"{REQUESTS}/{number}/accept?status=DEPLOYED")).request["status"] == "Deployed"
    assert (await edge("GET", RULE)).rule == rule | {"displayName": "new name"}


async def test_a_declined_request_is_cancelled(edge, rule):
    number = await open_one(edge)
    declined = await edge("DELETE", f"{REQUESTS}/{number}")
    assert (declined.body["action"], declined.request["status"]) == ("declineChangeRequest", "Cancelled")
    assert (await edge("GET", RULE)).rule == rule


async def test_what_is_over_stays_so(edge, rule):
    first, second = await open_one(edge), await open_one(edge, name="other name")
    await edge("POST", f"{REQUESTS}/{first}/accept", "status=deployed")
    await edge("DELETE", f"{REQUESTS}/{second}")
    for number, state in ((first, "deployed"), (second, "cancelled")):
        for method, path, body, verb in (
            ("POST", f"{REQUESTS}/{number}/accept", "status=deployed", "accept"),
            ("POST", f"{REQUESTS}/{number}/accept", "status=pending+deployment", "accept"),
            ("DELETE", f"{REQUESTS}/{number}", None, "decline"),
            ("POST", f"{REQUESTS}/{number}", "name=whatever", "update"),
        ):
            answer = await edge(method, path, body)
            assert (answer.status, answer.body["id"]) == (500, number)
            assert answer.error == (
                f"Could not {verb} ChangeRequest {number} details cause is:"
                f" The change request {number} is already {state}."
            )


async def test_a_rule_that_changed_meanwhile_is_not_changed_over(edge, rule):
    first, second = await open_one(edge), await open_one(edge, name="other name")
    await edge("POST", f"{REQUESTS}/{first}/accept", "status=deployed")
    stale = (await edge("GET", f"{REQUESTS}/{second}")).request
    assert (stale["isAcceptable"], stale["acceptable"], stale["status"]) == (False, False, "Pending validation")
    refused = await edge("POST", f"{REQUESTS}/{second}/accept", "status=deployed")
    assert (refused.status, "has changed since" in refused.error) == (500, True)
    assert (await edge("GET", RULE)).rule["displayName"] == "new name"
    assert (await edge("DELETE", f"{REQUESTS}/{second}")).request["status"] == "Cancelled"


@pytest.mark.parametrize(
    ("status", "numbers"),
    [
        (None, [1, 2]),
        ("open", [1, 2]),
        ("closed", [3, 4]),
        ("all", [1, 2, 3, 4]),
        ("ALL", [1, 2, 3, 4]),
        ("Pending%20validation", [1]),
        ("pending+deployment", [2]),
        ("deployed", [3]),
        ("CANCELLED", [4]),
    ],
)
async def test_a_list_has_those_in_the_states_that_are_asked_for(edge, rule, status, numbers):
    for _ in range(4):
        await open_one(edge)
    await edge("POST", f"{REQUESTS}/2/accept", "status=pending deployment")
    await edge("DELETE", f"{REQUESTS}/4")
    await edge("POST", f"{REQUESTS}/3/accept", "status=deployed")
    found = (await edge("GET", REQUESTS + (f"?status={status}" if status else ""))).body["data"]["changeRequests"]
    assert [each["id"] for each in found] == numbers


@pytest.mark.parametrize("query", ["status=", "status=nonsense", "status=open&status=open", "status"])
async def test_a_list_of_no_state_is_refused(edge, rule, query):
    answer = await edge("GET", f"{REQUESTS}?{query}")
    assert (answer.status, "id" in answer.body) == (500, False)
    assert answer.error.startswith("No parameter 'status' sent that is one of all, open, closed, pending validation")


@pytest.mark.parametrize("body", [None, "status=", "status=cancelled", "status=x", {"status": "open"}, {}])
async def test_an_acceptance_needs_its_state(edge, rule, body):
    number = await open_one(edge)
    answer = await edge("POST", f"{REQUESTS}/{number}/accept", body)
    assert (answer.status, "id" in answer.body) == (500, False)
    assert answer.error == "No parameter 'status' sent that is one of pending deployment, deployed."
    assert await status_of(edge, number) == "Pending validation"


@pytest.mark.parametrize("number", ["x", "1.0", "%D9%A2", "1%20", "0x1", "1e3", "-", "rules"])
async def test_a_number_that_is_none_is_told(edge, rule, number):
    for method, path, body in (
        ("GET", f"{REQUESTS}/{number}", None),
        ("POST", f"{REQUESTS}/{number}", "name=whatever"),
        ("POST", f"{REQUESTS}/{number}/accept", "status=deployed"),
        ("DELETE", f"{REQUESTS}/{number}", None),
    ):
        answer = await edge(method, path, body)
        assert (answer.status, "id" in answer.body) == (500, False)
        assert answer.error.endswith(" is not a valid change request id (need to be an integer)")


@pytest.mark.parametrize("number", ["0", "7", "-1", "9223372036854775807", "9" * 18, "9" * 5000])
async def test_an_unknown_number_is_told(edge, rule, number):
    for method, path, body, verb in (
        ("GET", f"{REQUESTS}/{number}", None, "find"),
        ("POST", f"{REQUESTS}/{number}", "name=whatever", "update"),
        ("POST", f"{REQUESTS}/{number}/accept", "status=deployed", "accept"),
        ("DELETE", f"{REQUESTS}/{number}", None, "decline"),
    ):
        answer = await edge(method, path, body)
        assert (answer.status, answer.body["id"][:20]) == (500, number[:20])
        assert answer.error.startswith(f"Could not {verb} ChangeRequest {number[:20]}")


@pytest.mark.parametrize("number", ["+1", "01", "%2B001"])
async def test_a_number_is_told_as_the_house_writes_it(edge, rule, number):
    await open_one(edge)
    answer = await edge("GET", f"{REQUESTS}/{number}")
    assert (answer.body["id"], answer.request["id"]) == ("1", 1)


async def test_a_request_can_be_renamed_and_described(edge, rule):
    number = await open_one(edge)
    renamed = await edge("POST", f"{REQUESTS}/{number}", {"name": "Better name"})
    assert (renamed.body["action"], renamed.body["id"]) == ("updateChangeRequest", number)
    assert (renamed.request["name"], renamed.request["displayName"]) == ("Better name", "Better name")
    described = await edge("POST", f"{REQUESTS}/{number}?description=Why", None)
    assert (described.request["name"], described.request["description"]) == ("Better name", "Why")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (None, "There is nothing to change in change request 1"),
        ("description=", "There is nothing to change in change request 1"),
        ("name=ab", "ab must be at least have a 3 character size"),
        ({"name": None}, "Not a good value for parameter name"),
        ("name=one&name=two", "updateRule should contain only one value for name"),
    ],
)
async def test_an_update_of_a_request_that_cannot_be_is_refused(edge, rule, body, cause):
    number = await open_one(edge)
    answer = await edge("POST", f"{REQUESTS}/{number}", body)
    assert answer.error == f"Could not update ChangeRequest 1 details cause is: {cause}."


async def test_names_of_requests_are_checked_with_workflow(edge, rule):
    for query, cause in (
        ("changeRequestName=ab", "Update failed, cause is: ab must be at least have a 3 character size."),
        ("changeRequestName=", "Update failed, cause is:  must be at least have a 3 character size."),
        (
            "changeRequestName=one&changeRequestName=two",
            "Update failed, cause is: updateRule should contain only one value for changeRequestName.",
        ),
    ):
        assert (await edge("POST", f"{RULE}?{query}", "displayName=new")).error == cause
    query = "changeRequestDescription=a&changeRequestDescription=b"
    await edge("POST", f"{RULE}?{query}", "displayName=new")
    assert (await edge("GET", f"{REQUESTS}/1")).request["description"] == ""


async def test_reasons_are_for_accepting_and_declining_too(edge, store, rule):
    number = await open_one(edge)
    await settle(store, reason_mode=ReasonMode.MANDATORY)
    for method, path, body in (
        ("POST", f"{REQUESTS}/{number}/accept", {"status": "deployed"}),
        ("DELETE", f"{REQUESTS}/{number}", None),
    ):
        answer = await edge(method, path, body)
        assert "reason is mandatory" in answer.error
    assert (await edge("POST", f"{REQUESTS}/{number}", "name=No reason needed")).request
    accepted = await edge("POST", f"{REQUESTS}/{number}/accept?reason=because", {"status": "deployed"})
    assert accepted.request["status"] == "Deployed"


async def test_the_log_names_the_author_of_a_change_and_who_accepted_it(edge, store, server, organization, rule):
    await edge("POST", f"{RULE}?reason=I+want+it", {"displayName": "new name"})
    async with grpc.aio.insecure_channel(server.address) as channel:
        judge = Edge(channel, await token_of(store, "acme", Role.RUDDER_WRITE, "Judge"))
        await judge("POST", f"{REQUESTS}/1/accept?reason=so+be+it", {"status": "deployed"})
    found = await store.read(events.page, organization_id=organization.tenant, after=0, most=100)
    told = [(each.action, each.actor_name, each.reason) for each in found if each.object.kind != "organization"]
    assert [one for one in told if not one[0].startswith(("token", "credential"))] == [
        ("rule.created", "Robot", ""),
        ("change_request.created", "Robot", "I want it"),
        ("rule.updated", "Robot", "I want it"),
        ("change_request.deployed", "Judge", "so be it"),
    ]


async def test_another_organizations_requests_are_unknown(edge, store, server, rule):
    await open_one(edge)
    await settle(store, "other", workflow=True)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stranger = Edge(channel, await token_of(store, "other"))
        assert (await stranger("GET", f"{REQUESTS}?status=all")).body["data"] == {"changeRequests": []}
        for method, path in (("GET", f"{REQUESTS}/1"), ("DELETE", f"{REQUESTS}/1")):
            assert "Could not find ChangeRequest 1." in (await stranger(method, path)).error
