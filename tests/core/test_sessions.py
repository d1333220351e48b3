"""Sessions whose workers live, though it may not seem so: the house was away or slow."""

from server.core import work
from tests.core.scenes import Worker, later, organization, sweep, task
from tests.store.names import now as clock


async def test_a_sweep_that_comes_late_leaves_sessions_as_much_more_time(store):
    older, younger = await Worker.seated(store), await Worker.seated(store)
    await store.write_guarded(later, -3, work.renew, sessions=[older.session])
    now = await store.write_guarded(clock)
    at = {"seen": now + 12 * work.SECOND}
    assert await store.write_guarded(later, 15, work.sweep, **at) == [older.session.id]
    assert await store.write_guarded(later, 12, work.sweep, **at) == [younger.session.id]


async def test_after_the_house_was_away_sessions_last_as_if_they_were_just_renewed(store):
    soon, ended, lively = [await Worker.seated(store) for _ in range(3)]
    for after, worker in ((-3, ended), (6, lively)):
        await store.write_guarded(later, after, work.renew, sessions=[worker.session])
    await store.write_guarded(later, 9, work.spare)
    assert await store.write_guarded(later, 18.9, sweep) == []
    every = {one.session.id for one in (soon, ended, lively)}
    assert set(await store.write_guarded(later, 19.1, sweep)) == every


async def test_after_the_house_was_away_what_was_left_before_may_come_back_but_what_was_left_just_now_ends(store):
    caller = await organization(store)
    before, now = await Worker.seated(store), await Worker.seated(store)
    for after, worker in ((0, before), (4.5, now)):
        await task(store, caller)
        await worker.lease()
        await store.write_guarded(later, after, work.leave, session=worker.session)
    await store.write_guarded(later, 5, work.spare)
    assert await store.write_guarded(later, 14.9, sweep) == [now.session.id]
    again = await Worker.seated(store, before.caller, before.session.id)
    assert again.session == (before.session.id, 2)


async def test_a_worker_can_be_asked_for_by_what_it_holds(store):
    caller = await organization(store)
    created = [(await task(store, caller)).id for _ in range(2)]
    holding, idle, gone = [await Worker.seated(store) for _ in range(3)]
    leases = await holding.lease()
    await store.write_guarded(work.leave, session=gone.session)
    held = await store.write_guarded(work.hold, sessions=[one.session for one in (gone, idle, holding)])
    assert [lease.name for lease in held.leases[holding.session]] == leases == [(one, 1) for one in created]
    assert (held.leases[idle.session], held.lost) == ([], [gone.session])
