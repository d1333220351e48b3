"""Tasks, as their organization sees them."""

import asyncio

import pytest

from server.core import catalogue, tasks
from server.core.catalogue import Action, Parameter, ParameterType, Permission, Service
from server.core.errors import InvalidFields, RequestIdReused, TaskNotFound
from server.core.tasks import LAW, Retrieval, TaskState, Wanted
from tests.core.scenes import ACTION, HOUSE, Worker, organization, task

REQUEST = "0190b1e5-5d6a-7000-8000-0123456789ab"


async def refused_fields(store, caller, **changes) -> set[str]:
    with pytest.raises(InvalidFields) as refusal:
        await task(store, caller, **changes)
    return {fault.field for fault in refusal.value.faults}


async def pages(store, caller, page_size) -> list[list[str]]:
    found, token = [], ""
    while True:
        page = await store.read(tasks.page, caller=caller, page_size=page_size, page_token=token)
        found.append([one.id for one in page.items])
        token = page.next_page_token
        if not token:
            return found


async def test_a_new_task_waits_for_a_worker(store):
    caller = await organization(store)
    created = await task(store, caller, parameters={"device": "x", "a": "größe"})
    assert created.state is TaskState.PENDING
    assert (created.attempt, created.result_count, created.error) == (0, 0, None)
    assert created.parameters == {"device": "x", "a": "größe"}
    assert created.start_time is None
    assert created.end_time is None
    assert await store.read(tasks.get, caller=caller, task_id=created.id) == created


async def test_a_task_has_the_values_of_lists_as_they_were_checked(store):
    caller = await organization(store)
    lists = (Parameter(slug, slug, ParameterType.LIST, optional=True, description="") for slug in ("names", "none"))
    text = Parameter("text", "Text", ParameterType.STRING, optional=True, description="")
    action = Action("list", "List", "", (*lists, text), (Permission("data", ("sms", "photos")),))
    await store.write(catalogue.apply, caller=HOUSE, services=(Service("mail", "Mail", (action,)),))
    given = {"names": " a,,b ", "none": "", "text": " c, ", "data": "sms, photos,"}
    created = await task(store, caller, service="mail", action="list", parameters=given)
    assert created.parameters == {"names": "a,b", "none": "", "text": " c, ", "data": "sms,photos"}
    assert await store.read(tasks.get, caller=caller, task_id=created.id) == created


async def test_tasks_that_are_created_at_the_same_time_do_not_collide(store):
    caller = await organization(store)
    wanted = Wanted(*ACTION, {}, "", Retrieval.ASSTORE)
    runs = 0

    async def counted(tx):
        nonlocal runs
        runs += 1
        return await tasks.create(tx, caller=caller, wanted=wanted)

    await asyncio.gather(*(store.write(counted) for _ in range(100)))
    assert runs == 100


async def test_all_faults_of_a_task_are_told_together(store):
    caller = await organization(store)
    many = {f"p{number}": "x" for number in range(101)}
    fields = await refused_fields(store, caller, service="Big", action="", parameters=many, request_id="no")
    assert fields == {"task.service", "task.action", "task.parameters", "request_id"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"service": "a" * 64}, "task.service"),
        ({"service": "cloak", "action": "other"}, "task.action"),
        ({"parameters": {"p": "ü" * 40_000}}, "task.parameters"),
        ({"parameters": {"": "x"}}, "task.parameters"),
        ({"request_id": "12"}, "request_id"),
    ],
)
async def test_a_malformed_task_is_refused_by_the_field(store, changes, field):
    assert await refused_fields(store, await organization(store), **changes) == {field}


@pytest.mark.parametrize(
    ("changes", "field", "kind"),
    [
        ({"service": "nothing"}, "task.service", "UNKNOWN_SERVICE"),
        ({"action": "log-in"}, "task.action", "UNKNOWN_ACTION"),
        ({"service": "cloak", "action": "other"}, "task.action", "UNKNOWN_ACTION"),
        ({"parameters": {"since": "2026-11-22"}}, "task.parameters.since", "INVALID"),
    ],
)
async def test_what_the_catalogue_does_not_have_cannot_be_asked(store, changes, field, kind):
    caller = await organization(store)
    with pytest.raises(InvalidFields) as refusal:
        await task(store, caller, **changes)
    assert [(fault.field, fault.kind) for fault in refusal.value.faults] == [(field, kind)]
    assert await pages(store, caller, 10) == [[]]


async def test_an_action_that_is_gone_takes_no_new_tasks_and_old_ones_are_asked_for_again_and_done(store):
    caller = await organization(store)
    old = await task(store, caller, request_id=REQUEST)
    await store.write(catalogue.apply, caller=HOUSE, services=())
    assert await refused_fields(store, caller) == {"task.service"}
    assert await task(store, caller, request_id=REQUEST) == old
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    assert await worker.complete(lease) == ""
    assert (await store.read(tasks.get, caller=caller, task_id=old.id)).state is TaskState.SUCCEEDED


async def test_the_house_checks_the_parameters_of_its_own_action(store):
    caller = await organization(store)
    asked = {"dataset": "none", "column": "height", "bin_width": "10"}
    fields = await refused_fields(store, caller, service="cloak", action="histogram", parameters=asked)
    assert all(field.startswith("task.parameters") for field in fields)


async def test_the_same_request_again_returns_the_task_that_it_made(store):
    caller = await organization(store)
    first = await task(store, caller, parameters={"a": "1", "b": "2"}, request_id=REQUEST)
    again = await task(store, caller, parameters={"b": "2", "a": "1"}, request_id=REQUEST.upper())
    assert again == first
    assert await pages(store, caller, 10) == [[first.id]]


async def test_a_request_id_with_other_content_is_refused(store):
    caller = await organization(store)
    await task(store, caller, request_id=REQUEST)
    with pytest.raises(RequestIdReused):
        await task(store, caller, parameters={"a": "1"}, request_id=REQUEST)


async def test_a_request_id_works_in_a_batch_as_alone(store):
    caller = await organization(store)
    first = await task(store, caller, request_id=REQUEST)
    other = REQUEST.replace("a", "b")
    wanted = [Wanted(*ACTION, {}, REQUEST), Wanted(*ACTION, {"a": "1"}, other), Wanted(*ACTION, {"a": "1"}, other)]
    created = await store.write(tasks.create_many, caller=caller, wanted=wanted)
    assert created[0] == first
    assert created[1] == created[2] != first
    assert await store.write(tasks.create_many, caller=caller, wanted=wanted) == created
    with pytest.raises(RequestIdReused):
        await store.write(tasks.create_many, caller=caller, wanted=[*wanted, Wanted(*ACTION, {"a": "2"}, other)])


async def test_all_faults_of_a_batch_are_told_with_their_places(store):
    caller = await organization(store)
    asked = {"dataset": "none", "column": "height", "bin_width": "10"}
    wanted = [Wanted("cloak", "histogram", asked, ""), Wanted(*ACTION, {}, ""), Wanted("cloak", "histogram", {}, "")]
    with pytest.raises(InvalidFields) as refusal:
        await store.write(tasks.create_many, caller=caller, wanted=wanted)
    places = {fault.field.partition(".")[0] for fault in refusal.value.faults}
    assert places == {"requests[0]", "requests[2]"}
    assert all(".task.parameters" in fault.field for fault in refusal.value.faults)
    assert await pages(store, caller, 10) == [[]]


async def test_request_ids_of_organizations_do_not_meet(store):
    one, two = await organization(store, "one"), await organization(store, "two")
    first = await task(store, one, request_id=REQUEST)
    second = await task(store, two, parameters={"a": "1"}, request_id=REQUEST)
    assert first.id != second.id


async def test_another_organization_s_task_is_as_unknown_as_none(store):
    one, two = await organization(store, "one"), await organization(store, "two")
    foreign = await task(store, two)
    for task_id in (foreign.id, "none", ""):
        with pytest.raises(TaskNotFound):
            await store.read(tasks.get, caller=one, task_id=task_id)
        with pytest.raises(TaskNotFound):
            await store.write(tasks.cancel, caller=one, task_id=task_id)
    assert await pages(store, one, 10) == [[]]


async def test_tasks_are_listed_newest_first_in_pages_that_do_not_shift(store):
    caller, other = await organization(store), await organization(store, "other")
    created = []
    for _ in range(5):
        created.append((await task(store, caller)).id)
        await task(store, other)
    newest = created[::-1]
    assert await pages(store, caller, 2) == [newest[:2], newest[2:4], newest[4:]]
    assert await pages(store, caller, 5) == [newest]
    first = await store.read(tasks.page, caller=caller, page_size=2, page_token="")
    await task(store, caller)
    second = await store.read(tasks.page, caller=caller, page_size=2, page_token=first.next_page_token)
    assert [one.id for one in second.items] == newest[2:4]


@pytest.mark.parametrize("token", ["x", "eA", "%%%", "ü", "A" * 22])
async def test_a_made_up_page_token_is_refused(store, token):
    caller = await organization(store)
    with pytest.raises(InvalidFields, match="page_token"):
        await store.read(tasks.page, caller=caller, page_size=2, page_token=token)


async def test_a_negative_page_size_is_refused(store):
    caller = await organization(store)
    with pytest.raises(InvalidFields, match="page_size"):
        await store.read(tasks.page, caller=caller, page_size=-1, page_token="")


async def test_a_pending_task_is_cancelled_at_once_and_never_leased(store):
    caller = await organization(store)
    created = await task(store, caller)
    cancelled = await store.write(tasks.cancel, caller=caller, task_id=created.id)
    assert cancelled.state is TaskState.CANCELLED
    assert cancelled.error
    assert cancelled.end_time
    worker = await Worker.seated(store)
    assert await worker.lease() == []


async def test_a_task_that_is_over_cannot_be_cancelled(store):
    caller = await organization(store)
    created = await task(store, caller)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    assert await worker.complete(lease) == ""
    done = await store.read(tasks.get, caller=caller, task_id=created.id)
    assert done.state is TaskState.SUCCEEDED
    assert await store.write(tasks.cancel, caller=caller, task_id=created.id) == done


def test_every_state_has_its_law_and_the_last_ones_are_last():
    assert set(LAW) == set(TaskState)
    assert {state for state in TaskState if state.is_over} == {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.CANCELLED,
    }
    reached = {TaskState.PENDING}
    while (more := reached.union(*(LAW[state] for state in reached))) != reached:
        reached = more
    assert reached == set(TaskState)
