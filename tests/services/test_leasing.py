"""Leasing, when looking and doing disagree, and when a clock or a store cannot be relied on."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from types import SimpleNamespace

import pytest
import pytest_asyncio

from server.core import tasks, work
from server.core.work import Granted, Lease, LeaseName, Look, Session
from server.services import leasing as rooms
from server.services.leasing import Leasing, Seat
from server.store import work as stored
from server.store.engine import StoreUnavailable
from tests.core.scenes import ACTION, Worker, later, organization, sweep, task

SESSION = Session("s", 1)
READY = frozenset({("icloud", "fetch-data")})
LEASE = Lease(LeaseName("t", 1), "icloud", "fetch-data", {})


@pytest.fixture(autouse=True)
def patience(monkeypatch) -> None:
    """Have no test be disturbed because the machine is slow."""
    monkeypatch.setattr(rooms, "SLOW_SECONDS", inf)


class Store:
    """A store that answers as it is told to."""

    def __init__(self, look: Look, **answers: object) -> None:
        self._look, self._answers = look, answers

    async def read(self, verb, **_: object) -> Look:
        assert verb is work.look
        return self._look

    async def write_soon(self, verb, **_: object) -> object:
        return self._answers.get(verb.__name__)

    write_guarded = write_soon


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
    """Make leasing as it is long after it has spared sessions."""
    leasing._spare_time = -inf


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
    settled(leasing)
    set_forward(store, monkeypatch, hours=1)
    for _ in range(2):
        await leasing._attend()
    assert [seat.lost for seat in seats] == [False, False]
    await ended(store, dead.session)
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
    seen = await store.read(work.look, actions=[ACTION], sessions=[])
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


@pytest.fixture
def ending(store) -> Callable[[Leasing], Awaitable[bool]]:
    """`await ending(leasing)`: say whether leasing ends a session that is over at this moment."""

    async def is_ended(leasing: Leasing) -> bool:
        worker = await Worker.seated(store)
        await ended(store, worker.session)
        for _ in range(2):
            await leasing._attend()
        return not await store.write_guarded(stored.keep_sessions, [worker.session])

    return is_ended


async def test_a_process_that_has_just_started_gives_workers_the_time_to_come_back(store, ending):
    leasing = Leasing(store, asyncio.Event())
    assert not await ending(leasing)
    assert await ending(leasing)


async def test_a_session_that_would_have_ended_soon_after_the_house_is_back_lasts_as_long_as_any(store):
    soon = await Worker.seated(store)
    await store.write_guarded(later, -9, work.renew, sessions=[soon.session])
    await Leasing(store, asyncio.Event())._attend()
    assert await store.write_guarded(later, 9.5, sweep) == []


@pytest.fixture
def fail(store, monkeypatch):
    """Have the next call of this kind fail."""

    def fail(how: str) -> None:
        real = getattr(store, how)

        async def away(*_: object, **__: object) -> None:
            monkeypatch.setattr(store, how, real)
            raise StoreUnavailable("away")

        monkeypatch.setattr(store, how, away)

    return fail


@pytest_asyncio.fixture
async def leasing(store) -> Leasing:
    """Leasing as it is long after its start."""
    leasing = Leasing(store, asyncio.Event())
    await leasing._attend()
    settled(leasing)
    return leasing


async def test_after_a_look_failed_workers_have_the_time_to_renew_their_sessions(leasing, ending, fail):
    for _ in range(2):  # However soon after each other.
        fail("read")
        with pytest.raises(StoreUnavailable):
            await leasing._attend()
        assert not await ending(leasing)
    assert await ending(leasing)


@pytest.mark.parametrize("how", ["write_soon", "write_guarded"])
async def test_after_a_write_failed_workers_have_the_time_to_renew_their_sessions(leasing, ending, fail, how):
    fail(how)
    with pytest.raises(StoreUnavailable):
        await getattr(leasing, how)(work.renew, sessions=[])
    assert not await ending(leasing)


async def test_sessions_are_spared_once_the_house_can_do_it(leasing, ending, fail):
    leasing._was_away = True
    fail("write_soon")
    with pytest.raises(StoreUnavailable):
        await ending(leasing)
    assert not await ending(leasing)


async def test_failures_that_go_on_keep_no_dead_worker_s_session(leasing, ending, fail, monkeypatch):
    outcomes = []
    for seconds in range(0, 60, 9):
        monkeypatch.setattr(rooms, "time", SimpleNamespace(monotonic=lambda now=seconds: now))
        fail("write_soon")
        with pytest.raises(StoreUnavailable):
            await leasing.write_soon(work.renew, sessions=[])
        outcomes.append(await ending(leasing))
    assert outcomes == [False, True, True, False, True, True, False]


async def test_after_a_renewal_was_slow_workers_have_the_time_for_theirs(leasing, ending, monkeypatch):
    with monkeypatch.context() as slow:
        slow.setattr(rooms, "SLOW_SECONDS", 0)
        await leasing.write_soon(work.renew, sessions=[])
    assert not await ending(leasing)


async def test_while_a_write_hangs_no_session_ends_because_of_it(store, leasing, ending, monkeypatch):
    monkeypatch.setattr(rooms, "SLOW_SECONDS", 2)
    answer = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        await answer.wait()

    with monkeypatch.context() as hanging:
        hanging.setattr(store, "write_soon", hang)
        renewing = asyncio.ensure_future(leasing.write_soon(work.renew, sessions=[]))
        await asyncio.sleep(0)
    [write] = leasing._writing
    leasing._writing[write] -= 3
    assert not await ending(leasing)
    answer.set()
    await renewing
    assert not leasing._writing


async def test_a_look_that_comes_late_tells_that_the_house_was_away(leasing, ending, monkeypatch):
    monkeypatch.setattr(rooms, "SLOW_SECONDS", 2)
    leasing._look_time -= 5
    assert not await ending(leasing)


async def test_a_process_without_workers_looks_often_enough_to_notice_that_the_house_was_away(store):
    leasing = Leasing(store, asyncio.Event())
    for _ in range(2):
        wait = await leasing._attend()
    assert wait is None
    await Worker.seated(store)
    assert await leasing._attend() == 1


async def test_a_lease_that_ended_before_it_was_sent_is_not_sent(store):
    seat = Seat(SESSION, READY, 5, asyncio.Event())
    other = LEASE._replace(name=LeaseName("u", 1))
    seat.give([LEASE, other])
    seat.revoke([LEASE.name])
    assert list(seat.leases) == [other]


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
    assert (seat.lost, list(seat.leases)) == (True, [])
    assert again.session.id == worker.session.id
