"""Sweeping, as server processes do it: on a timer, in turns, without being in anybody's way."""

import asyncio
import logging
import uuid
from contextlib import asynccontextmanager

import pytest

from server.core import datasets, results, retention, uploading
from server.core.retention import DAY, Policy
from server.services import sweeping
from server.services.sweeping import Sweeping
from server.store.engine import StoreUnavailable
from tests.core.filled import dataset
from tests.core.scenes import later, organization
from tests.core.test_retention import finished

PATIENCE_SECONDS = 20
AT_ONCE = Policy(results=1)  # A microsecond.


@asynccontextmanager
async def sweepers(*all_: Sweeping):
    """Sweepers that run until the block ends."""
    running = [asyncio.create_task(one.run()) for one in all_]
    try:
        yield
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def until_kept(store, caller, task_id: str, kept: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        generation = 0
        while (await store.read(results.tally, caller=caller, task_id=task_id)).kept != kept:
            generation = await store.changed(generation)


async def test_results_whose_time_is_over_vanish_by_themselves(store, caplog):
    caplog.set_level(logging.INFO)
    caller = await organization(store)
    first = await finished(store, caller, 3)
    async with sweepers(Sweeping(store, AT_ONCE, period_seconds=0.05)):
        await until_kept(store, caller, first, 0)
        second = await finished(store, caller, 2)
        await until_kept(store, caller, second, 0)
    assert "swept 3 results and 0 tasks" in caplog.text


async def test_two_sweepers_take_turns_and_lose_no_count(store, monkeypatch):
    monkeypatch.setattr(retention, "MOST_ROWS", 2)
    caller = await organization(store)
    task_ids = [await finished(store, caller, 5) for _ in range(3)]
    async with sweepers(*(Sweeping(store, AT_ONCE, period_seconds=0.05) for _ in range(2))):
        for task_id in task_ids:
            await until_kept(store, caller, task_id, 0)
    for task_id in task_ids:
        assert await store.read(results.tally, caller=caller, task_id=task_id) == (5, 5)


async def test_an_unavailable_store_and_a_failure_that_nobody_foresaw_are_survived(store, caplog, monkeypatch):
    caller = await organization(store)
    task_id = await finished(store, caller, 1)
    failures = [StoreUnavailable("gone for now"), ValueError("a mistake of ours")]
    look = retention.look

    async def look_or_fail(tx):
        if failures:
            raise failures.pop(0)
        return await look(tx)

    monkeypatch.setattr(retention, "look", look_or_fail)
    async with sweepers(Sweeping(store, AT_ONCE, period_seconds=0.05)):
        await until_kept(store, caller, task_id, 0)
    assert "sweeping waits for the store: gone for now" in caplog.text
    assert "a mistake of ours" in caplog.text


async def test_nothing_is_swept_while_the_clock_is_far_from_where_it_was(store, caplog, monkeypatch):
    monkeypatch.setattr(sweeping, "JUMP_SECONDS", -1.0)  # Every look is a jump.
    caller = await organization(store)
    task_id = await finished(store, caller, 1)
    one = Sweeping(store, AT_ONCE, period_seconds=0.05)
    assert await one._sweep_if_due() == 0.05
    assert await store.read(results.tally, caller=caller, task_id=task_id) == (1, 0)
    assert "the clock moved by" in caplog.text
    monkeypatch.undo()
    await one._sweep_if_due()
    assert await store.read(results.tally, caller=caller, task_id=task_id) == (1, 1)


async def test_what_the_streams_of_dead_servers_left_is_ended(store, monkeypatch):
    monkeypatch.setattr(uploading, "IDLE", -1)
    caller = await organization(store)
    await dataset(store, caller)
    for user in ("anna", "bert"):
        begun = {"caller": caller, "dataset": "heights", "upload_id": str(uuid.uuid4())}
        stream = await store.write_guarded(uploading.begin, **begun)
        row = (stream.table.id, user, "[1]")
        await store.write_guarded(uploading.put, stream=stream, first_row=0, rows=[row])
    await Sweeping(store, Policy(), period_seconds=60)._sweep_if_due()
    assert (await store.read(datasets.get, caller=caller, name="heights")).version == 4


async def test_after_a_clock_that_was_ahead_is_put_right_sweeping_goes_on(store):
    caller = await organization(store)
    task_id = await finished(store, caller, 1)
    asked = {"holder": "ahead", "policy": Policy(), "period": DAY}
    claimed = await store.write_guarded(later, 365 * 86_400, retention.claim, **asked)
    await store.write_guarded(later, 365 * 86_400, retention.sweep, sweep=claimed, period=DAY)
    await Sweeping(store, AT_ONCE, period_seconds=60)._sweep_if_due()
    assert await store.read(results.tally, caller=caller, task_id=task_id) == (1, 1)


@pytest.mark.parametrize("policy", [Policy(), Policy(results=DAY, tasks=DAY)])
async def test_what_is_young_or_kept_for_ever_stays(store, policy):
    caller = await organization(store)
    task_id = await finished(store, caller, 1)
    await Sweeping(store, policy, period_seconds=60)._sweep_if_due()
    assert await store.read(results.tally, caller=caller, task_id=task_id) == (1, 0)
    assert (await store.read(retention.state)).end_time is not None
