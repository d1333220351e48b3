"""Leasing, when looking and doing disagree, and when a clock or a store cannot be relied on."""

import asyncio

import pytest

from server.core import work
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

    async def write_guarded(self, verb, **_: object) -> object:
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
    leasing._sweep_time = 0  # A session's time later.
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
    await leasing._attend()
    await leasing._attend()
    assert [lease.name.task_id for lease in seat.leases] == [waiting.id]
    seen = await store.read(work.look, actions=[ACTION], sessions=[])
    assert not seen.astray
    assert seen.next_time <= seen.now + work.SESSION_PERIOD


async def test_a_clock_that_goes_on_evenly_keeps_nobody_waiting(store):
    worker = await Worker.seated(store)
    leasing = Leasing(store, asyncio.Event())
    seat = await seated(store, leasing, worker.session)
    await store.write_guarded(later, -11, work.renew, sessions=[worker.session])
    await leasing._attend()
    assert seat.lost


async def test_after_the_store_was_away_workers_have_the_time_to_renew_their_sessions(monkeypatch):
    looks = [StoreUnavailable("away"), look(expired=True)]
    seen = asyncio.Event()

    class Returning(Store):
        async def read(self, verb, **_):
            if not looks:
                seen.set()
                await asyncio.Event().wait()
            answer = looks.pop(0)
            if isinstance(answer, StoreUnavailable):
                raise answer
            return answer

    monkeypatch.setattr("server.services.leasing.RETRY_SECONDS", 0)
    leasing = Leasing(Returning(look()), asyncio.Event())  # It has no answer to a sweep.
    serving = asyncio.ensure_future(leasing._serve())
    leasing.poke()
    async with asyncio.timeout(5):
        while not seen.is_set():
            leasing.poke()
            await asyncio.wait({serving}, timeout=0.01)
            assert not serving.done(), serving.result()
    serving.cancel()
