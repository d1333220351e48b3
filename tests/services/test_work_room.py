"""Room for leases comes back whatever a worker says, and what it reports or leaves unread keeps nobody waiting."""

import asyncio

import pytest

from server.core import reports, tasks, work
from server.core.tasks import TaskState
from taskhouse.v1 import work_pb2 as pb
from tests.core.scenes import task
from tests.services.test_work import Stream, caller, channel, completed, failed, published, stream, token

__all__ = ["caller", "channel", "stream", "token"]  # Fixtures.


@pytest.mark.parametrize("publications", [0, 2], ids=["none", "two"])
async def test_a_completion_by_which_the_task_failed_leaves_room_for_the_next(stream, store, caller, publications):
    first = await task(store, caller, retrieval="asstore")
    await stream.hello(capacity=1)
    [lease] = await stream.leases()
    said = [published(lease, number + 1) for number in range(publications)]
    assert (await stream.report(*said, completed(lease)))[-1]
    assert (await store.read(tasks.get, caller=caller, task_id=first.id)).state is TaskState.FAILED
    second = await task(store, caller)
    assert [lease.task_id for lease in await stream.leases()] == [second.id]


async def test_a_lease_that_goes_on_after_a_refusal_takes_its_room_until_it_ends(stream, store, caller):
    await task(store, caller)
    await stream.hello(capacity=1)
    [lease] = await stream.leases()
    second = await task(store, caller)
    malformed = pb.Report(lease=lease, publication=pb.Publication(number=1))
    assert await stream.report(malformed, completed(lease)) == ["INVALID_FIELD"] * 2
    assert await stream.report(completed(lease)) == ["INVALID_FIELD"]
    await stream.say(reports=pb.Reports(reports=[failed(lease)]))
    await stream.hear("acknowledgements")  # And no lease came before.
    assert [lease.task_id for lease in await stream.leases()] == [second.id]


async def test_a_worker_that_reads_nothing_loses_its_tasks(channel, token, stream, store, caller, monkeypatch):
    monkeypatch.setattr("server.services.work.UNREAD_SECONDS", 0.2)
    large = {"device": "x" * 60_000}
    created = [await task(store, caller, parameters=large) for _ in range(100)]
    await stream.hello(capacity=100)  # And reads no more than the welcome.
    async with asyncio.timeout(5):
        while not (await store.read(tasks.get, caller=caller, task_id=created[-1].id)).attempt:  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0.01)
    other = Stream(channel, token)
    await other.hello(capacity=1)
    async with asyncio.timeout(5):  # Its session would have lasted ten seconds.
        [lease] = await other.leases()
    assert (lease.task_id, lease.attempt) == (created[0].id, 2)


@pytest.fixture
def verbs(store, monkeypatch) -> list[object]:
    """The verbs that did not wait for others."""
    real, soon = store.write_soon, []

    async def write_soon(verb, **values):
        soon.append(verb)
        return await real(verb, **values)

    monkeypatch.setattr(store, "write_soon", write_soon)
    return soon


async def test_a_worker_that_is_sent_much_renews_its_session_meanwhile(channel, token, stream, store, caller, verbs):
    large = {"device": "x" * 60_000}
    for _ in range(100):
        await task(store, caller, parameters=large)
    await stream.hello(capacity=100)
    await stream.say(renewal=pb.Renewal())
    await Stream(channel, token).hello()  # By now the house has heard it.
    count = 0
    while work.renew not in verbs:
        count += len((await stream.hear("leases")).leases)
    assert count < 100


async def test_what_a_worker_reports_waits_as_all_that_is_written(stream, store, caller, verbs):
    await task(store, caller)
    await stream.hello()
    [lease] = await stream.leases()
    assert await stream.report(published(lease), completed(lease)) == ["", ""]
    assert work.grant in verbs
    assert reports.report not in verbs
