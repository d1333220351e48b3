"""Sessions, leases and reports: one accepted outcome, whatever dies, comes late or is said twice."""

import pytest
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import bindparam, update
from sqlalchemy.dialects.sqlite import dialect

from server.core import reports, tasks, work
from server.core.errors import InvalidFields, LeaseEnded, invalid
from server.core.reports import Ending, Failure, Heard, Publication, Report
from server.core.tasks import TaskState
from server.core.work import DIED, MAX_FAILURES, LeaseName, Look, Wish
from server.store import results as stored_results
from server.store import tasks as stored_tasks
from server.store import work as stored_work
from server.store.engine import Command, Compiled, Query
from server.store.tasks import TASKS
from tests.core.race import race
from tests.core.scenes import ACTION, Worker, histogram, later, organization, sweep, task, worker


async def state_of(store, caller, task_id) -> tasks.Task:
    return await store.read(tasks.get, caller=caller, task_id=task_id)


async def look(store, *sessions, after: float = 0) -> Look:
    ids = [one.session.id for one in sessions]
    return await store.write(later, after, work.look, actions=[ACTION], sessions=ids)


async def test_a_leased_task_is_done_once(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    assert lease == (created.id, 1)
    assert await worker.lease() == []
    running = await state_of(store, caller, created.id)
    assert (running.state, running.attempt) == (TaskState.RUNNING, 1)
    assert running.start_time is not None
    assert await worker.report(Report(lease, Publication(1, histogram(5))), Report(lease, Ending.COMPLETED)) == ["", ""]
    done = await state_of(store, caller, created.id)
    assert (done.state, done.result_count, done.error) == (TaskState.SUCCEEDED, 1, None)
    assert done.end_time


async def test_a_finished_task_keeps_nothing_of_its_worker(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    await worker.complete(lease)
    stored = await store.read(stored_tasks.by_id, organization_id=caller.tenant, task_id=created.id)
    assert stored.session_id is None


async def test_repeated_reports_do_no_harm(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    assert [await worker.publish(lease, 1, 5), await worker.publish(lease, 1, 6)] == ["", ""]
    assert [await worker.complete(lease), await worker.complete(lease)] == ["", ""]
    assert await worker.publish(lease, 1, 7) == ""
    assert await worker.publish(lease, 2, 7) == "LeaseEnded"
    assert await worker.fail(lease) == "LeaseEnded"
    assert (await state_of(store, caller, created.id)).result_count == 1
    [only] = await store.read(stored_results.page, task_id=created.id, before=None, most=10)
    assert "5" in only.content


async def test_what_comes_under_an_older_attempt_changes_nothing(store):
    caller = await organization(store)
    created = await task(store, caller)
    slow = await Worker.seated(store)
    [stale] = await slow.lease()
    await store.write_guarded(later, 11, sweep)
    await store.write(force_ready, task_id=created.id)
    quick = await Worker.seated(store)
    [fresh] = await quick.lease()
    assert fresh == (created.id, 2)
    before = await state_of(store, caller, created.id)
    assert {await slow.publish(stale), await slow.complete(stale), await slow.fail(stale)} == {"LeaseEnded"}
    assert await slow.hand_back(stale) == "LeaseEnded"
    assert await slow.complete(fresh) == "LeaseEnded"
    assert await state_of(store, caller, created.id) == before
    assert await quick.complete(fresh) == ""
    assert await slow.complete(stale) == "LeaseEnded"


async def test_failures_are_retried_later_each_time_and_then_given_up(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    waits = []
    after = 0.0
    for attempt in range(1, MAX_FAILURES + 1):
        assert await worker.lease(after=after - 0.2 if after else 0) == ([] if after else [(created.id, 1)])
        leases = await worker.lease(after=after) if after else [LeaseName(created.id, 1)]
        assert leases == [(created.id, attempt)]
        assert await worker.fail(leases[0], f"failed {attempt}") == ""
        after = work.back_off(created.id, attempt) / 1_000_000 + 0.1
        waits.append(after)
    failed = await state_of(store, caller, created.id)
    assert (failed.state, failed.error, failed.attempt) == (TaskState.FAILED, "failed 5", 5)
    assert failed.end_time
    assert waits == sorted(set(waits))


async def test_a_failure_that_cannot_be_retried_is_the_last(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    assert await worker.fail(lease, "in vain", non_retryable=True) == ""
    failed = await state_of(store, caller, created.id)
    assert (failed.state, failed.error, failed.failures) == (TaskState.FAILED, "in vain", 1)
    assert failed.end_time


async def test_a_pending_task_does_not_show_the_error_of_its_last_attempt(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    await worker.fail(lease, "x\0" * 5000)
    again = await state_of(store, caller, created.id)
    assert (again.state, again.error) == (TaskState.PENDING, None)


async def test_a_task_handed_back_is_free_at_once_and_nothing_is_counted(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    for attempt in range(1, MAX_FAILURES + 3):
        [lease] = await worker.lease()
        assert lease == (created.id, attempt)
        assert await worker.hand_back(lease) == ""
    assert (await state_of(store, caller, created.id)).state is TaskState.PENDING


async def test_deaths_count_and_the_last_is_the_task_s_error(store):
    caller = await organization(store)
    created = await task(store, caller)
    for _ in range(MAX_FAILURES):
        worker = await Worker.seated(store)
        await store.write(force_ready, task_id=created.id)  # It waits, after the deaths before.
        assert await worker.lease()
        assert await store.write_guarded(later, 11, sweep) == [worker.session.id]
    dead = await state_of(store, caller, created.id)
    assert (dead.state, dead.error) == (TaskState.FAILED, DIED)


FORCE_READY = Command(update(TASKS).where(TASKS.c.id == bindparam("task_id")).values(ready_time=bindparam("now")))


async def force_ready(tx, *, task_id) -> None:
    await tx.run(FORCE_READY, task_id=task_id, now=tx.now)


async def test_a_first_death_brings_no_delay(store):
    caller = await organization(store)
    created = await task(store, caller)
    dead = await Worker.seated(store)
    await dead.lease()
    await store.write_guarded(work.leave, session=dead.session)
    other = await Worker.seated(store)
    assert await other.lease() == []
    await store.write_guarded(later, 1.1, sweep)
    assert await other.lease(after=1.2) == [(created.id, 2)]


async def test_a_session_without_leases_ends_with_its_stream(store):
    gone = await Worker.seated(store)
    await store.write_guarded(work.leave, session=gone.session)
    assert (await look(store)).next_time is None


async def test_a_worker_that_comes_back_keeps_its_leases(store):
    await task(store, await organization(store))
    first = await Worker.seated(store)
    [lease] = await first.lease()
    await store.write_guarded(work.leave, session=first.session)
    greeting = await store.write_guarded(work.greet, caller=first.caller, worker="w", session_id=first.session.id)
    assert greeting.session.id == first.session.id
    assert [held.name for held in greeting.held] == [lease]
    again = Worker(store, first.caller, greeting.session)
    assert await store.write_guarded(later, 2, sweep) == []
    assert await again.complete(lease) == ""


async def test_a_session_is_only_its_credential_s(store):
    await task(store, await organization(store))
    first = await Worker.seated(store)
    await first.lease()
    stranger = await Worker.seated(store, await worker(store), session_id=first.session.id)
    assert stranger.session.id != first.session.id


async def test_what_an_earlier_stream_of_a_session_does_is_void(store):
    await task(store, await organization(store))
    first = await Worker.seated(store)
    second = await Worker.seated(store, first.caller, first.session.id)
    assert second.session.id == first.session.id
    assert await first.lease() == []
    assert not (await store.write_guarded(work.renew, sessions=[first.session]))[0]
    await store.write_guarded(work.leave, session=first.session)
    assert await store.write_guarded(later, 9, work.renew, sessions=[second.session]) == [True]
    [lease] = await second.lease()
    assert await first.complete(lease) == "LeaseEnded"


async def test_a_session_that_is_renewed_lives_and_one_that_is_not_ends(store):
    lively, silent = await Worker.seated(store), await Worker.seated(store)
    assert await store.write_guarded(later, 9, work.renew, sessions=[lively.session]) == [True]
    assert await store.write_guarded(later, 11, sweep) == [silent.session.id]
    sessions = [silent.session, lively.session]
    assert await store.write_guarded(work.renew, sessions=sessions) == [False, True]


async def test_a_session_whose_time_is_over_is_good_until_it_is_swept(store):
    """The house may have been away itself: who comes back in time has lost nothing."""
    await task(store, await organization(store))
    silent = await Worker.seated(store)
    [lease] = await silent.lease()
    done = [Report(lease, Publication(1, histogram(1))), Report(lease, Ending.COMPLETED)]
    greeting = await store.write_guarded(
        later, 11, work.greet, caller=silent.caller, worker="w", session_id=silent.session.id
    )
    assert [held.name for held in greeting.held] == [lease]
    heard = [Heard(greeting.session, done, {})]
    assert await store.write_guarded(later, 12, reports.report, heard=heard) == [[None, None]]


async def test_the_reports_of_a_session_that_was_swept_are_refused(store):
    caller = await organization(store)
    created = await task(store, caller)
    silent = await Worker.seated(store)
    [lease] = await silent.lease()
    await store.write_guarded(later, 11, sweep)
    assert {await silent.publish(lease), await silent.complete(lease), await silent.fail(lease)} == {"LeaseEnded"}
    assert await silent.hand_back(lease) == "LeaseEnded"
    again = await state_of(store, caller, created.id)
    assert (again.state, again.failures, again.last_error) == (TaskState.PENDING, 1, DIED)


async def test_the_reports_of_many_sessions_are_written_together(store):
    caller = await organization(store)
    for _ in range(4):
        await task(store, caller)
    one, two = await Worker.seated(store), await Worker.seated(store)
    [first, second], [third] = await one.lease(2), await two.lease(1)
    heard = [
        Heard(one.session, [Report(first, Ending.COMPLETED), Report(third, Ending.COMPLETED)], {}),
        Heard(two.session, [Report(third, Publication(1, histogram(1))), Report(third, Ending.COMPLETED)], {}),
        Heard(one.session, [Report(second, Failure("no")), Report(second, Failure("again"))], {}),
    ]
    answers = await store.write_guarded(reports.report, heard=heard)
    told = [[type(answer).__name__ if answer else "" for answer in some] for some in answers]
    assert told == [["", "LeaseEnded"], ["", ""], ["", "LeaseEnded"]]
    found = [await state_of(store, caller, lease.task_id) for lease in (first, second, third)]
    assert [(one.state, one.failures, one.result_count) for one in found] == [
        (TaskState.SUCCEEDED, 0, 0), (TaskState.PENDING, 1, 0), (TaskState.SUCCEEDED, 0, 1),
    ]  # fmt: skip


async def test_a_cancelled_task_is_taken_from_its_worker_who_is_told_once(store):
    caller, worker, other = await organization(store), await Worker.seated(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    await worker.publish(lease)
    cancelled = await store.write(tasks.cancel, caller=caller, task_id=created.id)
    assert (cancelled.state, cancelled.result_count) == (TaskState.CANCELLED, 1)
    assert await worker.complete(lease) == "LeaseEnded"
    assert (await look(store, worker)).revoked
    assert not (await look(store, other)).revoked
    sessions = [other.session.id, worker.session.id]
    assert await store.write_guarded(work.take_revoked, sessions=sessions) == {worker.session.id: [lease]}
    assert await store.write_guarded(work.take_revoked, sessions=sessions) == {}
    assert await worker.lease() == []


async def test_after_a_refused_result_the_task_cannot_be_completed(store):
    caller, worker = await organization(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    bad = Report(lease, invalid("publication.histogram", "no"))
    assert await worker.report(bad, Report(lease, Ending.COMPLETED)) == ["InvalidFields", "InvalidFields"]
    refused = {lease: invalid("x", "no")}
    done = [Report(lease, Ending.COMPLETED)]
    [[answer]] = await store.write_guarded(reports.report, heard=[Heard(worker.session, done, refused)])
    assert isinstance(answer, InvalidFields)
    assert (await state_of(store, caller, created.id)).state is TaskState.RUNNING
    assert await worker.fail(lease) == ""
    [[answer]] = await store.write_guarded(reports.report, heard=[Heard(worker.session, done, refused)])
    assert isinstance(answer, LeaseEnded)


async def test_leases_are_dealt_out_in_turn_oldest_first(store):
    caller = await organization(store)
    created = [(await task(store, caller)).id for _ in range(5)]
    one, two = await Worker.seated(store), await Worker.seated(store)
    wishes = [Wish(one.session, frozenset({ACTION}), 1), Wish(two.session, frozenset({ACTION}), 3)]
    granted = await store.write_guarded(work.grant, wishes=wishes, ready={ACTION})
    first = [lease.name.task_id for lease in granted.leases[one.session]]
    second = [lease.name.task_id for lease in granted.leases[two.session]]
    assert (first, second) == ([created[0]], created[1:4])


async def test_only_named_actions_are_leased(store):
    caller, worker = await organization(store), await Worker.seated(store)
    await task(store, caller, action="other")
    assert await worker.lease() == []
    both = {ACTION, ("icloud", "other")}
    wish = Wish(worker.session, frozenset(both), 5)
    granted = await store.write_guarded(work.grant, wishes=[wish], ready=both)
    assert len(granted.leases[worker.session]) == 1


async def test_a_lease_speaks_for_its_task_s_organization_while_it_lasts(store):
    caller, worker, other = await organization(store), await Worker.seated(store), await Worker.seated(store)
    created = await task(store, caller)
    [lease] = await worker.lease()
    values = {"task_id": created.id, "attempt": 1}
    assert await store.read(work.lease_holder, caller=worker.caller, **values) == caller.tenant
    for who, what in ((other.caller, values), (worker.caller, values | {"attempt": 2})):
        with pytest.raises(LeaseEnded):
            await store.read(work.lease_holder, caller=who, **what)
    await worker.complete(lease)
    with pytest.raises(LeaseEnded):
        await store.read(work.lease_holder, caller=worker.caller, **values)


async def test_a_look_tells_when_there_will_be_something(store):
    caller, worker = await organization(store), await Worker.seated(store)
    idle = await look(store, worker)
    assert (idle.ready, idle.revoked, idle.expired) == (frozenset(), False, False)
    assert idle.next_time is not None
    await task(store, caller)
    assert (await look(store, worker)).ready == {ACTION}
    [lease] = await worker.lease()
    await worker.fail(lease)
    waiting = await look(store, worker)
    assert not waiting.ready
    assert waiting.next_time < idle.next_time
    assert (await look(store, worker, after=1.1)).ready
    assert (await look(store, worker, after=11)).expired


@pytest.mark.parametrize("seed", range(12))
async def test_any_race_has_one_accepted_outcome(store, seed):
    """Stale and repeated reports, deaths, returns, cancels: all in one transaction with its own clock."""
    await store.write(race, seed=seed, caller=await organization(store), worker=await worker(store))


QUERIES = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name}": query
    for module in (stored_tasks, stored_work, stored_results)
    for name, query in vars(module).items()
    if isinstance(query, Query | Command)
}
LISTS = (
    "json_each",
    "actions_list",
    "(subquery",
    "CONSTANT ROW",
    "locked",
    "counted",
    "SCAN worker_sessions",
)  # As long as what the caller gave, or as there are workers.


@pytest.mark.parametrize("name", QUERIES)
def test_no_statement_s_cost_grows_with_finished_tasks(migrated, name):
    compiled = Compiled(QUERIES[name], dialect(paramstyle="qmark"))
    connection = sqlite.connect(str(migrated))
    plan = connection.execute(f"EXPLAIN QUERY PLAN {compiled.sql}", [None] * len(compiled.names)).fetchall()
    connection.close()
    for *_, step in plan:
        assert not step.startswith("SCAN") or any(part in step for part in LISTS), step
        if "tasks" in step and "id=?" not in step and "LIST" not in step:
            assert any(
                index in step
                for index in ("tasks_to_lease", "_of_session", "_of_organization", "_by_request", "_unfinished")
            )
