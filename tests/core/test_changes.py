"""Change requests: changes of rules under review."""

import asyncio

import pytest

from server.core import changes, pages
from server.core.caller import Caller, Role
from server.core.change_content import OPEN, ChangeState, Remark
from server.core.errors import (
    ChangeRequestChangedMeanwhile,
    ChangeRequestDiverged,
    ChangeRequestNotFound,
    ChangeRequestStateForbids,
    ChangeRequestUnchanged,
    FaultKind,
    InvalidFields,
    ListTooLong,
    RuleChangedMeanwhile,
    RuleNameTaken,
    RuleNotFound,
    WorkflowDisabled,
)
from server.core.pages import token_of
from tests.core.reviewed import (
    accept,
    create,
    decline,
    delete,
    faults_of,
    get,
    log,
    request,
    requests,
    setting,
    told,
    update,
    writer,
)

PENDING, VALIDATED, DEPLOYED, CANCELLED = ChangeState


@pytest.fixture
async def anna(store):
    return await writer(store, workflow=True)


@pytest.fixture
async def bob(anna):
    return Caller("bob", Role.TOKEN_WRITE, anna.organization_id, anna.organization, "", "Bob")


@pytest.fixture
async def rule(store, anna):
    return await create(store, anna)


async def rename(store, caller, number, name=None, description=None, **more):
    return await store.write_guarded(
        changes.update, caller=caller, change_request_id=number, name=name, description=description, **more
    )


async def listed(store, caller, *states, rule_id="", page_size=0):
    """Return the ids on each page."""
    found, token = [], ""
    while True:
        page = await store.read(
            changes.page, caller=caller, states=frozenset(states or ChangeState), rule_id=rule_id,
            page_size=page_size, page_token=token, quickly=False,
        )  # fmt: skip
        found.append([one.id for one in page.items])
        token = page.next_page_token
        if not token:
            return found


async def test_a_change_waits_until_it_is_deployed(store, anna, bob, rule):
    remark = Remark("I want it", "A wish", "for\nmore")
    revision = await update(store, anna, display_name="New name", remark=remark)
    asked = revision.change_request
    assert (revision.rule, revision.wanted.display_name) == (rule, "New name")
    assert (asked.id, asked.name, asked.description, asked.state) == (1, "A wish", "for\nmore", PENDING)
    assert (asked.author_id, asked.author_name, asked.reason) == ("anna", "Anna", "I want it")
    assert asked.is_acceptable
    assert asked == await request(store, anna)
    assert await get(store, anna) == rule
    assert (await accept(store, bob, 1, VALIDATED)).state is VALIDATED
    assert await get(store, anna) == rule
    deployed = await accept(store, bob, 1, DEPLOYED)
    assert (deployed.state, deployed.is_acceptable) == (DEPLOYED, False)
    assert await request(store, anna) == deployed
    now = await get(store, anna)
    assert now == rule._replace(display_name="New name", etag=now.etag, update_time=now.update_time)
    assert now.etag != rule.etag
    assert now.update_time > rule.update_time


async def test_a_rule_is_there_until_its_deletion_is_deployed(store, anna, rule):
    revision = await delete(store, anna)
    assert revision.rule == revision.wanted == await get(store, anna) == rule
    assert revision.change_request.change.after is None
    await accept(store, anna)
    with pytest.raises(RuleNotFound):
        await get(store, anna)


async def test_a_declined_change_never_happens(store, anna, bob, rule):
    await update(store, anna, enabled=False)
    await delete(store, anna)
    await accept(store, anna, 1, VALIDATED)
    for number in (1, 2):
        assert (await decline(store, bob, number)).state is CANCELLED
        for state in (VALIDATED, DEPLOYED):
            with pytest.raises(ChangeRequestStateForbids, match="is already cancelled"):
                await accept(store, anna, number, state)
    assert await get(store, anna) == rule


async def test_what_is_deployed_stays_so(store, anna, rule):
    await update(store, anna, enabled=False)
    await accept(store, anna)
    for call in (
        accept(store, anna),
        accept(store, anna, 1, VALIDATED),
        decline(store, anna),
        rename(store, anna, 1, "abc"),
    ):
        with pytest.raises(ChangeRequestStateForbids, match="The change request 1 is already deployed"):
            await call
    await update(store, anna, enabled=True)
    await accept(store, anna, 2, VALIDATED)
    with pytest.raises(ChangeRequestStateForbids, match="is already pending deployment"):
        await accept(store, anna, 2, VALIDATED)


async def test_a_new_rule_needs_no_review_but_is_disabled_unless_it_is_empty(store, anna):
    assert (await create(store, anna, rule_id="a")).enabled
    assert not (await create(store, anna, "Rule b", rule_id="b", enabled=True)).enabled
    assert not (await create(store, anna, "Rule c", rule_id="c", targets=())).enabled
    assert not (await create(store, anna, "Rule d", rule_id="d", source_id="a", enabled=True)).enabled
    assert await requests(store, anna) == []


async def test_of_two_changes_of_one_rule_only_one_can_be_deployed(store, anna, rule):
    await update(store, anna, short_description="one")
    await update(store, anna, long_description="two")
    await delete(store, anna)
    await accept(store, anna, 2)
    now = await get(store, anna)
    assert (now.short_description, now.long_description) == ("", "two")
    for number in (1, 3):
        assert not (await request(store, anna, number)).is_acceptable
        for state in (VALIDATED, DEPLOYED):
            with pytest.raises(ChangeRequestDiverged):
                await accept(store, anna, number, state)
    assert await get(store, anna) == now
    assert [(one.id, one.state, one.is_acceptable) for one in await requests(store, anna)] == [
        (1, PENDING, False), (3, PENDING, False),
    ]  # fmt: skip
    await decline(store, anna, 1)


async def test_a_rule_that_was_made_anew_is_another_one(store, anna, rule):
    await update(store, anna, enabled=False)
    await delete(store, anna)
    await accept(store, anna, 2)
    await create(store, anna)
    assert not (await request(store, anna, 1)).is_acceptable
    with pytest.raises(ChangeRequestDiverged):
        await accept(store, anna, 1)


async def test_a_change_that_was_taken_back_still_is_one(store, anna, rule):
    await update(store, anna, short_description="one")
    await setting(store, workflow=False)
    await update(store, anna, enabled=False)
    await update(store, anna, enabled=True)
    await setting(store, workflow=True)
    with pytest.raises(ChangeRequestDiverged):
        await accept(store, anna)


async def test_two_who_accept_at_once_deploy_it_once(store, elsewhere, anna, bob, rule):
    await update(store, anna, enabled=False)
    both = await asyncio.gather(accept(store, anna), accept(elsewhere, bob), return_exceptions=True)
    assert sorted(type(one).__name__ for one in both) == ["ChangeRequest", "ChangeRequestStateForbids"]
    events = [event.action for event in await log(store, anna)]
    assert events == ["rule.created", "change_request.created", "rule.updated", "change_request.deployed"]


async def test_many_who_ask_at_once_get_numbers_of_their_own(store, elsewhere, anna, rule):
    asked = [update(one, anna, short_description=f"{n}") for n in range(10) for one in (store, elsewhere)]
    numbers = [revision.change_request_id for revision in await asyncio.gather(*asked)]
    assert sorted(numbers) == list(range(1, 21))


async def test_a_name_that_was_taken_meanwhile_is_refused_at_the_deployment(store, anna, rule):
    await create(store, anna, "Taken", rule_id="s")
    with pytest.raises(RuleNameTaken):
        await update(store, anna, display_name="Taken")
    await update(store, anna, display_name="New name")
    await create(store, anna, "New name", rule_id="t")
    with pytest.raises(RuleNameTaken):
        await accept(store, anna)
    assert (await request(store, anna)).state is PENDING
    assert await get(store, anna) == rule


async def test_without_the_workflow_there_are_no_change_requests_and_they_wait_for_it(store, anna, rule):
    await update(store, anna, enabled=False)
    await setting(store, workflow=False)
    for call in (
        request(store, anna), requests(store, anna), listed(store, anna), accept(store, anna), decline(store, anna),
        rename(store, anna, 1, "Another"),
    ):  # fmt: skip
        with pytest.raises(WorkflowDisabled):
            await call
    assert await get(store, anna) == rule
    await setting(store, workflow=True)
    assert [one.id for one in await requests(store, anna)] == [1]


async def test_what_changes_nothing_opens_nothing(store, anna, rule):
    revision = await update(store, anna, display_name="Some rule", enabled=True)
    assert (revision.rule, revision.change_request_id) == (rule, 0)
    assert await requests(store, anna) == []
    assert [event.action for event in await log(store, anna)] == ["rule.created"]


async def test_a_stale_etag_opens_nothing(store, anna, rule):
    for call in (update(store, anna, enabled=False, etag="x"), delete(store, anna, etag="x")):
        with pytest.raises(RuleChangedMeanwhile):
            await call
    assert await requests(store, anna) == []


async def test_a_name_says_what_is_done_to_which_rule_unless_it_is_given(store, anna, rule):
    asked = [
        await update(store, anna, display_name="New name"),
        await update(store, anna, enabled=False),
        await delete(store, anna),
    ]
    assert [revision.change_request.name for revision in asked] == [
        "Update Rule New name from API", "Update Rule Some rule from API", "Delete Rule Some rule from API",
    ]  # fmt: skip


async def test_a_name_or_description_or_reason_that_cannot_be_is_refused(store, anna, rule):
    remark = Remark("\x00", "ab", "\x00")
    paths = ["reason", "change_request_name", "change_request_description"]
    assert await faults_of(update(store, anna, display_name="x", remark=remark)) == ["rule.display_name", *paths]
    assert await faults_of(delete(store, anna, remark=remark)) == paths
    assert await requests(store, anna) == []
    await setting(store, reason="mandatory")
    await delete(store, anna, remark=Remark("a good reason"))
    for call in (accept(store, anna), decline(store, anna, reason="four")):
        with pytest.raises(InvalidFields) as raised:
            await call
        assert raised.value.faults[0].kind in (FaultKind.MISSING, FaultKind.TOO_SHORT)
    assert (await request(store, anna)).state is PENDING


async def test_names_and_descriptions_change_while_it_is_open(store, anna, rule):
    await update(store, anna, enabled=False)
    first = await request(store, anna)
    second = await rename(store, anna, 1, "Another", etag=first.etag)
    assert (second.name, second.description) == ("Another", "")
    third = await rename(store, anna, 1, description="more")
    assert (third.name, third.description) == ("Another", "more")
    assert third == await request(store, anna)
    assert len({first.etag, second.etag, third.etag}) == 3
    with pytest.raises(ChangeRequestChangedMeanwhile):
        await rename(store, anna, 1, "Later", etag=first.etag)
    assert await rename(store, anna, 1, "Another", "more") == third
    with pytest.raises(ChangeRequestUnchanged):
        await rename(store, anna, 1, "Another", must_change=True)
    assert await faults_of(rename(store, anna, 1, "ab", "\x00")) == [
        "change_request.name",
        "change_request.description",
    ]
    assert [event.action for event in await log(store, anna)][2:] == ["change_request.updated"] * 2


async def test_the_log_tells_who_asked_and_who_accepted_and_why(store, anna, bob, rule):
    await update(store, anna, enabled=False, remark=Remark("I want it", "A wish"))
    await accept(store, bob, 1, VALIDATED, "looks good")
    await rename(store, bob, 1, description="done soon")
    await accept(store, bob, 1, DEPLOYED, "now")
    await delete(store, anna)
    await decline(store, bob, 2, "never")
    _, asked, validated, renamed, changed, deployed, _, declined = await log(store, anna)
    wish = {"rule_id": "r", "rule": {"enabled": False}, "name": "A wish", "description": ""}
    assert told(asked) == ("change_request.created", {"rule": {"enabled": True}}, wish, "I want it")
    states = {"state": "pending validation"}, {"state": "pending deployment"}, {"state": "deployed"}
    assert told(validated) == ("change_request.validated", *states[:2], "looks good")
    assert told(renamed) == ("change_request.updated", {"description": ""}, {"description": "done soon"}, "")
    assert told(changed) == ("rule.updated", {"enabled": True}, {"enabled": False}, "I want it")
    assert told(deployed) == ("change_request.deployed", *states[1:], "now")
    assert told(declined) == ("change_request.declined", states[0], {"state": "cancelled"}, "never")
    assert [event.actor_name for event in (asked, validated, changed, deployed, declined)] == [
        "Anna", "Bob", "Anna", "Bob", "Bob",
    ]  # fmt: skip
    assert {event.object for event in (asked, deployed)} == {("change_request", "1")}


async def test_another_organization_s_change_request_answers_as_an_unknown_one(store, anna, rule):
    eve = await writer(store, "other", workflow=True)
    await delete(store, anna)
    for number in (1, 0, -1, 2, 2**63, 10**30):
        for call in (request(store, eve, number), accept(store, eve, number), decline(store, eve, number)):
            with pytest.raises(ChangeRequestNotFound):
                await call
    assert await requests(store, eve) == []
    await create(store, eve)
    assert (await delete(store, eve)).change_request_id == 1


async def test_they_are_listed_by_state_and_by_rule(store, anna, rule):
    await create(store, anna, "Another", rule_id="s")
    for number in range(4):
        await update(store, anna, short_description=f"{number}")
    await delete(store, anna, "s")
    await accept(store, anna, 1)
    await decline(store, anna, 3)
    await accept(store, anna, 5, VALIDATED)
    assert await listed(store, anna) == [[1, 2, 3, 4, 5]]
    assert await listed(store, anna, page_size=2) == [[1, 2], [3, 4], [5]]
    assert await listed(store, anna, *OPEN, page_size=1) == [[2], [4], [5]]
    assert await listed(store, anna, CANCELLED, DEPLOYED) == [[1, 3]]
    assert await listed(store, anna, rule_id="s") == [[5]]
    assert await listed(store, anna, PENDING, rule_id="s") == [[]]
    assert [one.id for one in await requests(store, anna)] == [2, 4, 5]
    for token in ("?", *map(token_of, ("x", "-1", "\u0661", str(2**63), "9" * 5000))):
        asked = {"states": OPEN, "rule_id": "", "page_size": 1, "page_token": token}
        call = store.read(changes.page, caller=anna, **asked, quickly=True)
        assert await faults_of(call) == ["page_token"]


async def test_pages_end_at_two_mebibytes_and_lists_are_read_at_leisure_if_they_are_long(store, anna, monkeypatch):
    large = tuple(f"{place}".rjust(250, "y") for place in range(3000))
    await create(store, anna, directives=large)
    for number in range(3):
        await update(store, anna, short_description=f"{number}")
    assert await listed(store, anna) == [[1], [2], [3]]
    assert await requests(store, anna) is None
    assert len(await store.scan(changes.every, caller=anna, states=OPEN, quickly=False)) == 3
    monkeypatch.setattr(changes, "MAX_LISTED", 2)
    with pytest.raises(ListTooLong):
        await store.scan(changes.every, caller=anna, states=OPEN, quickly=False)


@pytest.mark.parametrize("limit", ["QUICK_ITEMS", "QUICK_BYTES"])
async def test_what_holds_up_the_event_loop_is_read_beside_it(store, anna, rule, monkeypatch, limit):
    for name in ("aaa", "bbb", "ccc"):
        await update(store, anna, display_name=name)
    asked = {"caller": anna, "states": OPEN, "rule_id": "", "page_size": 0, "page_token": ""}
    [whole] = [await store.read(changes.page, **asked, quickly=True)]
    assert [one.id for one in whole.items] == [1, 2, 3] == [one.id for one in await requests(store, anna)]
    monkeypatch.setattr(pages, limit, 2)
    assert await requests(store, anna) is await store.read(changes.page, **asked, quickly=True) is None
    assert await store.scan(changes.page, **asked, quickly=False) == whole
    one = await store.read(changes.page, **{**asked, "page_size": 1}, quickly=limit == "QUICK_ITEMS")
    assert [each.id for each in one.items] == [1]


async def test_a_list_of_more_than_a_hundred_does_not_hold_up_everybody(store, anna, rule):
    for number in range(101):
        assert len(await requests(store, anna)) == number
        await update(store, anna, short_description=str(number))
    assert await requests(store, anna) is None
