"""Results on their one way out: exactly one download, whatever dies, is cancelled or is said twice."""

import asyncio
from dataclasses import replace

import pytest

from server.core import channels, deliveries, reports, retention, tasks, work
from server.core.arrivals import Bytes, Chunk
from server.core.deliveries import CHUNK_BYTES, FAILURE, INLINE_BYTES, LAW, DeliveryState, Description
from server.core.errors import ResultClaimed, ResultNotFound
from server.core.reports import Ending, Failure, Heard, Publication, Report
from server.core.tasks import TaskState
from tests.core.scenes import Worker, histogram, later, organization, sweep, task

WHOLE = b"x" * CHUNK_BYTES


def result(data: bytes, chunks: int = 0, number: int = 1) -> Publication:
    return Publication(number, Bytes(data, chunks, "text/plain", "a.txt"))


async def published(store, data: bytes = b"abc", *chunks: bytes, retrieval: str = "asstore"):
    """Return who asked for a task, and the task, which is done."""
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval=retrieval, account="john")
    [lease] = await worker.lease()
    said = [Report(lease, Chunk(number, chunk)) for number, chunk in enumerate(chunks, start=1)]
    said += [Report(lease, result(data, len(chunks))), Report(lease, Ending.COMPLETED)]
    assert set(await worker.report(*said)) == {""}
    return caller, asked


async def claim(store, caller, task_id, after: float = 0):
    return await store.write_guarded(later, after, deliveries.claim, caller=caller, task_id=task_id)


async def status(store, caller, task_id) -> deliveries.Status:
    [found] = await store.read(deliveries.statuses, organization_id=caller.tenant, task_ids=[task_id])
    return found


async def removed(store, rows) -> None:
    while await store.write_guarded(deliveries.remove_chunks):
        pass
    assert await rows("SELECT * FROM chunks") == []


async def test_a_result_is_claimed_delivered_and_gone(store, rows):
    caller, asked = await published(store)
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.AVAILABLE
    parcel = await claim(store, caller, asked.id)
    assert (parcel.rest, parcel.chunks, parcel.what.size) == (b"abc", 0, 3)
    assert (parcel.what, parcel.failed) == (Description(3, "text/plain", "a.txt"), False)
    with pytest.raises(ResultClaimed):
        await claim(store, caller, asked.id)
    assert await store.write_guarded(deliveries.deliver, parcels=[parcel])
    assert not await store.write_guarded(deliveries.deliver, parcels=[parcel])
    with pytest.raises(ResultNotFound):
        await claim(store, caller, asked.id)
    found = await status(store, caller, asked.id)
    assert (found.state, found.delivery, found.retrieved) == (TaskState.SUCCEEDED, DeliveryState.DELIVERED, 1)
    assert await rows("SELECT rest FROM deliveries") == [(None,)]


async def test_another_credential_and_unknown_ids_find_nothing(store):
    caller, asked = await published(store)
    stranger = replace(caller, credential_id="d")
    for who, task_id in ((stranger, asked.id), (caller, "no id"), (caller, "00000000-0000-0000-0000-000000000000")):
        with pytest.raises(ResultNotFound):
            await claim(store, who, task_id)


@pytest.mark.parametrize("size", [INLINE_BYTES, INLINE_BYTES + 1, CHUNK_BYTES])
async def test_chunks_come_out_as_they_went_in_and_are_removed(store, rows, size):
    caller, asked = await published(store, b"z" * size, WHOLE, WHOLE)
    parcel = await claim(store, caller, asked.id)
    parts = [await store.read(deliveries.part, parcel=parcel, number=number) for number in range(1, parcel.parts + 1)]
    assert b"".join(parts) == WHOLE + WHOLE + b"z" * size
    assert parcel.what.size == 2 * CHUNK_BYTES + size
    await store.write_guarded(deliveries.deliver, parcels=[parcel])
    await removed(store, rows)


async def test_a_claim_that_is_given_back_can_be_taken_again(store):
    caller, asked = await published(store)
    first = await claim(store, caller, asked.id)
    await store.write_guarded(deliveries.give_back, parcel=first)
    second = await claim(store, caller, asked.id)
    assert second.claim == first.claim + 1
    assert not await store.write_guarded(deliveries.deliver, parcels=[first])
    assert not await store.write_guarded(deliveries.renew, parcel=first)
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.CLAIMED


async def test_a_claim_that_nobody_renews_ends(store):
    caller, asked = await published(store)
    first = await claim(store, caller, asked.id)
    with pytest.raises(ResultClaimed):
        await claim(store, caller, asked.id, after=29)
    assert await store.write_guarded(later, 29, deliveries.renew, parcel=first)
    with pytest.raises(ResultClaimed):
        await claim(store, caller, asked.id, after=58)
    assert (await claim(store, caller, asked.id, after=60)).claim == 2


async def test_what_is_handed_over_counts_as_retrieved_until_it_is_given_back(store):
    caller, asked = await published(store)
    first = await claim(store, caller, asked.id)
    assert await store.write_guarded(deliveries.hand_over, parcel=first)
    assert (await status(store, caller, asked.id)).retrieved == 1
    assert await claim(store, caller, asked.id) is None
    with pytest.raises(ResultNotFound):
        await store.read(deliveries.describe, caller=caller, task_id=asked.id)
    await store.write_guarded(deliveries.give_back, parcel=first)
    assert (await status(store, caller, asked.id)).retrieved == 0
    assert not await store.write_guarded(deliveries.hand_over, parcel=first)
    second = await claim(store, caller, asked.id)
    assert await store.write_guarded(deliveries.hand_over, parcel=second)
    await store.write_guarded(deliveries.consume, caller=caller, task_ids=[asked.id])
    assert not await store.write_guarded(deliveries.deliver, parcels=[second])
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.DELIVERED


@pytest.mark.parametrize("by", ["sweeping", "claiming"])
async def test_what_was_handed_over_by_a_process_that_died_can_be_had_again(store, by):
    caller, asked = await published(store)
    await store.write_guarded(deliveries.hand_over, parcel=await claim(store, caller, asked.id))
    assert await claim(store, caller, asked.id, after=29) is None
    if by == "sweeping":
        assert await store.write_guarded(later, 31, channels.tidy) == 1
        assert (await status(store, caller, asked.id)).retrieved == 0
    again = await claim(store, caller, asked.id, after=31)
    assert (again.claim, again.rest) == (2, b"abc")
    assert (await status(store, caller, asked.id)).retrieved == 0


async def test_of_many_claims_at_once_in_two_processes_one_succeeds(store, elsewhere):
    caller, asked = await published(store)
    claims = [claim(one, caller, asked.id) for one in (store, elsewhere) * 32]
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert sum(isinstance(one, deliveries.Parcel) for one in outcomes) == 1
    assert sum(isinstance(one, ResultClaimed) for one in outcomes) == 63


async def test_what_is_said_twice_is_kept_once(store, rows):
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval="asstore", account="john")
    [lease] = await worker.lease()
    chunk = Report(lease, Chunk(1, WHOLE))
    assert await worker.report(chunk, chunk) == ["", ""]
    said = [chunk, Report(lease, result(b"z", 1)), Report(lease, result(b"z", 1)), Report(lease, Ending.COMPLETED)]
    assert await worker.report(*said) == [""] * 4
    assert await worker.report(*said) == [""] * 4
    assert (await rows("SELECT count(*) FROM chunks")) == [(1,)]
    assert (await claim(store, caller, asked.id)).what.size == CHUNK_BYTES + 1


async def test_another_attempt_starts_over_and_what_the_first_left_is_removed(store, rows):
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval="asstore", account="john")
    [lease] = await worker.lease()
    await worker.report(Report(lease, Chunk(1, WHOLE)), Report(lease, Failure("no")))
    [lease] = await worker.lease(after=5)
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.AWAITED
    said = [Report(lease, Chunk(1, b"y" * CHUNK_BYTES)), Report(lease, result(b"", 1)), Report(lease, Ending.COMPLETED)]
    assert await worker.report(*said) == [""] * 3
    parcel = await claim(store, caller, asked.id)
    assert (parcel.attempt, parcel.chunks, parcel.rest) == (2, 1, b"")
    while await store.write_guarded(deliveries.remove_chunks):
        pass
    assert await rows("SELECT task_id, attempt FROM chunks") == [(asked.id, 2)]


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ([result(b"a"), result(b"b", number=2)], "InvalidFields"),
        ([result(b"a", chunks=3)], "InvalidFields"),
        ([Chunk(1, b"short")], "InvalidFields"),
        ([Chunk(2, WHOLE)], "InvalidFields"),
        ([Chunk(1, WHOLE), result(b"")], "InvalidFields"),
        ([Ending.COMPLETED], "InvalidFields"),
    ],
)
async def test_what_no_attempt_could_publish_ends_the_task_and_says_why(store, said, refusal):
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval="asstore", account="john")
    [lease] = await worker.lease()
    assert (await worker.report(*(Report(lease, one) for one in said)))[-1] == refusal
    found = await store.read(tasks.get, caller=caller, task_id=asked.id)
    assert found.state is TaskState.FAILED
    assert found.error
    assert (await claim(store, caller, asked.id)).rest == FAILURE


async def test_bytes_are_no_pages(store):
    caller, worker = await organization(store), await Worker.seated(store)
    await task(store, caller)
    [lease] = await worker.lease()
    assert await worker.report(Report(lease, result(b"a"))) == ["InvalidFields"]


async def test_a_result_that_is_too_large_cannot_be_stored(store, rows):
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval="asstore", account="john")
    [lease] = await worker.lease()
    said = [Report(lease, Chunk(1, WHOLE)), Report(lease, result(b"abc", 1))]
    heard = [Heard(worker.session, said, {})]
    [answers] = await store.write_guarded(reports.report, heard=heard, max_bytes=CHUNK_BYTES + 2)
    assert [type(one).__name__ for one in answers] == ["NoneType", "ResultTooLarge"]
    found = await status(store, caller, asked.id)
    assert (found.state, found.unstorable, found.failed) == (TaskState.FAILED, 1, 1)
    await removed(store, rows)


async def test_a_histogram_is_json_where_results_are_no_pages(store):
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval="asstore", account="john")
    [lease] = await worker.lease()
    await worker.report(Report(lease, Publication(1, histogram(5))), Report(lease, Ending.COMPLETED))
    parcel = await claim(store, caller, asked.id)
    assert parcel.rest == b'{"buckets":[{"label":"height","value":"0","count":5}],"exceptions":[]}'


@pytest.mark.parametrize("ended", ["cancelled", "failed", "lost", "deregistered"])
async def test_that_a_task_ended_badly_can_be_had_once(store, ended):
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval="asstore", account="john")
    if ended == "cancelled":
        await worker.lease()
        await store.write(tasks.cancel, caller=caller, task_id=asked.id)
    elif ended == "deregistered":
        await store.write(tasks.fail_of_account, caller=caller, service=asked.service, account="john")
    else:
        for attempt in range(work.MAX_FAILURES):
            [lease] = await worker.lease(after=60 * attempt)
            if ended == "failed":
                await worker.report(Report(lease, Failure("no")))
            else:
                await store.write_guarded(later, 60 * attempt + 30, sweep)
                worker = await Worker.seated(store)
    parcel = await claim(store, caller, asked.id)
    assert (parcel.rest, parcel.failed, parcel.what.content_type) == (FAILURE, True, "application/json")
    await store.write_guarded(deliveries.deliver, parcels=[parcel])
    with pytest.raises(ResultNotFound):
        await claim(store, caller, asked.id)


async def test_a_result_can_be_had_before_its_task_is_done_and_is_not_published_again(store):
    caller, worker = await organization(store), await Worker.seated(store)
    asked = await task(store, caller, retrieval="asstore", account="john")
    [lease] = await worker.lease()
    await worker.report(Report(lease, result(b"a")))
    parcel = await claim(store, caller, asked.id)
    await store.write_guarded(deliveries.deliver, parcels=[parcel])
    await worker.report(Report(lease, Failure("late")))
    [lease] = await worker.lease(after=5)
    said = [Report(lease, Chunk(1, WHOLE)), Report(lease, result(b"b", 1)), Report(lease, Ending.COMPLETED)]
    assert await worker.report(*said) == [""] * 3
    with pytest.raises(ResultNotFound):
        await claim(store, caller, asked.id)


async def test_whoever_says_that_he_has_a_result_is_believed(store, rows):
    caller, asked = await published(store, b"z", WHOLE)
    waiting = await task(store, caller, retrieval="asstore", account="john")
    ids = [asked.id, waiting.id, asked.id, "unknown", "00000000-0000-0000-0000-000000000000"]
    for _ in range(2):
        await store.write_guarded(deliveries.consume, caller=caller, task_ids=ids)
    found = await status(store, caller, asked.id)
    assert (found.delivery, found.retrieved) == (DeliveryState.DELIVERED, 1)
    assert (await status(store, caller, waiting.id)).delivery == DeliveryState.AWAITED
    with pytest.raises(ResultNotFound):
        await claim(store, caller, asked.id)
    await removed(store, rows)


async def test_nobody_says_so_of_another_s_result(store):
    caller, asked = await published(store)
    stranger = replace(caller, credential_id="d")
    await store.write_guarded(deliveries.consume, caller=stranger, task_ids=[asked.id])
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.AVAILABLE


async def test_what_nobody_fetches_expires_and_goes_with_its_task(store, rows):
    caller, asked = await published(store, b"z", WHOLE)
    await task(store, caller, retrieval="asstore", account="john")
    day = retention.DAY
    for days, states in ((2, ["AVAILABLE"]), (4, ["EXPIRED"]), (8, [])):
        policy = retention.Policy(stored=3 * day, tasks=7 * day)
        after = days * 86_400
        sweep = await store.write_guarded(later, after, retention.claim, holder="me", policy=policy, period=1)
        while not (await store.write_guarded(later, after, retention.sweep, sweep=sweep, period=1)).is_last:
            pass
        found = await rows("SELECT state FROM deliveries WHERE state <> 'AWAITED'")
        assert [state for (state,) in found] == states
        chunks = await rows("SELECT number FROM chunks")
        assert len(chunks) == (states == ["AVAILABLE"])
    assert await rows("SELECT task_id FROM leftovers") == []
    with pytest.raises(ResultNotFound):
        await claim(store, caller, asked.id)


def test_every_state_has_its_followers():
    assert set(LAW) == set(DeliveryState)
