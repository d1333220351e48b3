"""Retention: what goes, what stays, and who sweeps."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.core import results, retention, tasks, work
from server.core.caller import Caller
from server.core.errors import ResultNotFound, TaskNotFound
from server.core.reports import Publication, Report
from server.core.retention import DAY, Policy, Sweep
from server.store import results as stored
from server.store.engine import Store
from tests.core.scenes import Worker, histogram, later, organization, task

PERIOD = 60 * retention.SECOND
A_DAY = Policy(results=DAY)


async def finished(store: Store, caller: Caller, results: int = 1, *, over: bool = True) -> str:
    """Have a worker publish results for a new task and end it; return the task's id."""
    created = await task(store, caller)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    reports = [Report(lease, Publication(number, histogram(number))) for number in range(1, results + 1)]
    assert await worker.report(*reports) == [""] * results
    if over:
        assert await worker.complete(lease) == ""
    return created.id


async def claim(store: Store, policy: Policy, holder: str = "one", after_days: float = 0) -> Sweep | None:
    seconds = after_days * 86_400
    asked = {"holder": holder, "policy": policy, "period": PERIOD}
    return await store.write_guarded(later, seconds, retention.claim, **asked)


async def sweep(store: Store, policy: Policy, after_days: float, most: int = 500) -> list[tuple[int, int]]:
    """Sweep to the end as if these days had passed, and return how many results and tasks went in each slice."""
    claimed = await claim(store, policy, after_days=after_days)
    assert claimed is not None
    slices = []
    while not slices or not slices[-1].is_last:
        asked = {"sweep": claimed, "period": PERIOD, "most": most}
        slices.append(await store.write_guarded(later, after_days * 86_400, retention.sweep, **asked))
    return [(one.results, one.tasks) for one in slices]


async def counts(store: Store, caller: Caller, task_id: str) -> list[str]:
    page, total = await store.read(results.page, caller=caller, task_id=task_id, page_size=1000, page_token="")
    assert total == len(page.items)
    return [str(one.histogram.buckets[0][2]) for one in page.items]


async def test_results_go_when_their_time_is_over_and_their_task_stays(store):
    caller = await organization(store)
    task_id = await finished(store, caller, 3)
    assert await sweep(store, A_DAY, after_days=0.9) == [(0, 0)]
    assert len(await counts(store, caller, task_id)) == 3
    assert await sweep(store, A_DAY, after_days=1.1) == [(3, 0)]
    assert await counts(store, caller, task_id) == []
    found = await store.read(tasks.get, caller=caller, task_id=task_id)
    assert (found.state, found.result_count) == (tasks.TaskState.SUCCEEDED, 3)  # How many it published.


async def test_without_a_policy_everything_is_kept_for_ever(store):
    caller = await organization(store)
    task_id = await finished(store, caller)
    assert await sweep(store, Policy(), after_days=36_500) == [(0, 0)]
    assert len(await counts(store, caller, task_id)) == 1


async def test_a_task_goes_with_its_results_and_its_request_id(store):
    caller = await organization(store)
    request_id = "00000000-0000-4000-8000-000000000000"
    asked = await task(store, caller, request_id=request_id)
    await store.write(tasks.cancel, caller=caller, task_id=asked.id)
    task_id = await finished(store, caller, 2)
    page, _ = await store.read(results.page, caller=caller, task_id=task_id, page_size=1, page_token="")
    assert await sweep(store, Policy(tasks=DAY), after_days=1.1) == [(2, 2)]
    for gone in (asked.id, task_id):
        with pytest.raises(TaskNotFound):
            await store.read(tasks.get, caller=caller, task_id=gone)
    with pytest.raises(ResultNotFound):
        await store.read(results.get, caller=caller, result_id=page.items[0].id)
    assert (await task(store, caller, request_id=request_id)).id != asked.id


async def test_work_that_is_not_over_keeps_everything_however_old_it_is(store):
    caller = await organization(store)
    waiting = await task(store, caller)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    await worker.publish(lease, 1, 5)
    assert await sweep(store, Policy(results=1, tasks=1), after_days=1000) == [(0, 0)]
    assert len(await counts(store, caller, waiting.id)) == 1


async def test_a_slice_is_bounded_and_the_task_that_ended_first_goes_first(store):
    caller = await organization(store)
    older, newer = await finished(store, caller, 5), await finished(store, caller, 2)
    claimed = await claim(store, Policy(results=DAY), after_days=2)
    asked = {"sweep": claimed, "period": PERIOD, "most": 3}

    async def next_slice() -> tuple[int, int, bool]:
        return await store.write_guarded(later, 2 * 86_400, retention.sweep, **asked)

    assert await next_slice() == (3, 0, False)
    assert len(await counts(store, caller, older)) == 2
    assert len(await counts(store, caller, newer)) == 2
    assert await next_slice() == (3, 0, False)
    assert await next_slice() == (1, 0, True)
    assert await counts(store, caller, newer) == []


async def test_a_slice_of_large_results_is_short_and_what_follows_waits_for_all_of_them(store, monkeypatch):
    caller = await organization(store)
    task_id = await finished(store, caller, 5)
    [size, *_] = await store.read(stored.sizes, task_id=task_id, before=None, most=1)
    monkeypatch.setattr(retention, "MOST_BYTES", size * 2)
    assert await sweep(store, Policy(tasks=DAY), after_days=2) == [(2, 0), (2, 0), (1, 1)]
    large = await finished(store, caller, 2)
    monkeypatch.setattr(retention, "MOST_BYTES", 1)
    assert await sweep(store, A_DAY, after_days=3) == [(1, 0), (1, 0)]
    assert await counts(store, caller, large) == []


async def test_pages_go_on_while_results_are_swept(store):
    caller = await organization(store)
    task_id = await finished(store, caller, 6)
    asked = {"caller": caller, "task_id": task_id, "page_size": 2}
    first, total = await store.read(results.page, **asked, page_token="")
    assert total == 6
    claimed = await claim(store, A_DAY, after_days=2)
    values = {"sweep": claimed, "period": PERIOD, "most": 3}
    await store.write_guarded(later, 2 * 86_400, retention.sweep, **values)
    second, total = await store.read(results.page, **asked, page_token=first.next_page_token)
    assert (len(second.items), total, second.next_page_token) == (1, 3, "")
    assert second.items[0].publish_time <= first.items[-1].publish_time
    numbered = await store.read(results.numbered_page, caller=caller, task_id=task_id, number=2, size=2)
    assert (numbered.tally.kept, numbered.tally.published, len(numbered.items)) == (3, 6, 1)


async def test_a_page_token_of_swept_results_is_an_empty_page(store):
    caller = await organization(store)
    task_id = await finished(store, caller, 3)
    asked = {"caller": caller, "task_id": task_id, "page_size": 1}
    first, _ = await store.read(results.page, **asked, page_token="")
    await sweep(store, A_DAY, after_days=2)
    page, total = await store.read(results.page, **asked, page_token=first.next_page_token)
    assert (list(page.items), page.next_page_token, total) == ([], "", 0)


async def test_one_sweeps_at_a_time_and_the_next_after_a_period(store):
    assert await claim(store, A_DAY, "one") is not None
    assert await claim(store, A_DAY, "two") is None
    claimed = Sweep("one", 0, 0)
    assert (await store.write_guarded(retention.sweep, sweep=claimed, period=PERIOD)).is_last
    assert await claim(store, A_DAY, "two") is None
    assert await claim(store, A_DAY, "two", after_days=61 / 86_400) is not None


async def test_a_process_that_dies_in_the_middle_is_followed_by_another_and_can_do_nothing_more(store):
    caller = await organization(store)
    task_id = await finished(store, caller, 4)
    dead = await claim(store, A_DAY, "dead", after_days=2)
    values = {"period": PERIOD, "most": 3}
    await store.write_guarded(later, 2 * 86_400, retention.sweep, sweep=dead, **values)
    assert await claim(store, A_DAY, "heir", after_days=2) is None
    moment = 31 / 86_400
    heir = await claim(store, A_DAY, "heir", after_days=2 + moment)
    assert heir is not None
    after = (2 + moment) * 86_400
    assert await store.write_guarded(later, after, retention.sweep, sweep=dead, **values) is None
    assert await store.write_guarded(later, after, retention.sweep, sweep=heir, **values) == (1, 0, True)
    assert await counts(store, caller, task_id) == []


KILLED_MIDWAY = """
import asyncio, os, signal, sys
from pathlib import Path
from server.core import retention
from server.store.address import PostgresAddress
from server.store.opening import open_store

async def sweep_and_die(tx, sweep):
    assert await retention.sweep(tx, sweep=sweep, period=1, most=3) == (3, 0, False)
    os.kill(os.getpid(), signal.SIGKILL)

async def main(where):
    store = await open_store(PostgresAddress.parse(where) if "://" in where else Path(where))
    asked = {"holder": "dead", "policy": retention.Policy(results=1), "period": 1}
    sweep = await store.write_guarded(retention.claim, **asked)
    await store.write_guarded(retention.sweep, sweep=sweep, period=1, most=2)
    await store.write_guarded(sweep_and_die, sweep)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_process_killed_within_a_slice_leaves_the_slices_before_it_and_another_goes_on(store, address):
    caller = await organization(store)
    task_id = await finished(store, caller, 7)
    where = str(address) if isinstance(address, Path) else address.url
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", KILLED_MIDWAY, where], check=False)
    assert done.returncode == -signal.SIGKILL
    assert await store.read(results.tally, caller=caller, task_id=task_id) == (7, 2)
    assert len(await counts(store, caller, task_id)) == 5
    assert await claim(store, A_DAY, "heir") is None
    assert await sweep(store, A_DAY, after_days=2) == [(5, 0)]


async def test_a_clock_that_is_set_back_does_not_end_sweeping(store):
    assert await claim(store, A_DAY, "future", after_days=365) is not None
    assert await claim(store, A_DAY, "now") is not None


async def test_sweepers_that_race_remove_everything_once(store):
    caller = await organization(store)
    task_ids = [await finished(store, caller, 3) for _ in range(4)]
    claimed = await claim(store, A_DAY, after_days=2)

    async def run() -> int:
        removed = 0
        while True:
            asked = {"sweep": claimed, "period": PERIOD, "most": 2}
            slice_ = await store.write_guarded(later, 2 * 86_400, retention.sweep, **asked)
            if slice_ is None:
                return removed
            removed += slice_.results

    assert sum(await asyncio.gather(*(run() for _ in range(4)))) == 12
    for task_id in task_ids:
        assert (await store.read(results.tally, caller=caller, task_id=task_id)) == (3, 3)


async def test_word_for_workers_that_are_gone_goes_and_word_for_others_stays(store):
    caller = await organization(store)
    gone, here = await Worker.seated(store), await Worker.seated(store)
    for worker in (gone, here):
        asked = await task(store, caller)
        assert await worker.lease()
        await store.write(tasks.cancel, caller=caller, task_id=asked.id)
    await store.write(work.leave, session=gone.session)  # It has no lease to come back for.
    await sweep(store, Policy(), after_days=0)
    left = await store.write(work.take_revoked, sessions=[gone.session.id, here.session.id])
    assert set(left) == {here.session.id}


async def test_what_is_due_and_what_was_done_can_be_seen(store):
    caller = await organization(store)
    await finished(store, caller, 3)
    policy = Policy(results=DAY, tasks=2 * DAY)
    assert await store.read(retention.due, policy=policy) == (0, 0)
    assert await store.read(later, 1.5 * 86_400, retention.due, policy=policy) == (3, 0)
    assert await store.read(later, 2.5 * 86_400, retention.due, policy=policy) == (3, 1)
    await sweep(store, policy, after_days=2.5)
    assert await store.read(later, 2.5 * 86_400, retention.due, policy=policy) == (0, 0)
    state = await store.read(retention.state)
    assert (state.holder, state.results, state.tasks) == ("", 3, 1)
    assert state.begin_time <= state.end_time


@pytest.mark.parametrize(("days", "period"), [(0, 0), (0.5, DAY // 2), (30, 30 * DAY)])
def test_a_policy_is_given_in_days(days, period):
    assert Policy.of_days(results=days, tasks=days, stored=days) == (period, period, period)
