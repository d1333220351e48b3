"""Leasing, when looking and doing disagree, and when a clock or a store cannot be relied on."""

import asyncio
import time
from collections.abc import Callable

import pytest
import pytest_asyncio

from server.core import tasks, work
from server.core.work import Granted, Lease, LeaseName, Look, Session
from server.services.leasing import Leasing, Seat
from server.store.engine import StoreUnavailable
from tests.core.scenes import ACTION, Worker, later, organization, task

SESSION = Session("s", 1)
READY = frozenset({("icloud", "fetch-data")})
LEASE = Lease(LeaseName("t", 1), "icloud", "fetch-data", {})


class Store:
    """A store that answers as it is told to."""

    def __init__(self, look: Look, **answers: object) -> None:
        self._look, self._answers = look, answers

    async def read(self, verb, **_: object) -> Look:
        assert verb is work.look
        return self._look

    async def write_soon(self, verb, **_: object) -> object:
        return self._answers[verb.__name__]


def look(**seen: object) -> Look:
    return Look(
        **{
            "now": 0,
            "ready": frozenset(),
            "revoked": False,
            "expired": False,
            "astray": False,
            "next_time": None,
            **seen,
        }
    )


async def wait_after(store: Store) -> float | None:
    """Return how long leasing waits after it has attended to this."""
    leasing = Leasing(store, asyncio.Event())
    leasing._seats[SESSION] = Seat(SESSION, frozenset({("icloud", "fetch-data")}), 5, asyncio.Event())
    await leasing._attend()  # It has just started.
    return await leasing._attend()


@pytest.mark.parametrize(
    "store",
    [
        Store(look(ready=READY), grant=Granted({}, [])),
        Store(look(expired=True), sweep=[]),
        Store(look(revoked=True), take_revoked={}),
    ],
    ids=["ready", "expired", "revoked"],
)
async def test_what_could_not_be_done_is_not_tried_again_without_a_pause(store):
    assert 0 < await wait_after(store) < 1


@pytest.mark.parametrize(
    "store",
    [
        Store(look(ready=READY), grant=Granted({SESSION: [LEASE]}, [])),
        Store(look(ready=READY), grant=Granted({}, [SESSION])),
        Store(look(expired=True), sweep=["s"]),
        Store(look(revoked=True), take_revoked={"s": [LEASE.name]}),
    ],
    ids=["granted", "lost", "expired", "revoked"],
)
async def test_after_something_was_done_it_looks_again_at_once(store):
    assert await wait_after(store) == 0


def set_forward(store, monkeypatch, hours: int) -> None:
    now = store._clock.now
    monkeypatch.setattr(store._clock, "now", lambda: now() + hours * 3600 * work.SECOND)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event.
            await asyncio.sleep(0.01)


def settled(leasing: Leasing) -> None:
    """Make leasing as it is a session's time after something happened."""
    leasing._spare_time = 0


async def seated(store, leasing: Leasing, session: Session) -> Seat:
    seat = Seat(session, frozenset({ACTION}), 5, asyncio.Event())
    leasing._seats[session] = seat
    await leasing._attend()
    return seat


async def test_a_clock_that_is_set_ends_no_session_whose_worker_lives(store, monkeypatch):
    await task(store, await organization(store))
    lively, dead = await Worker.seated(store), await Worker.seated(store)
    [lease] = await lively.lease()
    leasing = Leasing(store, asyncio.Event())
    seats = [await seated(store, leasing, worker.session) for worker in (lively, dead)]
    set_forward(store, monkeypatch, hours=1)
    await leasing._attend()
    assert [seat.lost for seat in seats] == [False, False]
    assert await store.write_guarded(work.renew, sessions=[lively.session]) == [True]
    settled(leasing)
    await leasing._attend()
    assert [seat.lost for seat in seats] == [False, True]
    assert await lively.complete(lease) == ""


async def test_a_clock_that_is_set_back_keeps_no_task_and_no_dead_worker_s_lease_waiting(store, monkeypatch):
    caller = await organization(store)
    leasing = Leasing(store, asyncio.Event())
    await task(store, caller)
    dead, lively = await Worker.seated(store), await Worker.seated(store)
    await dead.lease()
    waiting = await task(store, caller)
    seat = Seat(lively.session, frozenset({ACTION}), 5, asyncio.Event())
    leasing._seats[lively.session] = seat
    set_forward(store, monkeypatch, hours=-1)
    for _ in range(3):
        await leasing._attend()
    assert [lease.name.task_id for lease in seat.leases] == [waiting.id]
    seen = await store.read(work.look, actions=[ACTION], sessions=[], since=0)
    assert not seen.astray
    assert seen.next_time <= seen.now + work.SESSION_PERIOD


async def ended(store, session: Session) -> None:
    """Have the session's time be over since a second."""
    await store.write_guarded(later, -11, work.renew, sessions=[session])


async def test_a_clock_that_goes_on_evenly_keeps_nobody_waiting(store):
    worker = await Worker.seated(store)
    leasing = Leasing(store, asyncio.Event())
    seat = await seated(store, leasing, worker.session)
    settled(leasing)
    await ended(store, worker.session)
    await leasing._attend()
    assert seat.lost


@pytest_asyncio.fixture
async def dead(store) -> Worker:
    """A worker whose session had ended before anything else began."""
    worker = await Worker.seated(store)
    await ended(store, worker.session)
    return worker


async def test_a_process_that_has_just_started_gives_workers_the_time_to_come_back(store, dead):
    leasing = Leasing(store, asyncio.Event())
    for _ in range(3):
        await leasing._attend()
    assert await store.write_guarded(work.renew, sessions=[dead.session]) == [True]
    await ended(store, dead.session)
    settled(leasing)
    await leasing._attend()
    assert await store.write_guarded(work.renew, sessions=[dead.session]) == [False]


async def test_a_session_that_ends_under_the_eyes_of_a_new_process_ends_in_time(store, dead):
    await task(store, await organization(store))
    leasing = Leasing(store, asyncio.Event())
    seat = await seated(store, leasing, (await Worker.seated(store)).session)
    await leasing._attend()
    await store.write_guarded(later, -9.9, work.renew, sessions=[seat.session])
    serving = asyncio.ensure_future(leasing._serve())
    await until(lambda: seat.lost)
    serving.cancel()
    assert await store.write_guarded(work.renew, sessions=[dead.session]) == [True]


@pytest.mark.parametrize("how", ["read", "write_soon"])
async def test_after_the_store_was_away_workers_have_the_time_to_renew_their_sessions(store, dead, monkeypatch, how):
    leasing = Leasing(store, asyncio.Event())
    await leasing._attend()
    settled(leasing)
    real, was_away = getattr(store, how), asyncio.Event()

    async def away(*_: object, **__: object) -> None:
        monkeypatch.setattr(store, how, real)
        was_away.set()
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, how, away)
    serving = asyncio.ensure_future(leasing._serve())
    await asyncio.wait_for(was_away.wait(), 5)
    await until(lambda: leasing._is_sparing)
    assert await store.write_guarded(work.renew, sessions=[dead.session]) == [True]
    serving.cancel()


async def test_after_a_renewal_was_slow_workers_have_the_time_for_theirs_but_not_for_ever(store, dead, monkeypatch):
    leasing = Leasing(store, asyncio.Event())
    other = await Worker.seated(store)
    await leasing._attend()
    settled(leasing)
    with monkeypatch.context() as slow:
        slow.setattr("server.services.leasing.SLOW_SECONDS", 0)
        assert await leasing.write(work.renew, sessions=[other.session]) == [True]
    for _ in range(2):
        await leasing._attend()
    assert await store.write_guarded(work.renew, sessions=[dead.session]) == [True]
    await ended(store, dead.session)
    leasing._spare_time = time.monotonic() - 1
    monkeypatch.setattr("server.services.leasing.SLOW_SECONDS", 0)
    await leasing.write(work.renew, sessions=[other.session])
    await leasing._attend()
    assert await store.write_guarded(work.renew, sessions=[dead.session]) == [False]


async def test_a_look_that_comes_late_tells_that_the_house_was_away(store, dead):
    leasing = Leasing(store, asyncio.Event())
    await leasing._attend()
    settled(leasing)
    leasing._look_time -= 5
    for _ in range(2):
        await leasing._attend()
    assert await store.write_guarded(work.renew, sessions=[dead.session]) == [True]


async def test_a_process_without_workers_looks_often_enough_to_notice_that_the_house_was_away(store):
    leasing = Leasing(store, asyncio.Event())
    for _ in range(2):
        wait = await leasing._attend()
    assert wait == 1
    settled(leasing)
    assert await leasing._attend() is None
    await Worker.seated(store)
    assert await leasing._attend() == 1


# Answers that are lost


@pytest.fixture
def lose(store, monkeypatch):
    """Have the answer to the next write of a verb be lost, after its commit."""

    def lose(lost, error: type[BaseException] = StoreUnavailable) -> None:
        real = store.write_soon

        async def write_soon(verb, **values):
            answer = await real(verb, **values)
            if verb is lost:
                monkeypatch.setattr(store, "write_soon", real)
                raise error("the connection broke")
            return answer

        monkeypatch.setattr(store, "write_soon", write_soon)

    return lose


@pytest.mark.parametrize("error", [StoreUnavailable, asyncio.CancelledError], ids=["unavailable", "begun-again"])
async def test_leases_of_which_no_answer_came_are_given_nevertheless(store, lose, error):
    caller, worker = await organization(store), await Worker.seated(store)
    leasing = Leasing(store, asyncio.Event())
    seat = await seated(store, leasing, worker.session)
    created = [(await task(store, caller)).id]
    await leasing._attend()
    created += [(await task(store, caller)).id for _ in range(2)]
    lose(work.grant, error)
    with pytest.raises(error):
        await leasing._attend()
    assert [lease.name.task_id for lease in seat.leases] == created[:1]
    await leasing._attend()
    assert [lease.name for lease in seat.leases] == [(task_id, 1) for task_id in created]
    assert seat.revoked == []


async def test_leases_that_ended_are_told_though_the_answer_about_them_was_lost(store, lose):
    caller, worker = await organization(store), await Worker.seated(store)
    for _ in range(2):
        await task(store, caller)
    leasing = Leasing(store, asyncio.Event())
    seat = await seated(store, leasing, worker.session)
    await leasing._attend()
    first, second = (lease.name for lease in seat.leases)
    await store.write(tasks.cancel, caller=caller, task_id=first.task_id)
    lose(work.take_revoked)
    with pytest.raises(StoreUnavailable):
        await leasing._attend()
    await leasing._attend()
    assert (seat.revoked, seat.held) == ([first], {second})


async def test_a_session_that_another_stream_took_meanwhile_is_lost(store, lose):
    worker = await Worker.seated(store)
    await task(store, await organization(store))
    leasing = Leasing(store, asyncio.Event())
    seat = await seated(store, leasing, worker.session)
    lose(work.grant)
    with pytest.raises(StoreUnavailable):
        await leasing._attend()
    again = await Worker.seated(store, worker.caller, worker.session.id)
    await leasing._attend()
    assert (seat.lost, seat.leases) == (True, [])
    assert again.session.id == worker.session.id
