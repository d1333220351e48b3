"""Admission: how many unfinished tasks an organization may have."""

import pytest

from server.core import tasks
from server.core.admission import SHARE, Admission
from server.core.errors import TaskLimitReached
from server.core.tasks import Wanted
from tests.core.scenes import ACTION, Worker, organization, task

REQUEST = "0190b1e5-5d6a-7000-8000-0123456789ab"


async def create(store, caller, count: int, full: bool = False) -> list[tasks.Task]:
    wanted = [Wanted(*ACTION, {}, "")] * count
    return await store.write(tasks.create_many, caller=caller, wanted=wanted, full=full)


async def test_as_many_as_the_limit_are_admitted_and_no_more_until_some_are_over(store):
    caller = await organization(store)
    admission = Admission(store, 5)
    for _ in range(5):
        assert not await admission.is_full(caller.tenant)
        await task(store, caller)
    assert await admission.is_full(caller.tenant)
    worker = await Worker.seated(store)
    [lease, *_] = await worker.lease()
    assert await admission.is_full(caller.tenant)
    await worker.complete(lease)
    assert not await admission.is_full(caller.tenant)


async def test_a_batch_is_admitted_as_a_whole_or_not_at_all(store):
    caller = await organization(store)
    admission = Admission(store, 5)
    assert await admission.is_full(caller.tenant, 6)
    assert not await admission.is_full(caller.tenant, 5)
    await create(store, caller, 5)
    assert await admission.is_full(caller.tenant, 1)


async def test_organizations_do_not_take_each_other_s_room(store):
    one, two = await organization(store, "one"), await organization(store, "two")
    admission = Admission(store, 2)
    await create(store, one, 2)
    assert await admission.is_full(one.tenant)
    assert not await admission.is_full(two.tenant)


async def test_processes_that_each_use_up_their_share_stay_within_the_limit(store):
    caller = await organization(store)
    limit = 4 * SHARE
    processes = [Admission(store, limit) for _ in range(8)]
    while admitted := [one for one in processes if not await one.is_full(caller.tenant)]:
        await create(store, caller, len(admitted))
    unfinished = await store.read(tasks.count_unfinished, organization_id=caller.tenant, most=2 * limit)
    assert limit <= unfinished < limit + len(processes)


async def test_the_count_ends_at_what_is_asked_for(store):
    caller = await organization(store)
    await create(store, caller, 5)
    assert await store.read(tasks.count_unfinished, organization_id=caller.tenant, most=3) == 3
    assert await store.read(tasks.count_unfinished, organization_id=caller.tenant, most=9) == 5


async def test_what_was_asked_for_before_is_answered_however_full_it_is(store):
    caller = await organization(store)
    wanted = Wanted(*ACTION, {}, REQUEST)
    first = await store.write(tasks.create, caller=caller, wanted=wanted)
    assert await store.write(tasks.create, caller=caller, wanted=wanted, full=True) == first
    with pytest.raises(TaskLimitReached):
        await create(store, caller, 1, full=True)
