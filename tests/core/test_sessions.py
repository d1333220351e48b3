"""Sessions whose workers live, though it may not seem so: the house was away or slow."""

from server.core import work
from tests.core.scenes import Worker, later, organization, sweep, task
from tests.store.names import now as clock


async def test_a_sweep_that_comes_late_leaves_sessions_as_much_more_time(store):
    older, younger = await Worker.seated(store), await Worker.seated(store)
    await store.write_guarded(later, -3, work.renew, sessions=[older.session])
    now = await store.write_guarded(clock)
    at = {"seen": now + 12 * work.SECOND, "since": 0}
    assert await store.write_guarded(later, 15, work.sweep, **at) == [older.session.id]
    assert await store.write_guarded(later, 12, work.sweep, **at) == [younger.session.id]


async def test_sessions_that_ended_long_ago_can_be_spared(store):
    older, younger = await Worker.seated(store), await Worker.seated(store)
    await store.write_guarded(later, 2, work.renew, sessions=[younger.session])
    now = await store.write_guarded(clock)
    since = now + 11 * work.SECOND
    seen = [await store.write(later, 11.5, work.look, actions=[], sessions=[], since=one) for one in (0, since)]
    assert [one.expired for one in seen] == [True, False]
    assert seen[1].next_time > since
    assert await store.write_guarded(later, 15, work.sweep, seen=now + 15 * work.SECOND, since=since) == [
        younger.session.id
    ]
    assert await store.write_guarded(later, 15, sweep) == [older.session.id]


async def test_a_worker_can_be_asked_for_by_what_it_holds(store):
    caller = await organization(store)
    created = [(await task(store, caller)).id for _ in range(2)]
    holding, idle, gone = [await Worker.seated(store) for _ in range(3)]
    leases = await holding.lease()
    await store.write_guarded(work.leave, session=gone.session)
    held = await store.write_guarded(work.hold, sessions=[one.session for one in (gone, idle, holding)])
    assert [lease.name for lease in held.leases[holding.session]] == leases == [(one, 1) for one in created]
    assert (held.leases[idle.session], held.lost) == ([], [gone.session])
